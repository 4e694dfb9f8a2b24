"""What the adapters on RabbitMQ make of a broker that stops, a line that is cut, and an alarm."""

import contextlib
import os
import resource
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from pika.exceptions import ShortStringTooLong

from brokers import Gate, Listener
from brokers.rabbit import NAME, QUEUE, Open, connections, joined, message
from headway.broker.connecting import connect
from headway.broker.port import (
    Blocked,
    Broker,
    Confirmed,
    Disconnected,
    Failed,
    Outcome,
    Unblocked,
    Unconfirmed,
)
from headway.broker.timing import HEARTBEAT_SECONDS
from headway.protocol.topology import Queue
from servers import RabbitMQ


def test_nothing_is_lost_when_the_broker_restarts_under_a_publisher(amqp_url: str, rabbitmq: RabbitMQ, opened: Open):
    """A thousand messages or more, the broker restarted in their midst: what is lost is published again; all arrive."""
    rabbitmq.thaw()  # ends the test here where the node is not ours
    broker, listener = joined(amqp_url, opened)
    broker.declare(QUEUE)
    with ThreadPoolExecutor() as pool:
        publishing = pool.submit(publish_across_an_outage, broker, listener)
        rabbitmq.restart()  # in this thread: the node dies with the one that started it
    sent = {f"m{number}" for number in range(publishing.result())}
    listener.connected(times=2)
    for signal in listener.all_of(Unconfirmed):
        broker.publish(message(int(signal.message_id[1:])))
    listener.wait_for(Confirmed, count=len(sent))
    broker.publish(message(-1))
    broker.consume(QUEUE, prefetch=1000)
    got = set()
    while "m-1" not in got:
        deliveries = listener.deliveries(len(got) + 1)
        got = {delivery.message_id for delivery in deliveries}
        broker.ack_through(deliveries[-1])
    assert got == sent | {"m-1"}


def publish_across_an_outage(broker: Broker, listener: Listener) -> int:
    """Publish m0, m1, ..., a hundred unconfirmed at a time, until the connection is lost; return how many they were."""
    number = 0
    while number < 1000 or not listener.all_of(Disconnected):
        for number in range(number + 1, number + 101):  # noqa: B020  it goes on where it was
            broker.publish(message(number - 1))
        listener.wait_for((Confirmed, Unconfirmed), count=number - 100)
    return number


def test_a_broker_that_is_not_there_is_waited_for(amqp_url: str, gate: Gate, opened: Open):
    """Each failed try is told, publishes are lost meanwhile, and it connects when the broker comes."""
    listener = Listener()
    broker = opened(connect(gate.url(amqp_url), name=NAME, sink=listener))
    tries = listener.wait_for(Disconnected, count=2)
    assert {signal.detail for signal in tries} == {"Connection refused"}
    broker.publish(message(1))
    listener.wait_for(Unconfirmed)
    gate.open()
    listener.connected()
    broker.declare(QUEUE)
    broker.publish(message(2))
    assert listener.wait_for(Confirmed) == [Confirmed("m2")]


def test_a_cut_line_is_mended(amqp_url: str, gate: Gate, opened: Open):
    """Both connections break without a word; what was unsettled comes again."""
    gate.open()
    broker, listener = joined(gate.url(amqp_url), opened)
    broker.declare(QUEUE)
    broker.consume(QUEUE, prefetch=1)
    broker.publish(message(1))
    listener.deliveries(1)
    gate.cut()
    listener.connected(times=2)
    again = listener.deliveries(2)[1]
    assert (again.message_id, again.redelivered) == ("m1", True)


def test_close_does_not_wait_for_a_silent_broker(amqp_url: str, gate: Gate, opened: Open):
    """With a line that nothing comes through, `close` returns in its time and tells what is not confirmed."""
    gate.open()
    broker, listener = joined(gate.url(amqp_url), opened)
    gate.silence()
    broker.publish(message(1))
    began = time.monotonic()
    broker.close(timeout_seconds=0.1)
    assert time.monotonic() - began < HEARTBEAT_SECONDS
    assert listener.all_of(Unconfirmed) == [Unconfirmed("m1", "lost")]


def test_an_error_in_the_adapter_is_told(amqp_url: str, opened: Open):
    """A message that cannot be written ends all tries: it is lost, as those after it, and the service hears why."""
    broker, listener = joined(amqp_url, opened)
    broker.publish(message(1, key="x" * 256))
    (failed,) = listener.wait_for(Failed)
    assert isinstance(failed.error, ShortStringTooLong | struct.error)  # as pika and py-amqp say it
    broker.publish(message(2))
    assert listener.wait_for(Unconfirmed, count=2) == [Unconfirmed("m1", "lost"), Unconfirmed("m2", "lost")]


def test_a_process_without_files_left_goes_on_trying(amqp_url: str, gate: Gate, opened: Open):
    """That error deep inside the client library must not end the thread: it connects once there is room."""
    listener = Listener()
    opened(connect(gate.url(amqp_url), name=NAME, sink=listener))
    listener.wait_for(Disconnected)
    with no_files_left():
        listener.wait_for(Disconnected, where=lambda signal: signal.detail == "Too many open files")
    gate.open()
    listener.connected()


@contextlib.contextmanager
def no_files_left() -> Iterator[None]:
    """Let this process open no more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_one_half_takes_the_other_along(amqp_url: str, rabbitmq: RabbitMQ, opened: Open):
    """When an operator closes just the publishing connection, deliveries in hand are void as well: they come again."""
    broker, listener = joined(amqp_url, opened)
    broker.declare(QUEUE)
    broker.consume(QUEUE, prefetch=1)
    broker.publish(message(1))
    (stale,) = listener.deliveries(1)
    named = connections(rabbitmq, amqp_url)
    assert sorted(named) == ["headway test consume", "headway test publish"]
    rabbitmq.api("DELETE", f"/connections/{named['headway test publish']}")
    listener.connected(times=2)
    (_, again) = listener.deliveries(2)
    assert again.redelivered
    broker.settle(stale, Outcome.REJECT)
    broker.settle(again, Outcome.ACK)
    broker.publish(message(2))
    assert listener.deliveries(3)[2].message_id == "m2"


def test_an_alarm_blocks_publishing_until_it_is_over(amqp_url: str, rabbitmq: RabbitMQ, opened: Open):
    """Out of memory: Blocked, and deliveries and acks go on; then Unblocked, and the confirm."""
    broker, listener = joined(amqp_url, opened)
    broker.declare(QUEUE)
    broker.consume(QUEUE, prefetch=1)
    broker.publish(message(1))
    (got,) = listener.deliveries(1)
    rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        broker.publish(message(2))
        (blocked,) = listener.wait_for(Blocked)
        assert "memory" in blocked.detail
        broker.settle(got, Outcome.ACK)
        broker.declare(Queue(name="faults.late"))
        broker.publish(message(3, exchange="", key="faults.late"))
    finally:
        rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")
    listener.wait_for(Unblocked)
    assert [signal.message_id for signal in listener.wait_for(Confirmed, count=3)] == ["m1", "m2", "m3"]
