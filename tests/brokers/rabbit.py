"""Shorthand for tests against a real RabbitMQ: connect, publish, and look at a connection from the other side."""

from collections.abc import Callable
from urllib.parse import quote, unquote, urlsplit

from headway.broker.connecting import connect
from headway.broker.port import Broker, Outgoing
from headway.protocol.topology import EVENTS, Binding, Queue
from servers import RabbitMQ

from .listener import Listener

NAME = "headway test"
QUEUE = Queue(
    name="faults.q", arguments={"x-queue-type": "quorum"}, bindings=(Binding(exchange=EVENTS, pattern="faults.#"),)
)

Open = Callable[[Broker], Broker]


def message(number: int, *, exchange: str = EVENTS, key: str = "faults.x", **changed: bool) -> Outgoing:
    """Return a message that can be told from others."""
    return Outgoing(message_id=f"m{number}", exchange=exchange, routing_key=key, kind="test", body=b"{}", **changed)


def vhost_of(url: str) -> str:
    """Return the virtual host, as the management API wants it."""
    return quote(unquote(urlsplit(url).path[1:]), safe="")


def joined(url: str, opened: Open) -> tuple[Broker, Listener]:
    """Connect, and return the broker with its listener."""
    listener = Listener()
    broker = opened(connect(url, name=NAME, sink=listener))
    listener.connected()
    return broker, listener


def connections(server: RabbitMQ, url: str) -> dict[str, str]:
    """Return RabbitMQ's names of two connections by ours; its management learns of one a little after it is open."""
    found: dict[str, str] = {}
    while len(found) < 2:
        for connection in server.api("GET", f"/vhosts/{vhost_of(url)}/connections"):
            if ours := connection.get("user_provided_name"):
                found[ours] = quote(connection["name"])
    return found
