"""From a URL to a broker: the one place where a composition root chooses an adapter, and where each one is told.

amqp://, amqps://                  RabbitMQ by pika                    rabbitmq/
kombu+amqp://, kombu+amqps://      RabbitMQ by kombu and py-amqp       portable/
memory://                          one process: make a `portable.Hub`, and connect to that
"""

from typing import Final, Protocol

from headway.protocol.errors import OneProcessOnly

from .address import parse_url
from .port import Broker, Sink
from .timing import NAME_HELD_SECONDS_MAX

MEMORY: Final = "memory://"


def is_memory(url: str) -> bool:
    """Return whether this URL means a broker within the process."""
    return url.lower().rstrip("/") == MEMORY.rstrip("/")


def connect(url: str, *, name: str, sink: Sink, name_held_seconds: float = NAME_HELD_SECONDS_MAX) -> Broker:
    """Return a broker that is not open yet; raise WrongSettings if the URL is none, OneProcessOnly for memory://.

    `name` ("headway worker w1") is what RabbitMQ's management shows for our connections. Signals go to `sink`. An
    exclusive queue may stay taken for `name_held_seconds` before that is final.
    """
    if is_memory(url):
        raise OneProcessOnly(url=url)
    address = parse_url(url)
    # Here, so that a process loads one client library and not two.
    if address.library == "pika":
        from . import rabbitmq  # noqa: PLC0415

        return rabbitmq.connect(address, name=name, sink=sink, name_held_seconds=name_held_seconds)
    from . import portable  # noqa: PLC0415

    return portable.connect(address, name=name, sink=sink, name_held_seconds=name_held_seconds)


class Transport(Protocol):
    """A broker, whichever it is, that any number of connections can be made to."""

    @property
    def url(self) -> str:
        """Its URL without a password."""
        ...

    @property
    def user(self) -> str:
        """The user that we are to it."""
        ...

    def connect(self, name: str, sink: Sink) -> Broker:
        """Return a connection that is not open yet."""
        ...


class Server:
    """A broker that is a server."""

    def __init__(self, url: str) -> None:
        """Take a URL; raise WrongSettings if it is none."""
        address = parse_url(url)
        self._url = url
        self.url, self.user = address.url, address.user

    def connect(self, name: str, sink: Sink) -> Broker:
        """Return a connection that is not open yet."""
        return connect(self._url, name=name, sink=sink)


def transport_of(url: str) -> Transport:
    """Return the broker that a URL means; memory:// is a new one at each call. Raises WrongSettings."""
    if is_memory(url):
        from .portable import Hub  # noqa: PLC0415

        return Hub()
    return Server(url)
