"""The port on RabbitMQ, by pika.

Read in this order: adapter.py (what happens when a connection comes or goes), halves.py and link.py (a connection,
its thread and its session), publishing.py, consuming.py. Pure are address.py (URLs), backoff.py, dialect.py
(RabbitMQ's versions), failures.py (the one table of foreign errors) and windows.py (what is not answered yet).

What the service sees of each failure:

    broker stops, connection is cut, heartbeat is missed    Unconfirmed(lost)..., Disconnected, later Connected
    broker not there, name not found, TLS refused           Disconnected after each try
    alarm on the broker                                     Blocked, Unblocked; after five minutes as if cut
    queue deleted under its consumer, delivery held too long, exchange deleted      as if cut; declared again
    no queue for a message / queue full                     Unconfirmed(returned) / Unconfirmed(refused)
    queue exists with other arguments                       Failed(QueueMismatch); all others go on without it
    queue not there, and we may not make it                 looked for every two seconds; all others go on without it
    exclusive queue held by another connection              Disconnected after each try, then Failed(WorkerNameTaken)
    wrong password, no such virtual host, no permission     Failed(BrokerRefused), and no more tries
"""

from ..port import Broker, Sink
from .adapter import RabbitBroker
from .address import parse_url, redact
from .once import measure_once, publish_once

__all__ = ["connect", "measure_once", "publish_once", "redact"]


def connect(url: str, *, name: str, sink: Sink) -> Broker:
    """Return a broker that is not open yet; raise WrongSettings if the URL is none.

    `name` ("headway worker w1") is what RabbitMQ's management shows for our connections. Signals go to `sink`.
    """
    return RabbitBroker(parse_url(url), name=name, sink=sink)
