"""What a service publishes and declares, whatever becomes of the connections.

A session declares the exchanges and the queues that it was asked for, and opens its channel. What is published after
a declaration finds the queue. However a session ends, `end` reports what it had not confirmed as lost, in order; what
is published between two sessions is lost at once.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from headway.protocol.topology import Queue

from .address import Address
from .halves import Action, Half, Link, Reports, Session
from .port import Outgoing, Sink, Unconfirmed

_CONTENT_TYPE: Final = "application/json"
_PERSISTENT: Final = 2
_TRANSIENT: Final = 1


def properties_of(message: Outgoing, *, user: str) -> dict[str, Any]:
    """Return the properties of a message, by AMQP's names."""
    return {
        "message_id": message.message_id,
        "type": message.kind,
        "user_id": user,
        "timestamp": int(time.time()),
        "content_type": _CONTENT_TYPE,
        "delivery_mode": _TRANSIENT if message.transient else _PERSISTENT,
    }


class PublishSession(Session, Protocol):
    """One connection that publishes. All of it runs on the link's thread."""

    def declare(self, wanted: Queue) -> None:
        """Declare this, and let what is published from now on find it."""

    def publish(self, message: Outgoing) -> None:
        """Publish a message, after what was declared before."""

    def call_when_idle(self, action: Action) -> None:
        """Do this once nothing is outstanding."""


class Publisher:
    """What outlives a publishing connection. Its methods may be called from any thread and take effect in order."""

    def __init__(self, link: Link, address: Address, sink: Sink, *, make: Callable[..., PublishSession]) -> None:
        self.half = Half(link, address, sink, make=self._make_session)
        self._address = address
        self._make = make
        self._sink = sink
        self._queues: dict[str, Queue] = {}

    def publish(self, message: Outgoing) -> None:
        """Publish a message; without a session it is lost at once."""
        self.half.link.post(partial(self._publish, message))

    def declare(self, queue: Queue) -> None:
        """Declare a queue now and at the beginning of each session."""
        self.half.link.post(partial(self._declare, queue))

    def flush(self, *, timeout_seconds: float) -> None:
        """Wait until nothing is outstanding, at most so long."""
        idle = threading.Event()
        self.half.link.post(partial(self._call_when_idle, idle.set))
        idle.wait(timeout_seconds)

    def _make_session(self, connection: object, reports: Reports) -> PublishSession:
        return self._make(connection, self._address, queues=self._queues, reports=reports)

    def _publish(self, message: Outgoing) -> None:
        if self.half.session is None:
            self._sink(Unconfirmed(message.message_id, "lost"))
        else:
            self.half.session.publish(message)

    def _declare(self, queue: Queue) -> None:
        self._queues[queue.name] = queue
        if self.half.session is not None:
            self.half.session.declare(queue)

    def _call_when_idle(self, action: Action) -> None:
        if self.half.session is None:
            action()
        else:
            self.half.session.call_when_idle(action)
