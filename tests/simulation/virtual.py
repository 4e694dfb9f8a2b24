"""What stands in the place of `time`, `threading`, `queue`, `uuid` and `secrets` in the shells while simulated.

`installed(kernel)` puts it there: in each module of the scheduler and of the worker that imported the real one. Cores
get all this as arguments and need nothing.
"""

import queue
import random
import secrets
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, tzinfo
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import tenacity.nap

from .kernel import Action, Fiber, Kernel

ROOMS: Final = ("headway.scheduler.", "headway.worker.")
STORE: Final = "headway.scheduler.store.store"
"""The only module that asks datetime for the time; all others only use the type."""


class Event:
    """threading.Event."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: list[Fiber] = []

    def is_set(self) -> bool:
        """Say whether it is."""
        return self._is_set

    def set(self) -> None:
        """Let all who wait go on."""
        self._is_set = True
        for fiber in self._waiting:
            fiber.wake()

    def clear(self) -> None:
        """Begin anew."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for `set`."""
        if not self._is_set:
            fiber = running()
            self._waiting.append(fiber)
            try:
                fiber.park(timeout)
            finally:
                self._waiting.remove(fiber)
        return self._is_set


class Thread:
    """threading.Thread, of the process that starts it."""

    def __init__(self, *, target: Action, name: str = "", daemon: bool = True) -> None:
        del name, daemon
        self._target = target

    def start(self) -> None:
        """Begin."""
        running().process.start(self._target)

    def join(self) -> None:
        """Only processes that end call it, and what ends with them is killed."""


class SimpleQueue:
    """queue.SimpleQueue; `put` may be called by the hub."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._waiting: Fiber | None = None

    def put(self, item: object) -> None:
        """Add an item."""
        self._items.append(item)
        if self._waiting is not None:
            self._waiting.wake()

    def empty(self) -> bool:
        """Say whether there is none."""
        return not self._items

    def get_nowait(self) -> Any:
        """Take an item that is there."""
        return self._items.popleft()

    def get(self, timeout: float | None = None) -> Any:
        """Wait for an item."""
        if not self._items:
            fiber = running()
            self._waiting = fiber
            try:
                fiber.park(timeout)
            finally:
                self._waiting = None
        if not self._items:
            raise queue.Empty
        return self._items.popleft()


def running() -> Fiber:
    """Return the fiber that asks."""
    fiber = Fiber.current()
    assert fiber is not None, "only a process may wait"
    return fiber


@contextmanager
def installed(kernel: Kernel) -> Iterator[None]:
    """Let the shells live in `kernel`'s world."""
    stand_ins = stand_ins_for(kernel)
    before: list[tuple[ModuleType, str, object]] = []
    for module in [found for name, found in sys.modules.items() if name.startswith(ROOMS)] + [tenacity.nap]:
        for name, value in list(vars(module).items()):
            stand_in = stand_ins.get(id(value))
            if stand_in is not None and (name != "datetime" or module.__name__ == STORE):
                before.append((module, name, value))
                setattr(module, name, stand_in)
    random.seed(kernel.random.random())  # tenacity's jitter
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def stand_ins_for(kernel: Kernel) -> dict[int, Any]:
    """Return what stands for which module or class, by the identity of the real one."""

    class Datetime(datetime):
        """datetime.datetime; `now` is the database's, for only the store asks."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            """Return what the database's clock shows."""
            del tz
            return kernel.wall()

    times = SimpleNamespace(
        monotonic=kernel.monotonic,
        clock_gettime=lambda _clock: kernel.monotonic(),
        CLOCK_BOOTTIME=time.CLOCK_BOOTTIME,
        time_ns=lambda: int(kernel.monotonic() * 1e9),
        sleep=lambda seconds: running().park(seconds),
    )
    return {
        id(time): times,
        id(threading): SimpleNamespace(Event=Event, Thread=Thread),
        id(queue): SimpleNamespace(SimpleQueue=SimpleQueue, Empty=queue.Empty),
        id(uuid): SimpleNamespace(uuid4=lambda: uuid.UUID(int=kernel.random.getrandbits(128), version=4)),
        id(secrets): SimpleNamespace(token_hex=lambda size: kernel.random.randbytes(size).hex()),
        id(datetime): Datetime,
    }
