"""The process that starts children and sees them end. It runs alone and imports nothing but the standard library.

Why a process of its own: it has one thread and little else to do, so a child's end is noticed at once, and whoever
kills the worker does not leave children behind. It is joined to the worker by a socket on which frames pass:

    worker -> spawner   start JOB OUTPUT CWD KIND KEPT PROGRAM ARGC ARG... NAME=VALUE...
                        signal JOB NUMBER   lease BOOTTIME
    spawner -> worker   started JOB PID   fault JOB TEXT   ended JOB `PID CODE RAN CPU MEMORY OOM LEASE`

KIND is `function` for a child that a template may start (`templates.py`), which then is as any other, else empty. KEPT
is empty unless the child may outlive the lease.

A child leads a session and a group of its own. When it ends, what is left of its group is killed. No group survives

- the worker: the socket ends then, and all groups are killed;
- a lease that the worker did not extend, frozen perhaps: the same, but for those to keep;
- this process: the kernel kills all groups. Each child inherits the reading end of a pipe whose writing end is here
  alone, opened anew so that it has settings of its own: send SIGKILL (F_SETSIG) to the child's group (F_SETOWN) when
  there is news (O_ASYNC), and the only news can be that the writing end is gone.

The last is what PR_SET_PDEATHSIG is known for. But that kills the leader and not its group, and it must be set between
fork and exec, in a copy of this process: twice the CPU time for each start (docs/decisions/0006).

Out of memory is evidence, not proof: the child died of a SIGKILL that was not ours, and the kernel's count of such
kills rose meanwhile (the cgroup's memory.events, or all of the machine's in /proc/vmstat).
"""

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from .oom import OomCounter
from .templates import LINK, Command, Templates, Told

_LENGTH: Final = struct.Struct("!I")

_PR_SET_CHILD_SUBREAPER: Final = 36

_GUARD: Final = 200
"""Where a child finds the pipe, and should leave it: below every usual limit, above what shells use for themselves."""

_READ_BYTES: Final = 1 << 16

_MARK: Final = b"HEADWAY_OUTPUT="
_NAME_BYTES_MAX: Final = 255
"""A template has a variable as large as those of its copies, in whose place they write their own."""

FileAction = tuple[Any, ...]
"""What posix_spawn does with files in a child."""


