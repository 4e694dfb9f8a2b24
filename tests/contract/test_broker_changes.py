"""What the adapters on RabbitMQ make of queues and exchanges that somebody deleted, changed, or holds."""

import pytest

from brokers import Listener
from brokers.rabbit import NAME, QUEUE, Open, joined, message, vhost_of
from headway.broker.connecting import connect
from headway.broker.port import Broker, Confirmed, Disconnected, Failed, Outcome, Unconfirmed
from headway.protocol.errors import QueueMismatch, WorkerNameTaken
from headway.protocol.topology import DEAD, EVENT_QUEUES, EVENTS, TASKS, Queue, control_queue
from servers import RabbitMQ


def test_a_queue_deleted_under_its_consumer_is_made_again(amqp_url: str, rabbitmq: RabbitMQ, opened: Open):
    """The consumer consumes from the new one."""
    broker, listener = joined(amqp_url, opened)
    broker.declare(QUEUE)
    consumer = broker.consume(QUEUE, prefetch=1)
    broker.publish(message(1))
    broker.settle(listener.deliveries(1)[0], Outcome.ACK)
    rabbitmq.api("DELETE", f"/queues/{vhost_of(amqp_url)}/{QUEUE.name}")
    (lost,) = listener.wait_for(Disconnected)
    assert QUEUE.name in lost.detail
    listener.connected(times=2)
    broker.publish(message(2))
    assert listener.deliveries(2)[1].consumer == consumer


