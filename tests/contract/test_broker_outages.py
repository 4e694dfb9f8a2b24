"""What the adapter on RabbitMQ makes of a broker that stops, a line that is cut, and an alarm."""

import threading
import time

from brokers import Gate, Listener
from brokers.rabbit import NAME, QUEUE, Open, close_connection, joined, message, through
from headway.broker.port import Blocked, Broker, Confirmed, Delivered, Disconnected, Outcome, Unblocked, Unconfirmed
from headway.broker.rabbitmq import connect
from servers import RabbitMQ


def test_nothing_is_lost_when_the_broker_restarts_under_a_publisher(fresh_vhost: str, rabbitmq: RabbitMQ, opened: Open):
    """A thousand messages, the broker restarted in their midst: what is lost is published again, and all arrive."""
    broker, listener = joined(fresh_vhost, opened)
    broker.declare(QUEUE)
    publishing = threading.Thread(target=publish_across_an_outage, args=(broker, listener))
    publishing.start()
    rabbitmq.restart()
    publishing.join()
    listener.connected(times=2)
    for signal in listener.all_of(Unconfirmed):
        broker.publish(message(int(signal.message_id[1:])))
    listener.wait_for(Confirmed, count=1000)
    broker.consume(QUEUE, prefetch=1000)
    listener.wait_for(Delivered, where=lambda signal: signal.delivery.message_id == "m999")
    got = {signal.delivery.message_id for signal in listener.all_of(Delivered)}
    assert got == {f"m{number}" for number in range(1000)}


def publish_across_an_outage(broker: Broker, listener: Listener) -> None:
    """Publish m0 to m999, half of them before the connection is lost."""
    for number in range(1000):
        broker.publish(message(number))
        if number == 500:
            listener.wait_for(Disconnected)


def test_a_broker_that_is_not_there_is_waited_for(fresh_vhost: str, gate: Gate, opened: Open):
    """Each failed try is told, publishes are lost meanwhile, and it connects when the broker comes."""
    listener = Listener()
    broker = opened(connect(through(gate, fresh_vhost), name=NAME, sink=listener))
    tries = listener.wait_for(Disconnected, count=2)
    assert {signal.detail for signal in tries} == {"Connection refused"}
    broker.publish(message(1))
    listener.wait_for(Unconfirmed)
    gate.open()
    listener.connected()
    broker.declare(QUEUE)
    broker.publish(message(2))
    assert listener.wait_for(Confirmed) == [Confirmed("m2")]


def test_a_cut_line_is_mended(fresh_vhost: str, gate: Gate, opened: Open):
    """Both connections break without a word; what was unsettled comes again."""
    gate.open()
    broker, listener = joined(through(gate, fresh_vhost), opened)
    broker.declare(QUEUE)
    broker.consume(QUEUE, prefetch=1)
    broker.publish(message(1))
    listener.deliveries(1)
    gate.cut()
    listener.connected(times=2)
    again = listener.deliveries(2)[1]
    assert (again.message_id, again.redelivered) == ("m1", True)


def test_close_does_not_wait_for_a_silent_broker(fresh_vhost: str, gate: Gate, opened: Open):
    """With a line that nothing comes through, `close` returns in its time and tells what is not confirmed."""
    gate.open()
    broker, listener = joined(through(gate, fresh_vhost), opened)
    gate.silence()
    broker.publish(message(1))
    began = time.monotonic()
    broker.close(timeout_seconds=0.1)
    assert time.monotonic() - began < 5
    assert listener.all_of(Unconfirmed) == [Unconfirmed("m1", "lost")]


def test_one_half_takes_the_other_along(fresh_vhost: str, rabbitmq: RabbitMQ, opened: Open):
    """When only the publishing connection is closed, deliveries in hand are void as well: they come again."""
    broker, listener = joined(fresh_vhost, opened)
    broker.declare(QUEUE)
    broker.consume(QUEUE, prefetch=1)
    broker.publish(message(1))
    (stale,) = listener.deliveries(1)
    close_connection(rabbitmq, fresh_vhost, "headway test publish")
    listener.connected(times=2)
    (_, again) = listener.deliveries(2)
    assert again.redelivered
    broker.settle(stale, Outcome.REJECT)
    broker.settle(again, Outcome.ACK)
    broker.publish(message(2))
    assert listener.deliveries(3)[2].message_id == "m2"


def test_an_alarm_blocks_publishing_until_it_is_over(fresh_vhost: str, rabbitmq: RabbitMQ, opened: Open):
    """Out of memory: Blocked, and deliveries and acks go on; then Unblocked, and the confirm."""
    broker, listener = joined(fresh_vhost, opened)
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
    finally:
        rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")
    listener.wait_for(Unblocked)
    assert [signal.message_id for signal in listener.wait_for(Confirmed, count=2)] == ["m1", "m2"]
