"""Virtual time and virtual processes: who runs, until when, and who is stopped or dead.

Only the hub (the main greenlet) switches to a fiber, and a fiber only back to the hub, by `park`. Nothing runs
meanwhile, so all that happens between two parks is one step. A process may be killed or stopped at each `reach`: the
places where its code touches the world outside.
"""

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from greenlet import getcurrent, greenlet

EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
BOOTED_SECONDS: Final = 1_000.0
"""What monotonic clocks show at the beginning: nothing may take 0 for a time."""

Action = Callable[[], object]


class Killed(BaseException):
    """kill -9: nothing but the kernel catches it."""


class Kernel:
    """The one clock and the one queue of what is to happen. `log` hears every step, for a trace."""

    def __init__(self, seed: int, log: Callable[[str], None]) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.wall_offset = 0.0  # of the database's clock
        self._log = log
        self._due: list[tuple[float, int, Action]] = []
        self._count = 0
        self.hub = getcurrent()

    def say(self, text: str) -> None:
        """Add a line to the trace."""
        self._log(f"{self.now:10.4f}  {text}")

    def after(self, seconds: float, action: Action) -> None:
        """Let the hub do something after so many seconds; what is due at one time is done in the order of asking."""
        self._count += 1
        heapq.heappush(self._due, (self.now + seconds, self._count, action))

    def run(self, *, until: float, done: Callable[[], bool]) -> bool:
        """Let time pass, at most `until`; return whether `done` came about."""
        while not done():
            if not self._due or self._due[0][0] > until:
                return False
            self.now, _, action = heapq.heappop(self._due)
            action()
        return True

    def monotonic(self) -> float:
        """Return what a monotonic clock shows."""
        return BOOTED_SECONDS + self.now

    def wall(self) -> datetime:
        """Return what the database's clock shows."""
        return EPOCH + timedelta(seconds=self.now + self.wall_offset)


class Process:
    """An operating system's process: fibers that live, stop and die together. `ended` is called once, at its end."""

    def __init__(self, kernel: Kernel, name: str, reached: "Callable[[Process, str], None]", ended: Action) -> None:
        self.kernel = kernel
        self.name = name
        self.is_dead = False
        self.is_stopped = False
        self.fibers: list[Fiber] = []
        self.continued: list[Action] = []  # what else to do after SIGCONT
        self.woken: list[Action] = []  # what would have happened while it was stopped
        self._reached = reached
        self._ended = ended

    def start(self, target: Action) -> "Fiber":
        """Start a thread."""
        fiber = Fiber(self, target)
        self.fibers.append(fiber)
        self.kernel.after(0, fiber.enter)
        return fiber

    def reach(self, place: str) -> None:
        """Touch the world outside: the one that breaks things may kill or stop us here."""
        if not self.is_dead:
            self._reached(self, place)
            if self.is_dead:
                raise Killed

    def kill(self) -> None:
        """End at once, wherever its threads stand."""
        if self.is_dead:
            return
        self.is_dead = True
        self._ended()
        for fiber in self.fibers:
            self.kernel.after(0, fiber.kill)

    def stop(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so many seconds; from one of its own threads, it stops right here."""
        if self.is_stopped or self.is_dead:
            return
        self.is_stopped = True
        self.kernel.after(seconds, self._go_on)
        current = Fiber.current()
        if current is not None and current.process is self:
            self.when_running(current.wake)
            current.park(None)

    def when_running(self, action: Action) -> None:
        """Do this now, or once the process goes on."""
        if self.is_stopped:
            self.woken.append(action)
        else:
            action()

    def _go_on(self) -> None:
        self.is_stopped = False
        woken, self.woken = self.woken, []
        for action in [*woken, *self.continued]:
            if not self.is_dead:
                action()


class Fiber:
    """A thread."""

    def __init__(self, process: Process, target: Action) -> None:
        self.process = process
        self._target = target
        self._greenlet = greenlet(self._run, parent=process.kernel.hub)
        self._parked = 0
        self.is_over = False

    @staticmethod
    def current() -> "Fiber | None":
        """Return the fiber that runs, or None in the hub."""
        return getattr(getcurrent(), "fiber", None)

    def enter(self) -> None:
        """Go on; hub only."""
        if not self.is_over and not self.process.is_dead:
            self.process.when_running(self._greenlet.switch)

    def park(self, seconds: float | None) -> None:
        """Wait for `wake`, at most so long."""
        if self.process.is_dead:
            raise Killed
        self._parked += 1
        if seconds is not None:
            number = self._parked
            self.process.kernel.after(seconds, lambda: self._wake(number))
        self.process.kernel.hub.switch()
        if self.process.is_dead:
            raise Killed

    def wake(self) -> None:
        """End the wait that is under way, or do nothing."""
        number = self._parked
        self.process.kernel.after(0, lambda: self._wake(number))

    def kill(self) -> None:
        """Unwind, hub only; nothing that its `finally` does reaches anybody."""
        if self._greenlet:
            self._greenlet.throw(Killed)

    def _wake(self, number: int) -> None:
        if number == self._parked:
            self._parked += 1  # a second wake for the same wait comes too late
            self.enter()

    def _run(self) -> None:
        self._greenlet.fiber = self
        try:
            self._target()
        except Killed:
            pass
        finally:
            self.is_over = True