def test_a_deleted_exchange_is_made_again(amqp_url: str, rabbitmq: RabbitMQ, opened: Open):
    """The publish that found it missing is lost; published again, it arrives."""
    broker, listener = joined(amqp_url, opened)
    rabbitmq.api("DELETE", f"/exchanges/{vhost_of(amqp_url)}/{EVENTS}")
    broker.publish(message(1))
    assert listener.wait_for(Unconfirmed) == [Unconfirmed("m1", "lost")]
    (lost,) = listener.wait_for(Disconnected)
    assert EVENTS in lost.detail
    listener.connected(times=2)
    broker.declare(QUEUE)
    broker.publish(message(1))
    listener.wait_for(Confirmed)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let queues be bound again every now and then, and soon."""
    monkeypatch.setattr("headway.broker.rabbitmq.consuming.BIND_SECONDS", 0.2)


@pytest.mark.usefixtures("quick")
def test_a_binding_that_went_with_its_exchange_is_made_again(fresh_vhost: str, rabbitmq: RabbitMQ, opened: Open):
    """Somebody else was quicker to make the exchange again, who does not know of the queue: messages are returned."""
    broker, listener = joined(fresh_vhost, opened)
    broker.consume(QUEUE, prefetch=1)
    other, heard = joined(fresh_vhost, opened)
    other.publish(message(0))
    listener.deliveries(1)
    rabbitmq.api("DELETE", f"/exchanges/{vhost_of(fresh_vhost)}/{EVENTS}")
    number = 1
    while len(heard.all_of(Confirmed)) < 2:
        other.publish(message(number))
        heard.wait_for((Confirmed, Unconfirmed), count=number + 1)
        number += 1
    broker.settle(listener.deliveries(1)[0], Outcome.ACK)
    listener.deliveries(2)


@pytest.mark.usefixtures("quick")
def test_an_exchange_that_only_the_broker_publishes_to_is_made_again(
    fresh_vhost: str, rabbitmq: RabbitMQ, opened: Open
):
    """Nobody is told that dead letters go nowhere: it is found as their queue is bound again."""
    broker, listener = joined(fresh_vhost, opened)
    broker.consume(EVENT_QUEUES[0], prefetch=1)
    rabbitmq.api("DELETE", f"/exchanges/{vhost_of(fresh_vhost)}/{DEAD}")
    (lost,) = listener.wait_for(Disconnected)
    assert DEAD in lost.detail
    listener.connected(times=2)
    key = EVENT_QUEUES[0].bindings[1].pattern.replace("#", "task.default")
    broker.publish(message(1, exchange=DEAD, key=key))
    assert listener.deliveries(1)[0].message_id == "m1"


def test_a_failure_that_comes_while_a_queue_is_declared_is_not_taken_for_its_own(
    amqp_url: str, rabbitmq: RabbitMQ, opened: Open
):
    """The broker closes the publishing channel, and the answer may meet a declaration: the queue is declared again."""
    broker, listener = joined(amqp_url, opened)
    rabbitmq.api("DELETE", f"/exchanges/{vhost_of(amqp_url)}/{EVENTS}")
    broker.publish(message(1))
    broker.declare(Queue(name="faults.other"))
    (lost,) = listener.wait_for(Disconnected)
    assert EVENTS in lost.detail
    listener.connected(times=2)
    assert listener.all_of(Failed) == []
    broker.publish(message(2, exchange="", key="faults.other"))
    assert listener.wait_for(Confirmed) == [Confirmed("m2")]


def test_a_queue_with_other_arguments_is_told_and_left_alone(amqp_url: str, opened: Open):
    """Failed(QueueMismatch) for declaring and for consuming; deliveries in hand and other queues are not touched."""
    broker, listener = joined(amqp_url, opened)
    broker.declare(QUEUE)
    broker.consume(QUEUE, prefetch=1)
    broker.publish(message(1))
    (got,) = listener.deliveries(1)
    other = Queue(name=QUEUE.name, arguments={"x-queue-type": "classic"})
    broker.declare(other)
    broker.consume(other, prefetch=1)
    errors = [signal.error for signal in listener.wait_for(Failed, count=2)]
    assert [type(error) for error in errors] == [QueueMismatch, QueueMismatch]
    assert QUEUE.name in str(errors[0])
    broker.settle(got, Outcome.ACK)
    broker.publish(message(2))
    assert listener.deliveries(2)[1].message_id == "m2"
    assert listener.all_of(Disconnected) == []


def test_an_exchange_of_another_kind_ends_all_tries(amqp_url: str, rabbitmq: RabbitMQ, opened: Open):
    """Without its exchanges there is nothing to do."""
    rabbitmq.api("PUT", f"/exchanges/{vhost_of(amqp_url)}/{TASKS}", {"type": "fanout", "durable": True})
    listener = Listener()
    opened(connect(amqp_url, name=NAME, sink=listener))
    (failed,) = listener.wait_for(Failed)
    assert isinstance(failed.error, QueueMismatch)
    assert str(failed.error).startswith(f"Exchange '{TASKS}' exists with other arguments (PRECONDITION_FAILED")


def named(url: str, listener: Listener, *, patience_seconds: float) -> Broker:
    """Return a broker that takes a taken name for final after so long."""
    return connect(url, name=NAME, sink=listener, name_held_seconds=patience_seconds)


def test_a_taken_worker_name_is_told(amqp_url: str, opened: Open):
    """While the first worker is connected the second one tries for a while and fails."""
    first, first_listener = joined(amqp_url, opened)
    hold_name(first, first_listener)
    listener = Listener()
    second = opened(named(amqp_url, listener, patience_seconds=0.3))
    second.consume(control_queue("w1"), prefetch=1)
    (failed,) = listener.wait_for(Failed)
    assert isinstance(failed.error, WorkerNameTaken)
    assert str(failed.error).startswith("A worker named 'w1' is connected already")
    assert "headway.control.w1" in listener.wait_for(Disconnected)[0].detail


def test_a_worker_name_that_is_held_by_a_dead_connection_becomes_free(amqp_url: str, opened: Open):
    """The next worker of the name waits until the broker lets go of it."""
    first, first_listener = joined(amqp_url, opened)
    hold_name(first, first_listener)
    listener = Listener()
    second = opened(named(amqp_url, listener, patience_seconds=60))
    second.consume(control_queue("w1"), prefetch=1)
    listener.wait_for(Disconnected)
    first.close(timeout_seconds=5)
    listener.connected()
    second.publish(message(2, exchange="", key=control_queue("w1").name))
    assert listener.deliveries(1)[0].message_id == "m2"


def hold_name(broker: Broker, listener: Listener) -> None:
    """Consume from the control queue of w1, and return when it is there."""
    queue = control_queue("w1")
    broker.consume(queue, prefetch=1)
    number = 0
    while not listener.all_of(Confirmed):
        broker.publish(message(number, exchange="", key=queue.name))
        number += 1
        listener.wait_for((Confirmed, Unconfirmed), count=number)
