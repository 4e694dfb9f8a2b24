"""The port on RabbitMQ, by pika.

Read in this order: ../adapter.py (what happens when a connection comes or goes), ../halves.py and link.py (a
connection, its thread and its session), publishing.py, consuming.py.

What the service sees of each failure:

    broker stops, connection is cut, heartbeat is missed    Unconfirmed(lost)..., Disconnected, later Connected
    broker not there, name not found, TLS refused           Disconnected after each try
    alarm on the broker                                     Blocked, Unblocked; after five minutes as if cut
    queue deleted under its consumer, delivery held too long, exchange deleted      as if cut; declared again
    binding deleted, alone or with its exchange             nothing: bound again within ten seconds, if we may
    no queue for a message / queue full                     Unconfirmed(returned) / Unconfirmed(refused)
    queue exists with other arguments                       Failed(QueueMismatch); all others go on without it
    queue not there, and we may not make it                 looked for every two seconds; all others go on without it
    exclusive queue held by another connection              Disconnected after each try, then Failed(WorkerNameTaken)
    wrong password, no such virtual host, no permission     Failed(BrokerRefused), and no more tries
"""

from functools import partial
from typing import Final

from ..adapter import Client, TwoHalves
from ..address import Address
from ..port import Broker, Capabilities, Sink
from .connection import parameters
from .consuming import ConsumeSession
from .link import Link
from .publishing import PublishSession

__all__ = ["CAPABILITIES", "connect"]

CAPABILITIES: Final = Capabilities(is_durable=True, confirms_events="stored", has_ttl=True)


def connect(address: Address, *, name: str, sink: Sink, name_held_seconds: float) -> Broker:
    """Return a broker that is not open yet."""
    client = Client(
        publishing_link=partial(Link, parameters(address, name=f"{name} publish", publishes=True)),
        consuming_link=partial(Link, parameters(address, name=f"{name} consume", publishes=False)),
        publish_session=PublishSession,
        consume_session=ConsumeSession,
        capabilities=CAPABILITIES,
        name_held_seconds=name_held_seconds,
    )
    return TwoHalves(address, client, sink=sink)
