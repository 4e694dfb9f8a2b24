"""Named times at which the core wants to be called again, earliest first.

A timer is set, moved or cancelled by its name; what the heap holds beside the named one is skipped. Each call costs the
logarithm of what is set, so a worker with a thousand slots pays no more for a tick than one with a single slot.
"""

import heapq
from enum import IntEnum, auto
from typing import Final

_STALE_MAX: Final = 1_000
"""Superseded entries in the heap beside as many live ones: the timeouts of an hour of short tasks must not pile up."""


class Timer(IntEnum):
    """What a timer is for."""

    HEARTBEAT = auto()
    RESEND = auto()  # what the broker returned or refused
    LEASE = auto()  # the lease is about to end
    RESUME = auto()  # a pause in consuming is over
    DRAIN = auto()  # the time to drain is over
    FLUSH = auto()  # the time to hand over the last results is over
    ASK = auto()  # `started` was not answered
    LONG = auto()  # an attempt has been here for ACK_AFTER_SECONDS
    TIMEOUT = auto()  # the task's own timeout
    KILL = auto()  # TERM did not help
    SYNC = auto()  # a result is not confirmed yet


class Timers:
    """The timers that are set. `about` is what one is about: a token, a message id, or nothing."""

    def __init__(self) -> None:
        self._due: dict[tuple[Timer, str], float] = {}
        self._heap: list[tuple[float, Timer, str]] = []

    def start(self, timer: Timer, about: str = "", *, due: float) -> None:
        """Set a timer, or move it."""
        self._due[timer, about] = due
        heapq.heappush(self._heap, (due, timer, about))
        if len(self._heap) > 2 * len(self._due) + _STALE_MAX:
            self._heap = [(due, timer, about) for (timer, about), due in self._due.items()]
            heapq.heapify(self._heap)

    def due_of(self, timer: Timer, about: str = "") -> float | None:
        """Return when a timer is due, or None if it is not set."""
        return self._due.get((timer, about))

    def cancel(self, timer: Timer, about: str = "") -> None:
        """Forget a timer, if it is set."""
        self._due.pop((timer, about), None)

    def next_due(self) -> float | None:
        """Return when the earliest timer is due."""
        while self._heap:
            due, timer, about = self._heap[0]
            if self._due.get((timer, about)) == due:
                return due
            heapq.heappop(self._heap)
        return None

    def take(self, now: float) -> tuple[Timer, str] | None:
        """Remove and return the earliest timer that is due at `now`."""
        due = self.next_due()
        if due is None or due > now:
            return None
        _, timer, about = heapq.heappop(self._heap)
        del self._due[timer, about]
        return timer, about
