"""The clock: stored timers that are due become events, published like all others.

It decides nothing and deletes nothing: an event names its timer and due time, and the decision looks whether that is
what is stored. Publishing one twice is harmless, so any scheduler's clock may publish any partition's timers; the same
one is not published again for a few seconds, because its decision is on its way. Runs on a thread of its own.

All times are the database's. This host's clock only measures how long something took, and with it whether somebody
set the database's: then nobody knows how long a worker was silent, and leases begin anew as after an absence of ours.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from headway.broker.port import Outgoing
from headway.protocol.errors import Unavailable

from .relay import event_message
from .store.store import Store, TimerEvent

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""Longest time between two looks: another scheduler may have set a timer that this one does not know of."""

JUMP_SECONDS: Final = 1.0
"""How far the database's clock may stray from our own measure, beyond the time that it takes to answer."""

REPEAT_SECONDS: Final = 5.0
"""Until a timer that is still stored is published again: its event was lost or waits in a long queue."""


class Clock:
    """Publishes due timers. `publish` must be callable from this thread."""

    def __init__(self, store: Store, *, user: str, publish: Callable[[Outgoing], None], schedules: bool = True) -> None:
        """Read timers from `store` and publish them as `user`; those of DAGs' schedules, if wanted, too."""
        self._schedules = schedules
        self._store = store
        self._user = user
        self._publish = publish
        self._wake = threading.Event()
        self._stopped = False
        self._listening_from: float | None = None
        self._zero = 0.0  # when our measure began, by the database's clock
        self._steady_from = 0.0  # since when that holds, by our measure
        self._next_look = datetime.min.replace(tzinfo=UTC)
        self._published: dict[TimerEvent, float] = {}
        self._thread = threading.Thread(target=self._run, name="headway-clock", daemon=True)

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    def listen(self, *, connected: bool) -> None:
        """Note that the scheduler hears its workers from now on, or does not: silence counts only while it does."""
        self._listening_from = time.monotonic() if connected else None
        self._wake.set()

    def listening_since(self) -> datetime:
        """Return since when the scheduler hears its workers, by the database's clock: since now, if it does not."""
        since = self._listening_from
        return self._on_database_clock(time.monotonic() if since is None else since)

    def expect(self, due: datetime | None) -> None:
        """Look in time for a timer that was just set; most are due long after the next look."""
        if due is not None and due < self._next_look:
            self._wake.set()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopped = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped:
            wait = LOOK_SECONDS
            if self._listening_from is not None:
                try:
                    wait = self._publish_due(self._listening_from)
                except Unavailable as error:
                    log.warning("timers wait: %s", error)
                except Exception:
                    log.exception("the timers could not be looked at")
            self._wake.wait(wait)
            self._wake.clear()

    def _publish_due(self, listening_from: float) -> float:
        now = self._read_clock()
        listening_since = self._on_database_clock(listening_from)
        events, next_due = self._store.due_timers(now, listening_since=listening_since, schedules=self._schedules)
        at = time.monotonic()
        self._published = {event: then for event, then in self._published.items() if at - then < REPEAT_SECONDS}
        for event in events:
            if event not in self._published:
                self._publish(event_message(self._user, event))
                self._published[event] = at
        wait = LOOK_SECONDS if next_due is None else min(LOOK_SECONDS, (next_due - now).total_seconds())
        self._next_look = now + timedelta(seconds=wait)
        return wait

    def _on_database_clock(self, at: float) -> datetime:
        return datetime.fromtimestamp(self._zero + max(at, self._steady_from), UTC)

    def _read_clock(self) -> datetime:
        """Return the database's time, and note whether it went on as ours did since it was read before."""
        before = time.monotonic()
        now = self._store.now()
        after = time.monotonic()
        zero = now.timestamp() - after
        if abs(zero - self._zero) > JUMP_SECONDS + after - before:
            self._zero, self._steady_from = zero, after
        return now
