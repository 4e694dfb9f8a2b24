"""The adapters of the broker port. A new one passes the suite of tests/contract when it stands in ADAPTERS.

What a transport cannot do at all is left out of its capabilities, and the tests that need it are skipped for it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Final, Protocol

import pytest

from headway.broker.connecting import connect as connect_to
from headway.broker.port import Broker, Sink
from headway.broker.portable import Hub
from servers import RabbitMQ

from .gate import Gate


class Connect(Protocol):
    """Makes a broker that is not open yet."""

    def __call__(self, *, sink: Sink, name: str = "headway test") -> Broker:
        """Return it."""


class Capability(Enum):
    """What a transport may be unable to do."""

    TTL = auto()  # takes away what nobody fetched in time, and says so
    INTERRUPTS = auto()  # has connections that can break


@dataclass(frozen=True)
class Adapter:
    """An adapter with a broker of its own to talk to."""

    connect: Connect
    interrupt: Callable[[], None]
    capabilities: frozenset[Capability]


@contextmanager
def amqp_adapter(request: pytest.FixtureRequest, prefix: str = "") -> Iterator[Adapter]:
    """Give an adapter on RabbitMQ, on a virtual host of its own; its lines lead through a gate."""
    server: RabbitMQ = request.getfixturevalue("rabbitmq")
    url: str = request.getfixturevalue("fresh_vhost")
    gate = Gate(server.host, server.port)
    gate.open()

    def connect(*, sink: Sink, name: str = "headway test") -> Broker:
        return connect_to(prefix + gate.url(url), name=name, sink=sink)

    yield Adapter(connect, gate.cut, frozenset(Capability))
    gate.shut()


@contextmanager
def memory_adapter(_request: pytest.FixtureRequest) -> Iterator[Adapter]:
    """Give the adapter in memory. It has no connections that could break, and no clock to take messages away by."""
    hub = Hub()

    def connect(*, sink: Sink, name: str = "headway test") -> Broker:
        return hub.connect(name=name, sink=sink)

    yield Adapter(connect, lambda: None, frozenset())


ADAPTERS: Final = {
    "rabbitmq": amqp_adapter,
    "kombu over amqp": partial(amqp_adapter, prefix="kombu+"),
    "memory": memory_adapter,
}
