"""The contract of the broker port, run on every adapter: what broker/port.py promises."""

import time
from collections.abc import Callable

import msgspec
import pytest

from brokers import Adapter, Capability, Listener
from brokers.listener import SECONDS_MAX
from headway.broker.port import (
    Broker,
    Confirmed,
    Connected,
    ConsumerGone,
    Delivery,
    Disconnected,
    Outcome,
    Outgoing,
    QueueDepth,
    Unconfirmed,
)
from headway.protocol.limits import MESSAGE_BYTES_MAX
from headway.protocol.topology import DEAD, EVENTS, TASKS, Binding, Queue

Join = Callable[[], tuple[Broker, Listener]]

needs = pytest.mark.needs
QUEUE = Queue(
    name="contract.q",
    arguments={"x-queue-type": "quorum", "x-dead-letter-exchange": DEAD},
    bindings=(Binding(exchange=TASKS, pattern="contract.#"),),
)
EVENT_QUEUE = Queue(name="contract.events", bindings=(Binding(exchange=EVENTS, pattern="contract.#"),))
DEAD_QUEUE = Queue(name="contract.dead", bindings=(Binding(exchange=DEAD, pattern="#"),))


def message(number: int, *, key: str = "contract.x", exchange: str = TASKS) -> Outgoing:
    """Return a message that can be told from others."""
    return Outgoing(message_id=f"m{number}", exchange=exchange, routing_key=key, kind="test", body=b'{"n":%d}' % number)


def ids(deliveries: list[Delivery]) -> list[str | None]:
    """Return the message ids in their order."""
    return [delivery.message_id for delivery in deliveries]


def publish(broker: Broker, count: int) -> None:
    """Publish m0, m1, ... to QUEUE, which is declared before."""
    broker.declare(QUEUE)
    for number in range(count):
        broker.publish(message(number))


def depth(broker: Broker, listener: Listener, *, ready: int | None, queue: str = QUEUE.name) -> None:
    """Measure a queue until this many messages are ready: the broker counts a little after it acts."""
    asked = len(listener.all_of(QueueDepth))
    deadline = time.monotonic() + SECONDS_MAX
    found = None
    while time.monotonic() < deadline and (found is None or found.ready != ready):
        broker.measure(queue)
        asked += 1
        found = listener.wait_for(QueueDepth, count=asked)[-1]
    assert found
    assert found.ready == ready


def test_every_message_is_confirmed_once_and_delivered_in_order(join: Join):
    """A thousand messages end in one Confirmed each, and arrive as they were published."""
    broker, listener = join()
    publish(broker, 1000)
    confirmed = listener.wait_for(Confirmed, count=1000)
    broker.consume(QUEUE, prefetch=1000)
    expected = [f"m{number}" for number in range(1000)]
    assert ids(listener.deliveries(1000)) == expected
    assert sorted(signal.message_id for signal in confirmed) == sorted(expected)
    assert listener.all_of(Unconfirmed) == []


def test_a_delivery_tells_where_it_came_from(join: Join):
    """Queue, exchange, key, id, kind, user and body arrive as they were sent."""
    broker, listener = join()
    consumer = broker.consume(QUEUE, prefetch=1)
    publish(broker, 1)
    (got,) = listener.deliveries(1)
    assert (got.consumer, got.queue, got.exchange, got.routing_key) == (consumer, QUEUE.name, TASKS, "contract.x")
    assert (got.message_id, got.kind, got.user_id, got.body) == ("m0", "test", broker.user, b'{"n":0}')
    assert (got.redelivered, got.headers) == (False, {})


def test_large_messages_arrive_whole(join: Join):
    """As large as a message may be, one behind the other."""
    broker, listener = join()
    broker.declare(QUEUE)
    bodies = [bytes([number]) * MESSAGE_BYTES_MAX for number in range(3)]
    for number, body in enumerate(bodies):
        broker.publish(msgspec.structs.replace(message(number), body=body))
    broker.consume(QUEUE, prefetch=3)
    assert [delivery.body for delivery in listener.deliveries(3)] == bodies


