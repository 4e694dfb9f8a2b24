"""The broker of one process: what the contract of the port does not ask of others."""

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from brokers import Listener
from headway.broker.port import (
    Broker,
    Confirmed,
    Delivered,
    Failed,
    Outcome,
    Outgoing,
    QueueDepth,
    Unconfirmed,
)
from headway.broker.portable import Hub
from headway.broker.portable.mailbox import Letter, Receipt
from headway.protocol.errors import WorkerNameTaken
from headway.protocol.topology import EVENTS, Binding, Queue, control_queue, event_queue

ROUND_TRIPS = 500
ROUND_TRIP_SECONDS_MAX = 0.01
"""Hundred times what is measured, and a hundredth of what kombu's polling takes."""

EVERYTHING = Queue(name="everything", bindings=(Binding(exchange=EVENTS, pattern="#"),))
KEY = "event.u.started.p00"

Joined = tuple[Broker, Listener]
Join = Callable[..., Joined]


@pytest.fixture
def join() -> Iterator[Join]:
    """Give a function that connects a broker, to one hub unless told otherwise; all are closed after the test."""
    one = Hub()
    with ExitStack() as closing:

        def join(hub: Hub = one) -> Joined:
            listener = Listener()
            broker = hub.connect(name="headway test", sink=listener)
            closing.callback(broker.close, timeout_seconds=5)
            broker.open()
            listener.connected()
            return broker, listener

        yield join
    assert threads() == []


