"""RabbitMQ as broker/port.py promises it, and no kinder: topic exchanges and quorum queues in one dictionary.

- A message is routed, stored in each matching queue, and then confirmed. Without a match it goes through the alternate
  exchange, and without one there either it is returned.
- A queue hands out in order, to each consumer at most its prefetch; of a single-active-consumer queue only the first
  consumer gets anything. What was not acked when its connection ended, or was handed back, stands at the head again,
  flagged as redelivered and counted: beyond the delivery limit it is dead-lettered.
- Dead letters keep their key, id and user, carry x-death, and arrive at least once: sometimes twice, sometimes late.
- What expires does so at the head of its queue. An exclusive queue ends with its connection.
- A restart ends every connection and forgets transient messages.

A connection is `Session`: its two channels are pipes of the network (`network.py`).
"""

from collections import deque
from typing import Any, Protocol

import msgspec

from headway.protocol.topology import EVENTS, EXCHANGES, Queue

from .kernel import Kernel

ALTERNATES = {exchange.name: exchange.alternate for exchange in EXCHANGES}

DEAD_LETTER_SECONDS_MAX = 2.0
DEAD_LETTER_TWICE = 0.05


class Stored(msgspec.Struct, kw_only=True):
    """A message. `deliveries` counts how often it came back."""

    message_id: str
    exchange: str
    routing_key: str
    kind: str
    body: bytes
    user_id: str
    transient: bool
    headers: dict[str, Any] = {}
    expires: float | None = None
    deliveries: int = 0


class Session(Protocol):
    """One connection, as the broker sees it."""

    name: str

    def deliver(self, subscription: "Subscription", tag: int, message: Stored) -> None:
        """Send a message to a consumer."""

    def cancelled(self, subscription: "Subscription") -> None:
        """Say that a consumer's queue was deleted."""


class Subscription(msgspec.Struct, kw_only=True, eq=False):
    """A consumer of a queue."""

    session: Session
    consumer: int
    queue: str
    prefetch: int
    unacked: dict[int, Stored] = msgspec.field(default_factory=dict)


class Held(msgspec.Struct, kw_only=True, eq=False):
    """A queue and what is in it."""

    declared: Queue
    owner: Session | None
    ready: deque[Stored] = msgspec.field(default_factory=deque)
    subscriptions: list[Subscription] = msgspec.field(default_factory=list)
    turn: int = 0

    def argument(self, name: str) -> Any:
        """Return one of its arguments."""
        return self.declared.arguments.get(name)

    def everything(self) -> list[Stored]:
        """Return what waits in it and what is handed out and not acked."""
        return [*self.ready, *(one for subscription in self.subscriptions for one in subscription.unacked.values())]


