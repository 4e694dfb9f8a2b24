"""The outbox's way to the broker: what was committed is published until the broker confirms it.

A row of the outbox is written in the transaction that decided it and removed once its confirm has come, by the next
transaction. A crash in between publishes it again under the same message id; receivers take no harm from doubles. What
is not confirmed (a full queue, a cut connection, an unroutable message that nothing caught) is published again after a
second, for as long as it takes. A row may also stand there that nobody publishes: its scheduler died, or the answer to
its COMMIT was lost. Whoever sees one for the second time adopts it. Belongs to the deciding thread.
"""

import time
import uuid
from collections.abc import Sequence
from typing import Final

from headway.broker.port import Broker, Confirmed, Outgoing, Unconfirmed
from headway.protocol.codec import encode
from headway.protocol.kinds import Event, kind_of
from headway.protocol.names import QueueName, event_key
from headway.protocol.topology import EVENTS, TASKS, control_queue_name

from .core.snapshot import SendOrder
from .intake import partition_of_event, queue_of_key
from .store.save import OutboxRow

BACKOFF_SECONDS: Final = 1.0
"""Until a refused message is published again: a full queue needs its workers to take something."""


def event_message(user: str, event: Event) -> Outgoing:
    """Return the message by which a broker user publishes an event; each call makes one of its own."""
    kind = kind_of(event)
    return Outgoing(
        message_id=uuid.uuid4().hex,
        exchange=EVENTS,
        routing_key=event_key(user, kind, partition_of_event(event)),
        kind=kind,
        body=encode(event),
    )


class Relay:
    """Publishes outbox rows and orders, and remembers what is still to be confirmed."""

    def __init__(self, broker: Broker) -> None:
        """Publish through `broker`."""
        self._broker = broker
        self._unconfirmed: dict[str, OutboxRow] = {}
        self._again_at: dict[str, float] = {}
        self._confirmed: set[str] = set()
        self._full: set[QueueName] = set()
        self._stood: set[str] = set()

    def post(self, rows: Sequence[OutboxRow]) -> None:
        """Publish rows of the outbox."""
        for row in rows:
            if row.message_id not in self._unconfirmed and row.message_id not in self._confirmed:
                self._unconfirmed[row.message_id] = row
                self._publish(row)

    def adopt(self, rows: Sequence[OutboxRow]) -> None:
        """Publish what nobody publishes: of all rows of the outbox, those that stood there at the last look too."""
        self.post([row for row in rows if row.message_id in self._stood])
        self._stood = {row.message_id for row in rows}

    def order(self, orders: Sequence[SendOrder]) -> None:
        """Send orders to workers; a lost one is asked for again, so nobody waits for its confirm."""
        for one in orders:
            order = one.order
            self._broker.publish(
                Outgoing(
                    message_id=f"{kind_of(order)}.{order.token}",
                    exchange="",
                    routing_key=control_queue_name(one.worker),
                    kind=kind_of(order),
                    body=encode(order),
                    transient=True,
                )
            )

    def hear(self, signal: Confirmed | Unconfirmed) -> None:
        """Note what the broker says of a message."""
        if signal.message_id not in self._unconfirmed:
            return
        if isinstance(signal, Confirmed):
            del self._unconfirmed[signal.message_id]
            self._again_at.pop(signal.message_id, None)
            self._confirmed.add(signal.message_id)
        else:
            self._again_at[signal.message_id] = time.monotonic() + BACKOFF_SECONDS
            row = self._unconfirmed[signal.message_id]
            if signal.reason == "refused" and row.exchange == TASKS:
                self._full.add(queue_of_key(row.routing_key))

    def take_full(self) -> set[QueueName]:
        """Return the task queues of which the broker has refused a message since the last call: they are full."""
        taken, self._full = self._full, set()
        return taken

    def publish_again(self, *, connected: bool) -> None:
        """Publish what was not confirmed and has waited its time."""
        if not connected or not self._again_at:
            return
        now = time.monotonic()
        for message_id in [key for key, at in self._again_at.items() if at <= now]:
            del self._again_at[message_id]
            self._publish(self._unconfirmed[message_id])

    def confirmed(self, *, at_least: int) -> list[str]:
        """Return the messages confirmed since the last call, whose rows can go; none if they are fewer than that."""
        if len(self._confirmed) < at_least:
            return []
        taken, self._confirmed = self._confirmed, set()
        return list(taken)

    def _publish(self, row: OutboxRow) -> None:
        self._broker.publish(
            Outgoing(
                message_id=row.message_id,
                exchange=row.exchange,
                routing_key=row.routing_key,
                kind=row.kind,
                body=row.body.encode(),
            )
        )