def threads() -> list[str]:
    """Return the names of our threads."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("headway ")]


def event(number: int) -> Outgoing:
    """Return an event that can be told from others."""
    return Outgoing(message_id=f"e{number}", exchange=EVENTS, routing_key=KEY, kind="started", body=b"{}")


def settled(broker: Broker, listener: Listener) -> None:
    """Wait until all that this broker asked for was done."""
    asked = len(listener.all_of(QueueDepth))
    broker.measure("none")
    listener.wait_for(QueueDepth, count=asked + 1)


def test_hubs_share_nothing(join: Join):
    """What stands in a queue of one is not in the other."""
    one, heard = join()
    other, heard_other = join(Hub())
    for broker in (one, other):
        broker.declare(EVERYTHING)
    one.publish(event(1))
    for broker, listener, ready in ((one, heard, 1), (other, heard_other, 0)):
        settled(broker, listener)
        broker.measure(EVERYTHING.name)
        assert listener.wait_for(QueueDepth, count=2)[1] == QueueDepth(EVERYTHING.name, ready, 0)


def test_all_brokers_of_a_hub_share_one_thread(join: Join):
    """However many they are; and a new one starts it again when it had ended."""
    hub = Hub()
    brokers = [join(hub)[0] for _ in range(3)]
    assert threads() == ["headway test"]
    for broker in brokers:
        broker.close(timeout_seconds=5)
    assert threads() == []
    again, listener = join(hub)
    again.consume(EVERYTHING, prefetch=1)
    again.publish(event(1))
    listener.deliveries(1)


def test_a_publish_wakes_its_consumer(join: Join):
    """Nothing polls: a message there and its ack back take far less than a look at a clock would."""
    sender, told = join()
    receiver, heard = join()
    receiver.consume(EVERYTHING, prefetch=1)
    settled(receiver, heard)
    began = time.monotonic()
    for number in range(1, ROUND_TRIPS + 1):
        sender.publish(event(number))
        receiver.settle(heard.deliveries(number)[-1], Outcome.ACK)
        told.wait_for(Confirmed, count=number)
    assert time.monotonic() - began < ROUND_TRIPS * ROUND_TRIP_SECONDS_MAX


def test_an_event_is_confirmed_when_each_queue_that_took_it_is_done_with_it(join: Join):
    """A requeue changes nothing, the last ack does; an event that is rejected is done with as well."""
    broker, listener = join()
    broker.consume(EVERYTHING, prefetch=1)
    broker.consume(event_queue(0), prefetch=1)
    settled(broker, listener)
    broker.publish(event(1))
    first, second = listener.deliveries(2)
    broker.settle(first, Outcome.ACK)
    broker.settle(second, Outcome.REQUEUE)
    again = listener.deliveries(3)[2]
    assert (again.message_id, again.redelivered) == ("e1", True)
    settled(broker, listener)
    assert listener.all_of(Confirmed) == []
    broker.settle(again, Outcome.REJECT)
    assert listener.wait_for(Confirmed) == [Confirmed("e1")]


def test_an_event_that_nobody_takes_is_returned(join: Join):
    """There is no queue yet: nothing will ack it."""
    broker, listener = join()
    broker.publish(event(1))
    assert listener.wait_for(Unconfirmed) == [Unconfirmed("e1", "returned")]


def test_a_publisher_that_is_gone_hears_nothing(join: Join):
    """Its events were lost to it when it closed; the scheduler has them all the same, and may ack them."""
    sender, told = join()
    receiver, heard = join()
    receiver.declare(EVERYTHING)
    settled(receiver, heard)
    sender.publish(event(1))
    sender.close(timeout_seconds=60)
    assert told.all_of(Unconfirmed) == [Unconfirmed("e1", "lost")]
    receiver.consume(EVERYTHING, prefetch=1)
    receiver.settle(heard.deliveries(1)[0], Outcome.ACK)
    settled(receiver, heard)
    assert told.all_of(Confirmed) == []


def test_a_closing_scheduler_hands_its_events_over_in_order(join: Join):
    """Those it held come first, marked; the confirms come from the one that acks."""
    sender, told = join()
    first, heard = join()
    second, heard_second = join()
    first.consume(event_queue(0), prefetch=3)
    settled(first, heard)
    second.consume(event_queue(0), prefetch=10)
    settled(second, heard_second)
    for number in range(5):
        sender.publish(event(number))
    first.settle(heard.deliveries(3)[1], Outcome.ACK)
    told.wait_for(Confirmed)
    heard.deliveries(4)
    assert heard_second.all_of(Delivered) == []
    first.close(timeout_seconds=5)
    got = heard_second.deliveries(4)
    assert [(item.message_id, item.redelivered) for item in got] == [
        ("e0", True),
        ("e2", True),
        ("e3", True),
        ("e4", False),
    ]
    second.ack_through(got[-1])
    assert [signal.message_id for signal in told.wait_for(Confirmed, count=5)] == ["e1", "e0", "e2", "e3", "e4"]


def test_what_is_acked_leaves_nothing_behind(join: Join):
    """Neither a letter nor a receipt."""
    broker, listener = join()
    broker.consume(EVERYTHING, prefetch=100)
    settled(broker, listener)
    for number in range(100):
        broker.publish(event(number))
    broker.ack_through(listener.deliveries(100)[-1])
    listener.wait_for(Confirmed, count=100)
    gc.collect()
    assert [item for item in gc.get_objects() if isinstance(item, Letter | Receipt)] == []


def test_a_worker_name_is_taken_until_its_worker_is_gone(join: Join):
    """In one process no dead connection can hold it, so the second worker hears at once; then it is free."""
    first, heard = join()
    first.consume(control_queue("w1"), prefetch=1)
    settled(first, heard)
    second, heard_second = join()
    second.consume(control_queue("w1"), prefetch=1)
    (failed,) = heard_second.wait_for(Failed)
    assert isinstance(failed.error, WorkerNameTaken)
    first.close(timeout_seconds=5)
    third, heard_third = join()
    third.consume(control_queue("w1"), prefetch=1)
    settled(third, heard_third)
    third.publish(Outgoing(message_id="g", exchange="", routing_key=control_queue("w1").name, kind="grant", body=b"{}"))
    assert heard_third.deliveries(1)[0].message_id == "g"
    assert heard_third.wait_for(Confirmed) == [Confirmed("g")]
