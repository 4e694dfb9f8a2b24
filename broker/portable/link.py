"""Threads that do I/O and nothing else, and links that make connections on them.

All that kombu offers is synchronous: a declaration returns when the broker has answered. So a link is simple: what is
posted to it runs in order, on its thread, and an error of its connection in there ends the connection. A thread waits
for a bell, for sockets and for timers; no polling. Links of AMQP have a thread each, those of a `Hub` share one.

A thread that a dead line holds up is freed in time: each wait for the socket ends after `STALL_SECONDS`, and `finish`
shuts the socket from outside where it may not wait.
"""

import heapq
import itertools
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from kombu.transport.base import StdChannel

from ..halves import Action, Crashed
from ..inbox import Inbox
from ..timing import GOODBYE_SECONDS_MIN

TICK_SECONDS: Final = 2.5
"""How often heartbeats are looked after: four times within one of them."""


class Line(Protocol):
    """A connection of kombu, of whatever transport."""

    errors: tuple[type[Exception], ...]
    """What it raises when it is broken, or when the broker refuses."""

    is_open: bool

    @property
    def version(self) -> str:
        """The broker's."""

    def open(self) -> None:
        """Connect."""

    def channel(self, *, may_fail: bool = False) -> StdChannel:
        """Return a new channel, as py-amqp's. If the broker closes it, it is the end of the line, unless it may fail.

        One that may fail raises ChannelError to whoever asked for what was refused.
        """

    def listen(self, *, blocked: Callable[[str], None], unblocked: Action) -> None:
        """Say when an alarm blocks publishing, and when that is over."""

    def call_later(self, seconds: float, action: Action) -> None:
        """Do something later on the link's thread."""

    def socket(self) -> int | None:
        """Return what to wait on, or None if nothing ever comes by itself."""

    def read(self) -> None:
        """Take in what has come."""

    def beat(self) -> None:
        """Send a heartbeat if one is due; raise if none came."""

    def close(self) -> None:
        """Say goodbye to the broker, and end. Raises nothing, and does not wait for long."""

    def abort(self) -> None:
        """Let whoever waits for the broker fail. From any thread."""


MakeLine = Callable[[Callable[[float, Action], None]], Line]
"""Makes a line that is not open, from a function that does something later on the link's thread."""


class Thread:
    """A thread for all who have entered it: it ends with the last of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._members = 0
        self._loop: Loop | None = None

    def enter(self, name: str) -> "Loop":
        """Return the running loop; whoever comes first starts it."""
        with self._lock:
            self._members += 1
            if self._loop is None:
                self._loop = Loop(name)
            return self._loop

    def leave(self, *, timeout_seconds: float) -> None:
        """Leave the loop; the last one ends it and waits for that at most so long."""
        with self._lock:
            self._members -= 1
            if self._members or self._loop is None:
                return
            loop, self._loop = self._loop, None
        loop.end(timeout_seconds=timeout_seconds)


class Loop:
    """What runs on one thread."""

    def __init__(self, name: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._bell, self._button = os.pipe()
        os.set_blocking(self._bell, False)
        self._selector.register(self._bell, selectors.EVENT_READ, self._answer)
        self._is_rung = False
        self._is_over = False
        self._due: deque[Action] = deque()
        self._timers: list[tuple[float, int, Action]] = []
        self._order = itertools.count()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def do(self, action: Action) -> None:
        """Do this on the thread, soon. From any thread."""
        self._due.append(action)
        if not self._is_rung:
            self._is_rung = True
            os.write(self._button, b"!")

    def end(self, *, timeout_seconds: float) -> None:
        """End the thread after what is due, and wait for that at most so long."""
        self.do(self._stop)
        self._thread.join(timeout_seconds)

    def call_later(self, seconds: float, action: Action) -> None:
        """Do this after so many seconds. On the thread only, as all below."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), action))

    def watch(self, socket: int, read: Action) -> None:
        """Call this whenever the socket has something to read."""
        self._selector.register(socket, selectors.EVENT_READ, read)

    def unwatch(self, socket: int) -> None:
        """Look at this socket no more; it is still open."""
        self._selector.unregister(socket)

    def _run(self) -> None:
        while not self._is_over:
            seconds = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
            for key, _ in self._selector.select(seconds):
                key.data()
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()
        self._selector.close()
        os.close(self._bell)
        os.close(self._button)

    def _answer(self) -> None:
        os.read(self._bell, 1)
        # Before the work is looked at: what is due from now on rings again, or is seen by this loop.
        self._is_rung = False
        for _ in range(len(self._due)):
            self._due.popleft()()

    def _stop(self) -> None:
        self._is_over = True