def test_a_message_that_no_queue_takes_is_returned(join: Join):
    """Unroutable is not confirmed; its neighbours are."""
    broker, listener = join()
    broker.declare(QUEUE)
    for number, key in enumerate(("contract.a", "nowhere", "contract.b")):
        broker.publish(message(number, key=key))
    assert {signal.message_id for signal in listener.wait_for(Confirmed, count=2)} == {"m0", "m2"}
    assert listener.wait_for(Unconfirmed) == [Unconfirmed("m1", "returned")]


def test_a_full_queue_refuses(join: Join):
    """What is above the queue's limit is refused, so that its publisher keeps it; RabbitMQ overshoots a little."""
    broker, listener = join()
    arguments = {"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"}
    broker.declare(Queue(name="contract.full", arguments=arguments, bindings=(Binding(exchange=TASKS, pattern="f"),)))
    number = 0
    while not listener.all_of(Unconfirmed):
        broker.publish(message(number, key="f"))
        number += 1
        listener.wait_for((Confirmed, Unconfirmed), count=number)
    assert listener.all_of(Unconfirmed) == [Unconfirmed(f"m{number - 1}", "refused")]


def test_an_event_is_confirmed_when_its_transport_says(join: Join):
    """Once a queue has it; or, where nothing outlives the process, once its consumer has acked it."""
    broker, listener = join()
    broker.consume(EVENT_QUEUE, prefetch=1)
    broker.declare(EVENT_QUEUE)
    broker.publish(message(0, exchange=EVENTS))
    (got,) = listener.deliveries(1)
    if broker.capabilities.confirms_events == "acked":
        depth(broker, listener, ready=0, queue=EVENT_QUEUE.name)
        assert listener.all_of(Confirmed) == []
        broker.settle(got, Outcome.ACK)
    assert listener.wait_for(Confirmed) == [Confirmed("m0")]


def test_ack_ends_a_message(join: Join):
    """An acked message is gone."""
    broker, listener = join()
    publish(broker, 1)
    consumer = broker.consume(QUEUE, prefetch=1)
    broker.settle(listener.deliveries(1)[0], Outcome.ACK)
    broker.cancel(consumer)
    listener.wait_for(ConsumerGone)
    depth(broker, listener, ready=0)


def test_reject_hands_a_message_to_the_dead_letter_exchange(join: Join):
    """A rejected message comes out of the dead-letter exchange with its key."""
    broker, listener = join()
    broker.consume(DEAD_QUEUE, prefetch=1)
    broker.consume(QUEUE, prefetch=1)
    publish(broker, 1)
    broker.settle(listener.deliveries(1, queue=QUEUE.name)[0], Outcome.REJECT)
    (dead,) = listener.deliveries(1, queue=DEAD_QUEUE.name)
    assert (dead.message_id, dead.exchange, dead.routing_key) == ("m0", DEAD, "contract.x")


def test_requeue_gives_a_message_to_somebody_else(join: Join):
    """A requeued message is delivered again and says so."""
    broker, listener = join()
    other, other_listener = join()
    publish(broker, 1)
    consumer = broker.consume(QUEUE, prefetch=1)
    (first,) = listener.deliveries(1)
    broker.cancel(consumer)
    listener.wait_for(ConsumerGone)
    other.consume(QUEUE, prefetch=1)
    broker.settle(first, Outcome.REQUEUE)
    (again,) = other_listener.deliveries(1)
    assert (first.message_id, first.redelivered) == ("m0", False)
    assert (again.message_id, again.redelivered) == ("m0", True)


def test_ack_through_acks_what_came_before_and_nothing_after(join: Join):
    """Of five deliveries the first three are acked by one call; the rest is handed out again."""
    broker, listener = join()
    other, other_listener = join()
    publish(broker, 5)
    broker.consume(QUEUE, prefetch=5)
    got = listener.deliveries(5)
    broker.settle(got[2], Outcome.ACK)
    broker.ack_through(got[2])
    broker.ack_through(got[0])
    broker.close(timeout_seconds=5)
    other.consume(QUEUE, prefetch=5)
    assert ids(other_listener.deliveries(2)) == ["m3", "m4"]
    depth(other, other_listener, ready=0)


