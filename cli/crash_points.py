"""Named crash points: HEADWAY_CRASH_AT=worker.after_grant:3 kills a worker when it passes there for the third time.

For tests of what a crash costs at an instant that no signal from outside would hit. The points lie on the two ports of
a service, store and broker: `crashing.py` wraps these where a service is composed, and only where the variable is set,
so a service neither knows of the points nor pays for them.
"""

import os
import signal
from enum import StrEnum
from typing import Final

import msgspec

from headway.protocol.errors import WrongSettings

VARIABLE: Final = "HEADWAY_CRASH_AT"


class CrashPoint(StrEnum):
    """Where a process may be killed. A scheduler's passes count what it recorded: a quiet batch passes no point."""

    BEFORE_COMMIT = "scheduler.before_commit"  # decided and written, and nothing of it will have been
    AFTER_COMMIT = "scheduler.after_commit"  # committed, and nothing has left
    AFTER_PUBLISH = "scheduler.after_publish"  # the broker has a task message that the outbox still holds
    BEFORE_ACK = "scheduler.before_ack"  # committed and sent, and the events are the broker's still
    AFTER_ACK = "scheduler.after_ack"  # the first word of the broker after an ack
    BEFORE_STARTED = "worker.before_started"  # a task message is in hand, and nobody was asked
    AFTER_GRANT = "worker.after_grant"  # granted, and there is no child
    BEFORE_TASK_ACK = "worker.before_task_ack"  # the child has run for a second, and the message is the broker's still
    BEFORE_FINISHED = "worker.before_finished"  # the result is spooled and not published
    AFTER_FINISHED = "worker.after_finished"  # the broker has the result, and the spool too


class CrashAt(msgspec.Struct, frozen=True):
    """At which point, and at which pass of it."""

    point: CrashPoint
    passes: int


def read_crash_at(text: str | None) -> CrashAt | None:
    """Return where to crash, nowhere without a text; raise WrongSettings for what names no point or no pass."""
    if not text:
        return None
    name, _, count = text.partition(":")
    passes = int(count or 1) if (count or "1").isdecimal() else 0
    if name not in set(CrashPoint) or not passes:
        detail = f"write POINT or POINT:N, for the Nth pass of one of {', '.join(CrashPoint)}"
        raise WrongSettings(name=VARIABLE, value=text, detail=detail)
    return CrashAt(CrashPoint(name), passes)


class Fuse:
    """Counts the passes of one point, each of which is passed by one thread, and ends the process at the last."""

    def __init__(self, at: CrashAt) -> None:
        """Begin to count."""
        self._point, self._left = at.point, at.passes

    def passes(self, point: CrashPoint) -> None:
        """Pass a point; that may be the end."""
        if point is self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
