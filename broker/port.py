"""The port between a service and a broker: calls that never block go in, signals come out.

A service owns one `Broker`. Inside it are two connections, one that publishes and one that consumes, so that an alarm
which blocks publishers leaves deliveries and acks alone. Everything that happens comes back as a `Signal`, handed to
the sink that the service gave, in order, on a thread of the adapter: the sink must be quick (put it into a queue).

What every adapter promises, and tests/contract checks on each:

- Each `publish` ends in exactly one `Confirmed` or `Unconfirmed` with its message id. Confirmed: the broker has stored
  it in at least one queue; or, for an event where `Capabilities.confirms_events` says so, all who read it have acked
  it. Unconfirmed: returned as unroutable, refused by a full queue, or lost with the connection, in which case it may
  or may not have arrived: publish it again at the next `Connected`, receivers drop doubles.
- Publishes to one exchange arrive in the order they were made, as long as the connection lives.
- A connection that is gone is made anew with jittered backoff, for ever; queues and consumers are declared again.
  `Disconnected` voids every delivery that was not settled: the broker hands it out again, and settling it is a no-op.
- What is published after `declare` finds the queue. (`consume` declares too, but in its own time.)
- A consumer that the broker cancels (its queue was deleted) is declared and consumed again, as after any failure:
  `Disconnected`, then `Connected`. Nothing is delivered before `Connected`.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Literal, NewType, Protocol

import msgspec

from headway.protocol.topology import Queue

ConsumerId = NewType("ConsumerId", int)


class Outcome(StrEnum):
    """What becomes of a delivery; each ends in exactly one."""

    ACK = "ack"  # done with it
    REJECT = "reject"  # hand it to the dead-letter exchange
    REQUEUE = "requeue"  # not now, or not here: give it to somebody


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message to publish. Always mandatory and, unless `transient`, persistent."""

    message_id: str
    exchange: str
    routing_key: str
    kind: str
    body: bytes
    transient: bool = False


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was handed to us. `exchange` and `routing_key` are the broker's word, `headers` anybody's.

    `user_id` is checked by the broker where it is set. `generation` and `tag` say on which channel it is to be settled.
    """

    consumer: ConsumerId
    queue: str
    exchange: str
    routing_key: str
    body: bytes
    message_id: str | None
    kind: str | None
    user_id: str | None
    redelivered: bool
    headers: dict[str, object]
    generation: int
    tag: int


class Connected(msgspec.Struct, frozen=True):
    """Both connections stand; queues are declared and consumers consume again."""


class Disconnected(msgspec.Struct, frozen=True):
    """A connection is gone; what was published without a confirm was reported as `Unconfirmed` before."""

    detail: str


class Blocked(msgspec.Struct, frozen=True):
    """The broker has an alarm and reads nothing from us; confirms wait until `Unblocked`, or `Disconnected` ends it."""

    detail: str


class Unblocked(msgspec.Struct, frozen=True):
    """The alarm is over."""


class Confirmed(msgspec.Struct, frozen=True):
    """The broker has this message."""

    message_id: str


class Unconfirmed(msgspec.Struct, frozen=True):
    """The broker does not have this message, or (`lost`) may not have it."""

    message_id: str
    reason: Literal["returned", "refused", "lost"]


class Delivered(msgspec.Struct, frozen=True):
    """A message arrived."""

    delivery: Delivery


class ConsumerGone(msgspec.Struct, frozen=True):
    """`cancel` took effect: no delivery of this consumer follows. Those it had are still to be settled."""

    consumer: ConsumerId


class QueueDepth(msgspec.Struct, frozen=True):
    """What `measure` found; `ready` is None where no such queue exists, or none that we may look at."""

    queue: str
    ready: int | None
    consumers: int


class Failed(msgspec.Struct, frozen=True):
    """Something that trying again cannot mend: refused login, a queue with other arguments, a taken worker name.

    A QueueMismatch concerns that queue, and all others go on without it. Any other error is the end of the tries.
    """

    error: Exception


Signal = (
    Connected
    | Disconnected
    | Blocked
    | Unblocked
    | Confirmed
    | Unconfirmed
    | Delivered
    | ConsumerGone
    | QueueDepth
    | Failed
)
Sink = Callable[[Signal], None]


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a transport gives. What stands in for the rest is told in docs/transports.md."""

    is_durable: bool
    """Messages outlive the end of our processes; otherwise every QUEUED attempt is to be published at the start."""

    confirms_events: Literal["stored", "acked"]
    """When a message to headway.events is Confirmed: once a queue has it, or once its consumer acked it."""

    has_ttl: bool
    """A task that nobody took in time comes back as `expired`."""


class Broker(Protocol):
    """One service's link to a broker. Every method but `close` may be called from any thread and returns at once."""

    @property
    def user(self) -> str:
        """The user that we are to the broker; stands in the keys and the `user_id` of what we publish."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What the transport under it can do."""
        ...

    def open(self) -> None:
        """Begin to connect: `Connected` follows, or `Disconnected` after each failed try, or `Failed` once."""
        ...

    def publish(self, message: Outgoing) -> None:
        """Publish a message; without a connection it ends as `Unconfirmed(lost)` at once."""
        ...

    def declare(self, *queues: Queue) -> None:
        """Make sure that these queues exist, now and after each reconnect. Not for exclusive ones: consume those."""
        ...

    def consume(self, queue: Queue, *, prefetch: int) -> ConsumerId:
        """Declare a queue and take its messages, at most `prefetch` unsettled at a time, now and after reconnects."""
        ...

    def cancel(self, consumer: ConsumerId) -> None:
        """Take no more messages through this consumer; `ConsumerGone` follows.

        Requeue what it had only after that: RabbitMQ before 4.0.3 may lose what is requeued just before a cancel. The
        next consumer of a single-active-consumer queue begins at once, so what is requeued later comes to it too late:
        only `close` hands such a queue over in order.
        """
        ...

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """End one delivery; nothing happens for one that was settled, or voided by `Disconnected`."""
        ...

    def ack_through(self, delivery: Delivery) -> None:
        """Ack this delivery and all unsettled ones that arrived before it."""
        ...

    def measure(self, queue: str) -> None:
        """Ask how deep a queue is (broker's name, passively); `QueueDepth` follows, or nothing while disconnected."""
        ...

    def close(self, *, timeout_seconds: float) -> None:
        """Stop consuming, wait for outstanding confirms at most this long, and end both connections.

        Confirms of events that wait for acks are not waited for: the events are with the broker, and may be our own.
        Unsettled deliveries go back in order. May be repeated, but not called from the sink. A `publish` afterwards is
        lost, which is told on the caller's thread.
        """
        ...