def test_prefetch_bounds_what_is_unsettled(join: Join):
    """A consumer of prefetch 2 gets the third message when it settled the first; its neighbour has its own bound."""
    broker, listener = join()
    publish(broker, 5)
    broker.consume(QUEUE, prefetch=2)
    first, _ = listener.deliveries(2)
    depth(broker, listener, ready=3)
    broker.settle(first, Outcome.ACK)
    assert ids(listener.deliveries(3)) == ["m0", "m1", "m2"]
    broker.consume(QUEUE, prefetch=1)
    listener.deliveries(4)
    depth(broker, listener, ready=1)


def test_a_cancelled_consumer_gets_nothing_more_and_settles_what_it_has(join: Join):
    """After ConsumerGone the queue keeps what comes, and the delivery in hand can still be acked."""
    broker, listener = join()
    consumer = broker.consume(QUEUE, prefetch=1)
    publish(broker, 1)
    (got,) = listener.deliveries(1)
    broker.cancel(consumer)
    broker.cancel(consumer)
    assert listener.wait_for(ConsumerGone) == [ConsumerGone(consumer)]
    broker.publish(message(1))
    depth(broker, listener, ready=1)
    broker.settle(got, Outcome.ACK)
    broker.consume(QUEUE, prefetch=5)
    assert ids(listener.deliveries(2)) == ["m0", "m1"]


def test_a_consumer_can_be_cancelled_before_it_began(join: Join):
    """Cancelling at once is answered too, and others are not affected."""
    broker, listener = join()
    gone = [broker.consume(QUEUE, prefetch=1) for _ in range(3)]
    for consumer in gone:
        broker.cancel(consumer)
    stays = broker.consume(QUEUE, prefetch=1)
    assert {signal.consumer for signal in listener.wait_for(ConsumerGone, count=3)} == set(gone)
    publish(broker, 1)
    assert listener.deliveries(1)[0].consumer == stays


@needs(Capability.INTERRUPTS)
def test_after_an_interruption_what_was_not_settled_comes_again(join: Join, adapter: Adapter):
    """Consumers consume again; a delivery of the old connection settles nothing, the new one does."""
    broker, listener = join()
    publish(broker, 2)
    consumer = broker.consume(QUEUE, prefetch=2)
    stale, _ = listener.deliveries(2)
    adapter.interrupt()
    listener.wait_for(Disconnected)
    listener.connected(times=2)
    got = listener.deliveries(4)[2:]
    assert [(item.message_id, item.redelivered, item.consumer) for item in got] == [
        ("m0", True, consumer),
        ("m1", True, consumer),
    ]
    broker.ack_through(stale)
    broker.settle(stale, Outcome.REJECT)
    broker.settle(got[1], Outcome.ACK)
    broker.cancel(consumer)
    listener.wait_for(ConsumerGone)
    broker.settle(got[0], Outcome.REQUEUE)
    depth(broker, listener, ready=1)


@needs(Capability.INTERRUPTS)
def test_every_publish_ends_in_one_answer_though_the_connection_breaks(join: Join, adapter: Adapter):
    """Confirmed or lost, each once; and the losses are told, in order, before Disconnected."""
    broker, listener = join()
    publish(broker, 5000)
    listener.wait_for(Confirmed)
    adapter.interrupt()
    listener.connected(times=2)
    answers = listener.wait_for((Confirmed, Unconfirmed), count=5000)
    assert sorted(answer.message_id for answer in answers) == sorted(f"m{number}" for number in range(5000))
    cut = listener.signals.index(listener.all_of(Disconnected)[0])
    lost = [int(signal.message_id[1:]) for signal in listener.signals[:cut] if isinstance(signal, Unconfirmed)]
    assert lost
    assert lost == sorted(lost)


