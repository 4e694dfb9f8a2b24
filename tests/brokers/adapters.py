"""The adapters of the broker port. A new one passes the suite of tests/contract when it stands in ADAPTERS.

What a transport cannot do at all is left out of its capabilities, and the tests that need it are skipped for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from headway.broker import rabbitmq as on_rabbitmq
from headway.broker.port import Broker, Sink
from servers import RabbitMQ


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


def rabbitmq_adapter(server: RabbitMQ, vhost: str) -> Adapter:
    """Return the adapter on RabbitMQ, on this virtual host."""

    def connect(*, sink: Sink, name: str = "headway test") -> Broker:
        return on_rabbitmq.connect(server.url(vhost), name=name, sink=sink)

    def interrupt() -> None:
        server.ctl("close_all_connections", "--vhost", vhost, "a test interrupts you")

    return Adapter(connect, interrupt, frozenset(Capability))


ADAPTERS: Final = {"rabbitmq": rabbitmq_adapter}
