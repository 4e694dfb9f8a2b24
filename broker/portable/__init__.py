"""The port by kombu: on AMQP by py-amqp, a second client library for RabbitMQ, and in memory, for one process.

Read in this order: ../adapter.py (what happens when a connection comes or goes), link.py (threads and connections),
publishing.py, consuming.py; amqp.py (a connection to RabbitMQ), hub.py and mailbox.py (RabbitMQ's part, in memory).
docs/transports.md compares the transports.
"""

from functools import partial

from ..adapter import Client, TwoHalves
from ..address import Address
from ..port import Broker, Capabilities, Sink
from .amqp import AmqpLine
from .consuming import ConsumeSession
from .hub import Hub
from .link import Link, Thread
from .publishing import PublishSession

__all__ = ["CAPABILITIES", "Hub", "connect"]

CAPABILITIES = Capabilities(is_durable=True, confirms_events="stored", has_ttl=True)


def connect(address: Address, *, name: str, sink: Sink, name_held_seconds: float) -> Broker:
    """Return a broker on RabbitMQ that is not open yet."""
    publishing, consuming = f"{name} publish", f"{name} consume"
    client = Client(
        publishing_link=partial(Link, partial(AmqpLine, address, publishing, publishes=True), publishing, Thread()),
        consuming_link=partial(Link, partial(AmqpLine, address, consuming, publishes=False), consuming, Thread()),
        publish_session=PublishSession,
        consume_session=ConsumeSession,
        capabilities=CAPABILITIES,
        name_held_seconds=name_held_seconds,
    )
    return TwoHalves(address, client, sink=sink)
