"""Shorthand for tests against a real RabbitMQ: connect, publish, and look at a connection from the other side."""

from collections.abc import Callable
from urllib.parse import quote, unquote, urlsplit

from headway.broker.port import Broker, Outgoing
from headway.broker.rabbitmq import connect
from headway.protocol.topology import EVENTS, Binding, Queue
from servers import RabbitMQ

from .gate import Gate
from .listener import Listener

NAME = "headway test"
QUEUE = Queue(
    name="faults.q", arguments={"x-queue-type": "quorum"}, bindings=(Binding(exchange=EVENTS, pattern="faults.#"),)
)

Open = Callable[[Broker], Broker]


def message(number: int, *, exchange: str = EVENTS, key: str = "faults.x", **changed: bool) -> Outgoing:
    """Return a message that can be told from others."""
    return Outgoing(message_id=f"m{number}", exchange=exchange, routing_key=key, kind="test", body=b"{}", **changed)


def through(gate: Gate, url: str) -> str:
    """Return a URL that leads through the gate."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{gate.port}").geturl()


def vhost_of(url: str) -> str:
    """Return the virtual host, as the management API wants it."""
    return quote(unquote(urlsplit(url).path[1:]), safe="")


def joined(url: str, opened: Open) -> tuple[Broker, Listener]:
    """Connect, and return the broker with its listener."""
    listener = Listener()
    broker = opened(connect(url, name=NAME, sink=listener))
    listener.connected()
    return broker, listener


def close_connection(server: RabbitMQ, url: str, name: str) -> None:
    """Close the connection with this name; the management API learns of a connection a little after it is open."""
    while True:
        for connection in server.api("GET", f"/vhosts/{vhost_of(url)}/connections"):
            if connection.get("user_provided_name") == name:
                server.api("DELETE", f"/connections/{quote(connection['name'])}")
                return
