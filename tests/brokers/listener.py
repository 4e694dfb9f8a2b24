"""A sink that remembers every signal, so that a test can wait for what it expects instead of sleeping."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from headway.broker.port import Connected, Delivered, Delivery, Signal

S = TypeVar("S", bound=Signal)
SECONDS_MAX = 60.0
"""How long an expected signal may take on a machine that is busy with other things."""


class Listener:
    """All signals so far, oldest first."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []
        self._changed = threading.Condition()

    def __call__(self, signal: Signal) -> None:
        """Take a signal; this is the sink."""
        with self._changed:
            self.signals.append(signal)
            self._changed.notify_all()

    def wait_for(
        self,
        kind: type[S],
        *,
        count: int = 1,
        where: Callable[[S], bool] = lambda _: True,
        timeout_seconds: float = SECONDS_MAX,
    ) -> list[S]:
        """Wait for this many signals of a kind since the beginning and return them; fail with what came instead."""
        deadline = time.monotonic() + timeout_seconds
        found: list[S] = []
        seen = 0
        with self._changed:
            while True:
                found += [item for item in self.signals[seen:] if isinstance(item, kind) and where(item)]
                seen = len(self.signals)
                if len(found) >= count:
                    return found
                if not self._changed.wait(deadline - time.monotonic()):
                    last = "\n".join(str(signal)[:200] for signal in self.signals[-20:])
                    message = f"{len(found)} of {count} {kind} came; the last signals:\n{last}"
                    raise AssertionError(message)

    def all_of(self, kind: type[S], *, where: Callable[[S], bool] = lambda _: True) -> list[S]:
        """Return the signals of a kind that came so far."""
        return [signal for signal in self.signals if isinstance(signal, kind) and where(signal)]

    def connected(self, *, times: int = 1) -> None:
        """Wait until the broker was connected this many times."""
        self.wait_for(Connected, count=times)

    def deliveries(self, count: int, *, queue: str | None = None) -> list[Delivery]:
        """Wait for this many deliveries, of one queue or of all, and return all of them."""
        found = self.wait_for(Delivered, count=count, where=lambda signal: queue in {None, signal.delivery.queue})
        return [signal.delivery for signal in found]
