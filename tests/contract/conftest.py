"""Brokers for the contract of the port: each is closed at the end of its test, and leaves no thread behind."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from brokers import ADAPTERS, Adapter, Capability, Gate, Listener
from headway.broker.port import Broker
from servers import RabbitMQ

Joined = tuple[Broker, Listener]


def pytest_configure(config: pytest.Config) -> None:
    """Make the suite's marker known."""
    config.addinivalue_line("markers", "needs(capability...): skipped for adapters that cannot do this")


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request: pytest.FixtureRequest) -> Iterator[Adapter]:
    """Give each adapter in turn, with an empty broker; skip what it cannot do."""
    with ADAPTERS[request.param](request) as made:
        marker = request.node.get_closest_marker("needs")
        missing = {*marker.args} - made.capabilities if marker else set[Capability]()
        if missing:
            pytest.skip(f"{request.param} lacks {', '.join(sorted(item.name for item in missing))}")
        yield made


@pytest.fixture(params=["pika", "kombu"])
def prefix(request: pytest.FixtureRequest) -> str:
    """Give what stands before amqp:// in the URLs of each client library in turn."""
    return "kombu+" if request.param == "kombu" else ""


@pytest.fixture
def amqp_url(prefix: str, fresh_vhost: str) -> str:
    """Give the URL of a virtual host that is new, for each client library in turn."""
    return prefix + fresh_vhost


@pytest.fixture
def opened() -> Iterator[Callable[[Broker], Broker]]:
    """Give a function that opens a broker and has it closed after the test."""
    with ExitStack() as closing:

        def opened(broker: Broker) -> Broker:
            closing.callback(broker.close, timeout_seconds=5)
            broker.open()
            return broker

        yield opened
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("headway ")]
    assert left == []


@pytest.fixture
def join(adapter: Adapter, opened: Callable[[Broker], Broker]) -> Callable[[], Joined]:
    """Give a function that connects a broker of the adapter and returns it with its listener."""

    def join() -> Joined:
        listener = Listener()
        broker = opened(adapter.connect(sink=listener))
        listener.connected()
        return broker, listener

    return join


@pytest.fixture
def gate(rabbitmq: RabbitMQ) -> Iterator[Gate]:
    """Give a gate to RabbitMQ, shut."""
    made = Gate(rabbitmq.host, rabbitmq.port)
    yield made
    made.shut()
