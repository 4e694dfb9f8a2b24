"""An operator's event: published once, then its verdict is waited for in the log of events.

The scheduler decides and records it as any other event, unique by its message id; so a command can say what became of
what it asked for, and a scheduler that is away for longer than the wait decides it when it is back.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from headway.broker.address import parse_url
from headway.broker.once import publish_once
from headway.broker.port import Outgoing
from headway.protocol.codec import encode
from headway.protocol.errors import BrokerUnavailable, HeadwayError
from headway.protocol.messages import Cancel, DagVersion, Trigger, kind_of
from headway.protocol.names import event_key, partition_of
from headway.protocol.topology import EVENTS
from headway.scheduler.store.engine import Engine
from headway.scheduler.store.reads import Verdict, find_verdict

T = TypeVar("T")
OperatorEvent = Trigger | Cancel | DagVersion

PUBLISH_SECONDS: Final = 5.0
"""Longest wait for the broker to take an event."""

VERDICT_SECONDS: Final = 5.0
"""Longest wait for the scheduler to decide it (DESIGN 7)."""

_PUBLISHERS: Final = 8
"""Events published at a time: each takes a connection of its own."""

_FIRST_LOOK_SECONDS: Final = 0.02
_LAST_LOOK_SECONDS: Final = 0.2
_LAST_TRY_SECONDS: Final = 1.5
"""Time that a try to publish needs; one with less would hide the reason of the one before it."""

_GROWTH: Final = 1.3


def operate(engine: Engine, broker_url: str, event: OperatorEvent) -> Verdict:
    """Publish an event and return once it was applied; raise HeadwayError with the scheduler's reason otherwise."""
    message = operator_message(parse_url(broker_url).user, event)
    _publish(broker_url, message)
    verdict = wait_until(lambda: find_verdict(engine, message.message_id), seconds=VERDICT_SECONDS)
    if verdict is None:
        raise HeadwayError(
            f"The {kind_of(event)} was published, but no scheduler has answered within {VERDICT_SECONDS:g} s: it will "
            "be decided when one runs (`headway scheduler`)."
        )
    if not verdict.applied:
        raise HeadwayError(f"The scheduler ignored the {kind_of(event)}: {verdict.reason}.")
    return verdict


def publish_events(broker_url: str, events: Sequence[OperatorEvent]) -> None:
    """Publish events and return when the broker has them all, several at a time."""
    user = parse_url(broker_url).user

    def publish(event: OperatorEvent) -> None:
        _publish(broker_url, operator_message(user, event))

    with ThreadPoolExecutor(_PUBLISHERS) as pool:
        list(pool.map(publish, events))


def _publish(broker_url: str, message: Outgoing) -> None:
    """Publish a message; a scheduler that is just starting has yet to declare the queue for it."""
    give_up = time.monotonic() + PUBLISH_SECONDS
    while True:
        try:
            publish_once(broker_url, message, timeout_seconds=max(0.0, give_up - time.monotonic()))
        except BrokerUnavailable:
            if time.monotonic() + _LAST_TRY_SECONDS > give_up:
                raise
            time.sleep(_LAST_LOOK_SECONDS)
        else:
            return


def operator_message(user: str, event: OperatorEvent) -> Outgoing:
    """Return the message for an event, as published by a broker user; each call makes one of its own."""
    kind = kind_of(event)
    return Outgoing(
        message_id=uuid.uuid4().hex,
        exchange=EVENTS,
        routing_key=event_key(user, kind, partition_of(event.dag_id)),
        kind=kind,
        body=encode(event),
    )


def wait_until(look: Callable[[], T | None], *, seconds: float) -> T | None:
    """Look again and again, first at once and then ever less often, until something is there or the time is over."""
    give_up = time.monotonic() + seconds
    pause = _FIRST_LOOK_SECONDS
    while (found := look()) is None and (left := give_up - time.monotonic()) > 0:
        time.sleep(min(pause, left))
        pause = min(pause * _GROWTH, _LAST_LOOK_SECONDS)
    return found