class Rabbit:
    """The broker. All methods are called by the hub, when something has arrived."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.queues: dict[str, Held] = {}
        self.is_up = True
        self.kept: dict[str, str] = {}  # kinds of all events that were ever stored, by message id
        self._tag = 0

    # --- what clients ask -----------------------------------------------------------------------------------------

    def declare(self, queue: Queue, session: Session | None) -> bool:
        """Make sure that a queue exists; return False where it is exclusive to somebody else."""
        found = self.queues.get(queue.name)
        owner = session if queue.exclusive else None
        if found is None:
            self.queues[queue.name] = Held(declared=queue, owner=owner)
            return True
        return found.owner is owner

    def publish(self, message: Stored) -> bool:
        """Store a message in all queues that want it; return whether there is one."""
        queues = self._route(message.exchange, message.routing_key)
        if queues and message.exchange == EVENTS:
            self.kept[message.message_id] = message.kind
        for queue in queues:
            self._store(queue, msgspec.structs.replace(message))
        return bool(queues)

    def subscribe(self, subscription: Subscription) -> None:
        """Add a consumer."""
        self.queues[subscription.queue].subscriptions.append(subscription)
        self._hand_out(subscription.queue)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Remove a consumer; what it holds stays with its connection until that is settled."""
        held = self.queues.get(subscription.queue)
        if held is not None and subscription in held.subscriptions:
            held.subscriptions.remove(subscription)
            self._hand_out(subscription.queue)

    def ack(self, subscription: Subscription, tag: int) -> None:
        """Forget a message."""
        if subscription.unacked.pop(tag, None) is not None:
            self._hand_out(subscription.queue)

    def reject(self, subscription: Subscription, tag: int) -> None:
        """Dead-letter a message."""
        message = subscription.unacked.pop(tag, None)
        if message is not None:
            self._dead_letter(subscription.queue, message, "rejected")
            self._hand_out(subscription.queue)

    def requeue(self, subscription: Subscription, *tags: int) -> None:
        """Put messages back to the head, in order."""
        back = [subscription.unacked.pop(tag) for tag in tags if tag in subscription.unacked]
        held = self.queues.get(subscription.queue)
        if held is None:
            return
        limit = held.argument("x-delivery-limit")
        for message in reversed(back):
            message.deliveries += 1
            if limit is not None and 0 <= limit < message.deliveries:
                self._dead_letter(subscription.queue, message, "delivery_limit")
            else:
                held.ready.appendleft(message)
        self._expire(subscription.queue)
        self._hand_out(subscription.queue)

    def end(self, session: Session, subscriptions: list[Subscription]) -> None:
        """A connection is gone: its consumers too, what they held goes back, and its queues go."""
        for subscription in subscriptions:
            held = self.queues.get(subscription.queue)
            if held is not None and subscription in held.subscriptions:
                held.subscriptions.remove(subscription)
        for subscription in subscriptions:
            self.requeue(subscription, *subscription.unacked)
        for name in [name for name, held in self.queues.items() if held.owner is session]:
            del self.queues[name]

    # --- what operators and misfortune do ---------------------------------------------------------------------------

    def purge(self, name: str) -> None:
        """Empty a queue."""
        self.queues[name].ready.clear()

    def delete(self, name: str) -> None:
        """Delete a queue with all that was in it, handed out or not."""
        held = self.queues.pop(name)
        for subscription in held.subscriptions:
            subscription.unacked.clear()
            subscription.session.cancelled(subscription)

    def forget_transient(self) -> None:
        """Keep what a restart keeps; all connections have ended."""
        for held in self.queues.values():
            held.ready = deque(message for message in held.ready if not message.transient)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _route(self, exchange: str, key: str) -> list[str]:
        if exchange == "":
            return [key] if key in self.queues else []
        found = [
            name
            for name, held in self.queues.items()
            if any(one.exchange == exchange and matches(one.pattern, key) for one in held.declared.bindings)
        ]
        alternate = ALTERNATES[exchange]
        return found or ([] if alternate is None else self._route(alternate, key))

    def _store(self, name: str, message: Stored) -> None:
        held = self.queues[name]
        ttl = held.argument("x-message-ttl")
        if ttl is not None:
            message.expires = self.kernel.now + ttl / 1000
            self.kernel.after(ttl / 1000, lambda: self._expire(name))
        held.ready.append(message)
        self._hand_out(name)

    def _hand_out(self, name: str) -> None:
        held = self.queues.get(name)
        while held is not None and held.ready:
            active = held.subscriptions[:1] if held.argument("x-single-active-consumer") else held.subscriptions
            free = [one for one in active if len(one.unacked) < one.prefetch]
            if not free:
                return
            held.turn += 1
            chosen = free[held.turn % len(free)]
            message = held.ready.popleft()
            self._tag += 1
            chosen.unacked[self._tag] = message
            chosen.session.deliver(chosen, self._tag, message)

    def _expire(self, name: str) -> None:
        held = self.queues.get(name)
        while held is not None and held.ready:
            expires = held.ready[0].expires
            if expires is None or expires > self.kernel.now:
                return
            self._dead_letter(name, held.ready.popleft(), "expired")

    def _dead_letter(self, name: str, message: Stored, reason: str) -> None:
        held = self.queues[name]
        exchange = held.argument("x-dead-letter-exchange")
        if exchange is None:
            return
        death = {"x-death": [{"reason": reason, "queue": name}]}
        dead = msgspec.structs.replace(message, exchange=exchange, headers=death, expires=None, deliveries=0)
        times = 2 if self.kernel.random.random() < DEAD_LETTER_TWICE else 1
        for _ in range(times):
            self.kernel.after(self.kernel.random.uniform(0, DEAD_LETTER_SECONDS_MAX), lambda: self._deliver_dead(dead))

    def _deliver_dead(self, dead: Stored) -> None:
        """Publish a dead letter until it is stored: at least once."""
        if not self.is_up or not self.publish(dead):
            self.kernel.after(DEAD_LETTER_SECONDS_MAX, lambda: self._deliver_dead(dead))


def matches(pattern: str, key: str) -> bool:
    """Say whether a topic exchange routes a key by this pattern: `#.p05`, `task.default.*`."""
    wanted, words = pattern.split("."), key.split(".")
    if wanted[0] == "#":
        return words[-len(wanted) + 1 :] == wanted[1:]
    return len(wanted) == len(words) and all(one in ("*", word) for one, word in zip(wanted, words, strict=True))