def pack(*fields: bytes) -> bytes:
    """Make a frame: its length, then the fields with NUL between them (no argument of a program can hold one)."""
    body = b"\0".join(fields)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """What has come through a socket, cut into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[list[bytes]]:
        """Yield the fields of each frame that is complete."""
        data = self._rest + data
        start = 0
        while len(data) - start >= _LENGTH.size:
            end = start + _LENGTH.size + _LENGTH.unpack_from(data, start)[0]
            if end > len(data):
                break
            yield data[start + _LENGTH.size : end].split(b"\0")
            start = end
        self._rest = data[start:]


class Child:
    """A process that was started and is not reaped."""

    def __init__(self, job: bytes, oom_kills: int, *, is_kept: bool) -> None:
        self.job = job
        self.is_kept = is_kept
        self.oom_kills = oom_kills
        self.started = time.monotonic()
        self.is_killed = False
        self.lease_ended = False


class Waiting(NamedTuple):
    """A child that a template was asked to start: the request, and the signals that have come for it meanwhile."""

    child: Child
    request: tuple[bytes, ...]
    signals: list[int]


class Spawner:
    """One worker's children."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._frames = Frames()
        self._out = b""
        self._is_stuck = False
        self._jobs: dict[bytes, int] = {}
        self._children: dict[int, Child] = {}
        self._waiting: dict[bytes, Waiting] = {}
        self._lease: float | None = None
        self._is_lease_over = False
        self._oom = OomCounter()
        self._poll = select.epoll()
        self._templates = Templates(self._spawn_template, self._poll)
        self._mark = b""
        self._home = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._guard, self._guard_writer = os.pipe2(os.O_CLOEXEC)
        self._wakeups, self._wakeup_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def settle_in(self) -> None:
        """Ignore and block no signal, since children inherit that, and adopt (and so reap) what they leave behind."""
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            with contextlib.suppress(OSError):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.signal(signal.SIGCHLD, lambda *_: None)  # set back by exec
        signal.set_wakeup_fd(self._wakeup_writer, warn_on_full_buffer=False)
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def run(self) -> None:
        """Serve until the worker's end of the socket is closed."""
        self._poll.register(self._link, select.EPOLLIN)
        self._poll.register(self._wakeups, select.EPOLLIN)
        while self._serve(self._poll.poll(self._patience())):
            self._end_lease()
            self._templates.look_after()
            if self._flush():
                self._poll.modify(self._link, select.EPOLLIN | (select.EPOLLOUT if self._out else 0))
        self._kill_all()
        self._templates.kill_all()

    def _serve(self, ready: list[tuple[int, int]]) -> bool:
        """Do what there is to do; say whether the worker is still there."""
        alive = True
        for file, _ in ready:
            if file == self._wakeups:
                os.read(self._wakeups, _READ_BYTES)
                self._reap()
            elif file == self._link.fileno():
                alive = self._receive()
            else:
                self._hear_templates()
        return alive

    # --- the worker's end ---------------------------------------------------------------------------------------------

    def _receive(self) -> bool:
        try:
            data = self._link.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        for verb, *fields in self._frames.feed(data):
            if verb == b"start" and self._lacks_lease():  # said by a worker that was frozen after it had decided to
                self._send(b"fault", fields[0], b"its worker's lease was over before it could begin")
            elif verb == b"start":
                self._start(*fields)
            elif verb == b"signal":
                self._signal(*fields)
            elif verb == b"lease":
                self._lease, self._is_lease_over = float(fields[0]), False
        return bool(data)

    def _send(self, *fields: bytes) -> None:
        self._out += pack(*fields)

    def _flush(self) -> bool:
        """Send what fits; say whether it began or ceased to fit. A frozen worker must not freeze us (`_end_lease`)."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self._out = self._out[self._link.send(self._out, socket.MSG_NOSIGNAL) :]
        was_stuck, self._is_stuck = self._is_stuck, bool(self._out)
        return was_stuck != self._is_stuck

    # --- starting -----------------------------------------------------------------------------------------------------

    def _start(self, *request: bytes, waited: Waiting | None = None) -> None:
        """Start a child, one that has waited for a template in vain perhaps."""
        job, output, cwd, kind, kept, program, count, *rest = request
        argv, env = rest[: int(count)], rest[int(count) :]
        child = waited.child if waited else Child(job, self._oom.read_about(), is_kept=bool(kept))
        what = b"write to " + output
        try:
            out = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            with os.fdopen(out, "wb", buffering=0):
                what = b"enter the folder " + cwd
                with self._folder(cwd):
                    if kind and self._hand_over(job, argv, env, out):
                        self._waiting[job] = Waiting(child, request, [])
                        return
                    what = b"run " + program
                    pid = self._spawn(
                        program, argv, env, [(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)]
                    )
        except OSError as error:
            self._send(b"fault", job, b"cannot %b: %b" % (what, os.strerror(error.errno or 0).encode()))
            return
        self._adopt(pid, child, waited.signals if waited else ())

    def _adopt(self, pid: int, child: Child, signals: Iterable[int]) -> None:
        """A child runs; whoever spoke of it before it had a number means it."""
        self._jobs[child.job] = pid
        self._children[pid] = child
        self._send(b"started", child.job, b"%d" % pid)
        for number in signals:
            self._kill_group(pid, number)

    @contextlib.contextmanager
    def _folder(self, cwd: bytes) -> Iterator[None]:
        """Be in another folder: a child begins in its parent's."""
        if not cwd:
            yield
            return
        os.chdir(cwd)
        try:
            yield
        finally:
            os.fchdir(self._home)

    def _spawn(self, program: bytes, argv: Sequence[bytes], env: Sequence[bytes], files: list[FileAction]) -> int:
        with self._new_guard() as guard:
            pid = os.posix_spawn(
                program,
                [*argv],
                dict(item.split(b"=", 1) for item in env),
                file_actions=[*files, (os.POSIX_SPAWN_DUP2, guard, _GUARD)],
                setsid=True,
            )
            fcntl.fcntl(guard, fcntl.F_SETOWN, -pid)
        return pid

    @contextlib.contextmanager
    def _new_guard(self) -> Iterator[int]:
        """Open the guard anew, as one that kills; whom, F_SETOWN says."""
        guard = os.open(f"/proc/self/fd/{self._guard}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.fcntl(guard, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(guard, fcntl.F_SETFL, os.O_ASYNC)
            yield guard
        finally:
            os.close(guard)

    # --- templates ----------------------------------------------------------------------------------------------------

    def _hand_over(self, job: bytes, argv: Sequence[bytes], env: Sequence[bytes], out: int) -> bool:
        """Ask the template of a child's code for it, in the folder where we are; say whether there is one."""
        output = next(item for item in env if item.startswith(_MARK))
        self._mark = output.rpartition(b"/")[0] + b"/" + b"x" * _NAME_BYTES_MAX
        folder = os.open(".", os.O_PATH | os.O_CLOEXEC)
        try:
            with self._new_guard() as guard:
                return self._templates.hand_over(tuple(argv[:-1]), (job, argv[-1], *env), [out, folder, guard])
        finally:
            os.close(folder)

    def _spawn_template(self, command: Command, link: socket.socket) -> int:
        quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
        return self._spawn(command[0], command, [self._mark], [*quiet, (os.POSIX_SPAWN_DUP2, link.fileno(), LINK)])

    def _hear_templates(self) -> None:
        """Take note of who was started, and start those who were not."""
        for news in self._templates.hear():
            waited = self._waiting.pop(news.job)
            if isinstance(news, Told):
                self._adopt(news.pid, waited.child, waited.signals)
            elif signal.SIGKILL in waited.signals:
                self._send(b"fault", news.job, b"it was killed before it began")
            else:
                self._start(*waited.request, waited=waited)

    # --- ending -------------------------------------------------------------------------------------------------------

    def _signal(self, job: bytes, number: bytes) -> None:
        if job in self._waiting:
            self._waiting[job].signals.append(int(number))
        elif job in self._jobs:
            self._kill_group(self._jobs[job], int(number))

    def _kill_group(self, pid: int, number: int) -> None:
        """Signal a child that is not reaped yet, so that its number is still its own."""
        if number == signal.SIGKILL:
            self._children[pid].is_killed = True
        _signal_group(pid, number)

    def _kill_all(self, *, lease_ended: bool = False) -> None:
        """Kill all children; at the end of a lease all but those to keep."""
        for pid, child in self._children.items():
            if not (lease_ended and child.is_kept):
                child.lease_ended = lease_ended
                self._kill_group(pid, signal.SIGKILL)
        for child, _, signals in self._waiting.values():
            if not (lease_ended and child.is_kept):
                child.lease_ended = lease_ended
                signals.append(signal.SIGKILL)

    def _patience(self) -> float | None:
        """Return how long there is nothing to do unless something happens."""
        seconds = self._templates.patience()
        if self._lease is None or not (self._children or self._waiting):
            return seconds
        lease = max(0.0, self._lease - time.clock_gettime(time.CLOCK_BOOTTIME))
        return lease if seconds is None else min(lease, seconds)

    def _lacks_lease(self) -> bool:
        return self._is_lease_over or (
            self._lease is not None and time.clock_gettime(time.CLOCK_BOOTTIME) >= self._lease
        )

    def _end_lease(self) -> None:
        if self._lease is not None and self._lacks_lease():
            self._lease, self._is_lease_over = None, True
            self._kill_all(lease_ended=True)

    def _reap(self) -> None:
        """Bury all that have ended; before each, while its number is still its own, kill what is left of its group."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            pid = ended.si_pid
            if pid not in self._children:
                self._templates.bury(pid)
                self._hear_templates()  # a template's child has told its number, if it ran at all
            child = self._children.pop(pid, None)
            if child is not None:
                _signal_group(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            if child is not None:
                cost = b"%f %d" % (usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
                self._report(pid, child, os.waitstatus_to_exitcode(status), cost)

    def _report(self, pid: int, child: Child, code: int, cost: bytes) -> None:
        ran = time.monotonic() - child.started
        del self._jobs[child.job]
        oom = code == -signal.SIGKILL and not child.is_killed and self._oom.read() > child.oom_kills
        self._send(b"ended", child.job, b"%d %d %f %b %d %d" % (pid, code, ran, cost, oom, child.lease_ended))


def _signal_group(pid: int, number: int) -> None:
    """Signal what may be signalled: a child that became another user (sudo) is beyond us, and none of its siblings."""
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.killpg(pid, number)


def main() -> None:
    """Run with one argument, the number of an inherited socket."""
    link = socket.socket(fileno=int(sys.argv[1]))
    link.setblocking(False)  # noqa: FBT003 - the only way to say it
    link.set_inheritable(False)
    spawner = Spawner(link)
    spawner.settle_in()
    spawner.run()


if __name__ == "__main__":
    main()
