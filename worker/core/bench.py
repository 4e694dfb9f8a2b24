"""The workbench: all that a boot has in hand, and the few moves that every rule is made of.

                    no slot is free              a slot is free
    task message ---------------------> PARKED ------------------> ASKED -- grant --> RUNNING -- child ended --> spool
                                          | too long                 | drop
                                          '-> handed back            '-> acked, forgotten

A task that this worker cannot run is REFUSING instead of ASKED until its `refused` is confirmed. What moves an attempt
along stands beside: `intake.py` (task messages), `orders.py` (the scheduler), `endings.py` (children).
"""

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, Final, Literal

import msgspec

from headway.broker.port import Outcome
from headway.protocol.messages import Finished, Held
from headway.protocol.names import Token

from .consumers import Consumers
from .lease import Lease
from .outbox import Outbox
from .reports import Reports, held
from .timers import Timer, Timers
from .values import Attempt, Effect, Identity, Phase, Remark, Tap

SYNC_AFTER_SECONDS: Final = 1.0
"""A result that is not confirmed by then waits for a broker that is away, and shall survive a loss of power."""

PAST_MAX: Final = 10_000
"""Tokens remembered after their attempt has left: a second grant comes within seconds, and these are ten seconds at a
thousand tasks a second."""

HELD_AS: Final[dict[Phase, Literal["asked", "running"]]] = {Phase.ASKED: "asked", Phase.RUNNING: "running"}


class Past(StrEnum):
    """What became of an attempt that is no longer here."""

    STARTED = "started"  # or ended without: never to be started again in this boot
    HANDED_BACK = "handed back"  # asked for, and then given away


class Bench:
    """The attempts on this worker, and the core's parts. `starts_failed` counts failed starts of children, in a row."""

    def __init__(self, identity: Identity, *, new_id: Callable[[], str], emit: Callable[[Effect], None]) -> None:
        self.identity = identity
        self.emit = emit
        self.timers = Timers()
        self.lease = Lease(identity.lease_seconds)
        self.reports = Reports(identity)
        self.outbox = Outbox(new_id=new_id, emit=emit)
        self.consumers = Consumers(identity.queues, emit)
        self.here: dict[Token, Attempt] = {}
        self.parked: dict[Token, None] = {}
        self.young: set[Token] = set()  # not long here, and holding a delivery: their slot may be free in a moment
        self.past: dict[Token, Past] = {}
        self.is_accepting = False
        self.young_until = 0.0  # this boot
        self.starts_failed = 0

    @property
    def free(self) -> int:
        """How many slots are free."""
        return self.identity.slots - (len(self.here) - len(self.parked))

    def running(self) -> Iterator[Attempt]:
        """Return those whose child runs; they may be changed meanwhile."""
        return (attempt for attempt in list(self.here.values()) if attempt.phase is Phase.RUNNING)

    def held(self) -> list[Held]:
        """Return what a heartbeat lists: asked for or running, or ended and not confirmed."""
        here = [held(a.task, HELD_AS[a.phase]) for a in self.here.values() if a.phase in HELD_AS]
        return here + [held(result, "spooled") for result in self.outbox.results()]

    def put(self, attempt: Attempt, **changed: Any) -> Attempt:  # noqa: ANN401 - the fields of Attempt
        """Change an attempt."""
        attempt = msgspec.structs.replace(attempt, **changed)
        self.here[attempt.task.token] = attempt
        return attempt

    def forget(self, attempt: Attempt, past: Past | None = None) -> None:
        """Let an attempt go, and remember what became of it."""
        token = attempt.task.token
        del self.here[token]
        self.parked.pop(token, None)
        self.young.discard(token)
        for timer in (Timer.ASK, Timer.LONG, Timer.TIMEOUT, Timer.KILL):
            self.timers.cancel(timer, token)
        if past is not None:
            self.remember(token, past)

    def remember(self, token: Token, past: Past) -> None:
        """Remember what became of a token, for as long as anybody may ask."""
        self.past.pop(token, None)  # so that the newest is the last
        self.past[token] = past
        if len(self.past) > PAST_MAX:
            del self.past[next(iter(self.past))]

    def report(self, result: Finished, now: float) -> None:
        """Hand a result to the spool and to the broker."""
        message_id = self.outbox.keep(result)
        self.timers.start(Timer.SYNC, message_id, due=now + SYNC_AFTER_SECONDS)

    def ack(self, tap: Tap | None) -> None:
        """End the message of an attempt. Where no more is wanted, its consumer goes first."""
        if tap is None:
            return
        if self.is_accepting:
            self.consumers.settle(tap, Outcome.ACK)
        else:
            self.consumers.release(tap, Outcome.ACK)

    def remark(self, text: str) -> None:
        """Say something to whoever reads the log."""
        self.emit(Remark(text=text))
