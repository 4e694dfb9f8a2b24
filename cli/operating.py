"""An operator's event: handed over once, then its verdict is waited for in the log of events.

The scheduler decides and records it as any other event, unique by its message id; so a command can say what became of
what it asked for, and a scheduler that is away for longer than the wait decides it when it is back.

How an event gets there depends on the broker: one that is a server, or that is in this very process, takes it from us
(`BrokerPost`); which way a command has to take, `posting.py` says.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

from headway.broker.connecting import Transport
from headway.broker.once import measure_once, publish_once
from headway.broker.port import Outgoing, QueueDepth
from headway.protocol.dag_events import Backfill, DagVersion, Pause, Unpause
from headway.protocol.errors import BrokerUnavailable, HeadwayError
from headway.protocol.kinds import kind_of
from headway.protocol.messages import Cancel, Trigger
from headway.scheduler.relay import event_message
from headway.scheduler.store.engine import Engine
from headway.scheduler.store.reads import Verdict, find_verdict

T = TypeVar("T")
OperatorEvent = Trigger | Cancel | Backfill | Pause | Unpause | DagVersion

PUBLISH_SECONDS: Final = 5.0
"""Longest wait for the broker to take an event."""

VERDICT_SECONDS: Final = 5.0
"""Longest wait for the scheduler to decide it (DESIGN 7)."""

MEASURE_SECONDS: Final = 5.0
"""Longest wait for the broker to say how deep its queues are."""

_SENDERS: Final = 8
"""Events handed over at a time: each may take a connection of its own."""

_FIRST_LOOK_SECONDS: Final = 0.02
_LAST_LOOK_SECONDS: Final = 0.2
_LAST_TRY_SECONDS: Final = 1.5
"""Time that a try to publish needs; one with less would hide the reason of the one before it."""

_GROWTH: Final = 1.3


class Post(Protocol):
    """A way to the broker for a command."""

    def send(self, event: OperatorEvent) -> str:
        """Hand an event over and return its message id once the broker has it; raise HeadwayError."""
        ...

    def measure(self, queues: Sequence[str]) -> list[QueueDepth]:
        """Return how deep these queues are (broker's names), in their order; raise HeadwayError."""
        ...


class BrokerPost:
    """A broker that can be connected to; each call is a connection of its own."""

    def __init__(self, transport: Transport) -> None:
        """Use `transport`, when there is something to say."""
        self._transport = transport

    def send(self, event: OperatorEvent) -> str:
        """Publish an event."""
        message = event_message(self._transport.user, event)
        _publish(self._transport, message)
        return message.message_id

    def measure(self, queues: Sequence[str]) -> list[QueueDepth]:
        """Ask the broker."""
        return measure_once(self._transport, queues, timeout_seconds=MEASURE_SECONDS)


def operate(engine: Engine, post: Post, event: OperatorEvent) -> Verdict:
    """Hand an event over and return once it was applied; raise HeadwayError with the scheduler's reason otherwise."""
    message_id = post.send(event)
    verdict = wait_until(lambda: find_verdict(engine, message_id), seconds=VERDICT_SECONDS)
    if verdict is None:
        raise HeadwayError(
            f"The {kind_of(event)} was published, but no scheduler has answered within {VERDICT_SECONDS:g} s: it will "
            "be decided when one runs (`headway scheduler`)."
        )
    if not verdict.applied:
        raise HeadwayError(f"The scheduler ignored the {kind_of(event)}: {verdict.reason}.")
    return verdict


def send_all(post: Post, events: Sequence[OperatorEvent]) -> None:
    """Hand events over and return when the broker has them all, several at a time."""
    with ThreadPoolExecutor(_SENDERS) as pool:
        list(pool.map(post.send, events))


def _publish(transport: Transport, message: Outgoing) -> None:
    """Publish a message; a scheduler that is just starting has yet to declare the queue for it."""
    give_up = time.monotonic() + PUBLISH_SECONDS
    while True:
        try:
            publish_once(transport, message, timeout_seconds=max(0.0, give_up - time.monotonic()))
        except BrokerUnavailable:
            if time.monotonic() + _LAST_TRY_SECONDS > give_up:
                raise
            time.sleep(_LAST_LOOK_SECONDS)
        else:
            return


def wait_until(look: Callable[[], T | None], *, seconds: float) -> T | None:
    """Look again and again, first at once and then ever less often, until something is there or the time is over."""
    give_up = time.monotonic() + seconds
    pause = _FIRST_LOOK_SECONDS
    while (found := look()) is None and (left := give_up - time.monotonic()) > 0:
        time.sleep(min(pause, left))
        pause = min(pause * _GROWTH, _LAST_LOOK_SECONDS)
    return found
