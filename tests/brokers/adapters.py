"""The adapters of the broker port. A new one passes the suite of tests/contract when it stands in ADAPTERS.

What a transport cannot do at all is left out of its capabilities, and the tests that need it are skipped for it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from headway.broker import rabbitmq as on_rabbitmq
from headway.broker.port import Broker, Sink
from servers import RabbitMQ

from .gate import Gate


class Connect(Protocol):
    """Makes a broker that is not open yet."""

    def __call__(self, *, sink: Sink, name: str = "headway test") -> Broker:
        """Return it."""


class Capability(Enum):
    """What a transport may be unable to do."""

    RETURNS = auto()  # says that no queue takes a message
    LIMITS = auto()  # refuses a message for a full queue
    DEAD_LETTERS = auto()  # hands a rejected message to a dead-letter exchange
    INTERRUPTS = auto()  # has connections that can break


@dataclass(frozen=True)
class Adapter:
    """An adapter with a broker of its own to talk to."""

    connect: Connect
    interrupt: Callable[[], None]
    capabilities: frozenset[Capability]


@contextmanager
def rabbitmq_adapter(server: RabbitMQ, url: str) -> Iterator[Adapter]:
    """Give the adapter on RabbitMQ, on the virtual host of this URL; its lines lead through a gate."""
    gate = Gate(server.host, server.port)
    gate.open()

    def connect(*, sink: Sink, name: str = "headway test") -> Broker:
        return on_rabbitmq.connect(gate.url(url), name=name, sink=sink)

    yield Adapter(connect, gate.cut, frozenset(Capability))
    gate.shut()


ADAPTERS: Final = {"rabbitmq": rabbitmq_adapter}