class Link:
    """An inbox and at most one connection. `crashed` hears of an error in an action: a fault of ours."""

    def __init__(self, make_line: MakeLine, name: str, thread: Thread, crashed: Crashed) -> None:
        self._make_line = make_line
        self._name = name
        self._thread = thread
        self._crashed = crashed
        self._inbox = Inbox()
        self._is_finishing = False
        self._loop: Loop | None = None
        # I/O thread only, from here on.
        self._line: Line | None = None
        self._socket: int | None = None
        self._lost: Crashed = crashed

    def start(self) -> None:
        """Start the thread; what was posted before is done now."""
        self._loop = self._thread.enter(self._name)
        self._inbox.open(partial(self._loop.do, partial(self._inbox.do_slice, self._guard)))

    def post(self, action: Action) -> None:
        """Do this on the I/O thread, after all that was posted before; where that is over, here and now."""
        self._inbox.post(action)

    def finish(self, *, timeout_seconds: float) -> None:
        """End the connection, waiting at most so long for the broker's goodbye, and leave the thread."""
        loop = self._loop
        if loop is None or self._is_finishing:
            self._inbox.end()
            return
        self._is_finishing = True
        done = threading.Event()
        self._inbox.post(partial(self._finish, done))
        line = self._line
        if line is not None and not (line.is_open and done.wait(max(timeout_seconds, GOODBYE_SECONDS_MIN))):
            line.abort()
        self._thread.leave(timeout_seconds=max(timeout_seconds, GOODBYE_SECONDS_MIN))

    def connect(self, *, opened: Callable[[Line], None], lost: Crashed) -> None:
        """Connect: one call of `opened`, or one of `lost`, or later both. I/O thread only, as all below."""
        if self._loop is None or self._is_finishing:
            return
        self._lost = lost
        self._line = line = self._make_line(self.call_later)
        line.open()
        self._socket = line.socket()
        if self._socket is not None:
            self._loop.watch(self._socket, partial(self._guard, line.read))
            self._beat(line)
        opened(line)

    def abandon(self) -> None:
        """Give the connection up: `lost` is not called any more."""
        line, self._line = self._line, None
        socket, self._socket = self._socket, None
        if socket is not None and self._loop is not None:
            self._loop.unwatch(socket)
        if line is not None:
            line.close()

    def call_later(self, seconds: float, action: Action) -> None:
        """Do this after so many seconds."""
        if self._loop is not None:
            self._loop.call_later(seconds, partial(self.post, action))

    def _beat(self, line: Line) -> None:
        """Look after the heartbeats of this line, now and as long as it is ours."""
        if line is self._line:
            line.beat()
            self.call_later(TICK_SECONDS, partial(self._beat, line))

    def _guard(self, action: Action) -> None:
        """Do this, and take an error of the connection as its end."""
        try:
            action()
        except Exception as error:  # noqa: BLE001  whatever it is, the service must hear of it
            if self._line is None or not isinstance(error, self._line.errors):
                self._crashed(error)
                return
            self.abandon()
            self._lost(error)

    def _finish(self, done: threading.Event) -> None:
        self.abandon()
        self._inbox.end()
        done.set()