@needs(Capability.INTERRUPTS)
def test_a_cancel_is_answered_without_a_connection(join: Join, adapter: Adapter):
    """A consumer that is cancelled while the connection breaks is gone, and stays so."""
    broker, listener = join()
    consumer = broker.consume(QUEUE, prefetch=1)
    adapter.interrupt()
    listener.wait_for(Disconnected)
    broker.cancel(consumer)
    assert listener.wait_for(ConsumerGone) == [ConsumerGone(consumer)]
    listener.connected(times=2)
    publish(broker, 1)
    depth(broker, listener, ready=1)


def test_settling_twice_is_settling_once(join: Join):
    """The second outcome does nothing, and the consumer goes on."""
    broker, listener = join()
    broker.consume(QUEUE, prefetch=1)
    publish(broker, 2)
    (first,) = listener.deliveries(1)
    for outcome in (Outcome.ACK, Outcome.REJECT, Outcome.ACK):
        broker.settle(first, outcome)
    assert ids(listener.deliveries(2)) == ["m0", "m1"]
    assert listener.all_of(Disconnected) == []


def test_measure_counts_messages_and_consumers(join: Join):
    """A queue tells its depth; one that does not exist tells that."""
    broker, listener = join()
    publish(broker, 3)
    listener.wait_for(Confirmed, count=3)
    depth(broker, listener, ready=3)
    broker.consume(QUEUE, prefetch=1)
    listener.deliveries(1)
    depth(broker, listener, ready=2)
    assert listener.all_of(QueueDepth)[-1] == QueueDepth(QUEUE.name, 2, 1)
    depth(broker, listener, ready=None, queue="contract.none")
    assert listener.all_of(QueueDepth)[-1] == QueueDepth("contract.none", None, 0)


def test_close_waits_for_confirms(join: Join):
    """What was published before `close` is confirmed when it returns."""
    broker, listener = join()
    publish(broker, 500)
    broker.close(timeout_seconds=20)
    assert len(listener.all_of(Confirmed)) == 500


def test_a_closed_broker_says_so_to_each_publish(join: Join):
    """Closing twice is closing once; a later publish is lost, and the rest is nothing."""
    broker, listener = join()
    consumer = broker.consume(QUEUE, prefetch=1)
    publish(broker, 1)
    (got,) = listener.deliveries(1)
    broker.close(timeout_seconds=5)
    broker.close(timeout_seconds=5)
    broker.settle(got, Outcome.ACK)
    broker.measure(QUEUE.name)
    broker.publish(message(1))
    assert listener.all_of(Unconfirmed) == [Unconfirmed("m1", "lost")]
    assert listener.all_of(ConsumerGone) == []
    assert listener.all_of(Disconnected) == []
    broker.cancel(consumer)
    assert listener.all_of(ConsumerGone) == [ConsumerGone(consumer)]


def test_a_broker_that_was_never_open_closes(adapter: Adapter):
    """What was asked of it before is answered."""
    listener = Listener()
    broker = adapter.connect(sink=listener)
    broker.publish(message(1, exchange=TASKS))
    broker.close(timeout_seconds=0)
    assert listener.signals == [Unconfirmed("m1", "lost")]


def test_what_is_asked_for_before_it_is_open_is_done_then(
    join: Join, adapter: Adapter, opened: Callable[[Broker], Broker]
):
    """A service may consume first and open afterwards: nothing is delivered before Connected."""
    broker, listener = join()
    publish(broker, 3)
    listener.wait_for(Confirmed, count=3)
    late_listener = Listener()
    late = adapter.connect(sink=late_listener)
    late.consume(QUEUE, prefetch=3)
    for number in range(5):
        late.consume(Queue(name=f"contract.{number}"), prefetch=1)
    opened(late)
    assert ids(late_listener.deliveries(3)) == ["m0", "m1", "m2"]
    assert isinstance(late_listener.signals[0], Connected)
