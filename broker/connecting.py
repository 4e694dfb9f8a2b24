"""From a URL to a broker: the one place where a composition root chooses an adapter, and where each one is told.

amqp://, amqps://                  RabbitMQ by pika                    rabbitmq/
kombu+amqp://, kombu+amqps://      RabbitMQ by kombu and py-amqp       portable/
memory://                          one process: make a `portable.Hub`, and connect to that
"""

from typing import Final

from headway.protocol.errors import OneProcessOnly

from .address import parse_url
from .port import Broker, Sink
from .timing import NAME_HELD_SECONDS_MAX

MEMORY: Final = "memory://"


def is_memory(url: str) -> bool:
    """Return whether this URL means a broker within the process."""
    return url.rstrip("/") == MEMORY.rstrip("/")


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
