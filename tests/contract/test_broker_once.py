"""What the command line does with a broker: one thing, to its end."""

import time

import pytest

from brokers import Gate
from brokers.rabbit import QUEUE, Open, joined, message
from headway.broker.connecting import transport_of
from headway.broker.once import measure_once, publish_once
from headway.broker.port import Confirmed, QueueDepth
from headway.protocol.errors import BrokerRefused, BrokerUnavailable
from servers import RabbitMQ


def test_publish_once_returns_when_the_broker_has_the_message(amqp_url: str, opened: Open):
    """And measure_once finds it."""
    broker, listener = joined(amqp_url, opened)
    broker.declare(QUEUE)
    broker.publish(message(1))
    listener.wait_for(Confirmed)
    publish_once(transport_of(amqp_url), message(2), timeout_seconds=10)
    broker.consume(QUEUE, prefetch=2)
    assert {got.message_id for got in listener.deliveries(2)} == {"m1", "m2"}
    depths = measure_once(transport_of(amqp_url), ["none", QUEUE.name, "none"], timeout_seconds=10)
    assert depths == [QueueDepth("none", None, 0), QueueDepth(QUEUE.name, 0, 1), QueueDepth("none", None, 0)]
    assert measure_once(transport_of(amqp_url), [], timeout_seconds=10) == []


def test_publish_once_says_that_nobody_takes_the_message(amqp_url: str):
    """Unroutable is an error."""
    with pytest.raises(BrokerUnavailable, match="no queue takes this message"):
        publish_once(transport_of(amqp_url), message(1), timeout_seconds=10)


def test_publish_once_gives_up_in_time(amqp_url: str, gate: Gate):
    """A broker that is not there, and one that says nothing."""
    url = gate.url(amqp_url)
    with pytest.raises(BrokerUnavailable, match="Connection refused"):
        publish_once(transport_of(url), message(1), timeout_seconds=0.2)
    gate.open()
    gate.silence()
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="did not answer in time"):
        publish_once(transport_of(url), message(1), timeout_seconds=0.2)
    assert time.monotonic() - began < 10  # as the handshake would take


def test_publish_once_says_why_the_broker_refuses(prefix: str, rabbitmq: RabbitMQ):
    """At once, not at the deadline."""
    with pytest.raises(BrokerRefused):
        publish_once(transport_of(prefix + rabbitmq.url(password="mistaken")), message(1), timeout_seconds=60)
