"""The clock: stored timers that are due become events, published like all others.

It decides nothing and deletes nothing: an event names its timer and due time, and the decision looks whether that is
what is stored. Publishing one twice is harmless, so any scheduler's clock may publish any partition's timers; the same
one is not published again for a few seconds, because its decision is on its way. Runs on a thread of its own.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from headway.broker.port import Outgoing
from headway.protocol.errors import Unavailable
from headway.protocol.messages import LeaseTimer, TaskTimer

from .relay import event_message
from .store.store import Store

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""Longest time between two looks: another scheduler may have set a timer that this one does not know of."""

REPEAT_SECONDS: Final = 5.0
"""Until a timer that is still stored is published again: its event was lost or waits in a long queue."""


class Clock:
    """Publishes due timers. `publish` must be callable from this thread."""

    def __init__(self, store: Store, *, user: str, publish: Callable[[Outgoing], None]) -> None:
        """Read timers from `store` and publish them as `user`."""
        self._store = store
        self._user = user
        self._publish = publish
        self._wake = threading.Event()
        self._stopped = False
        self._listening_since: datetime | None = None
        self._next_look = datetime.now(UTC)
        self._published: dict[TaskTimer | LeaseTimer, float] = {}
        self._thread = threading.Thread(target=self._run, name="headway-clock", daemon=True)

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    def listen(self, *, connected: bool) -> None:
        """Note that the scheduler hears its workers from now on, or does not: silence counts only while it does."""
        self._listening_since = datetime.now(UTC) if connected else None
        self._wake.set()

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
            if self._listening_since is not None:
                try:
                    wait = self._publish_due(self._listening_since)
                except Unavailable as error:
                    log.warning("timers wait: %s", error)
            self._next_look = datetime.now(UTC) + timedelta(seconds=wait)
            self._wake.wait(wait)
            self._wake.clear()

    def _publish_due(self, listening_since: datetime) -> float:
        events, next_due = self._store.due_timers(listening_since)
        now = time.monotonic()
        self._published = {event: at for event, at in self._published.items() if now - at < REPEAT_SECONDS}
        for event in events:
            if event not in self._published:
                self._published[event] = now
                self._publish(event_message(self._user, event))
        if next_due is None:
            return LOOK_SECONDS
        return min(LOOK_SECONDS, max(0.0, (next_due - datetime.now(UTC)).total_seconds()))
