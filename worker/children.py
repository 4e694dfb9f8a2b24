"""The worker's end of the spawner: start a child, signal its group, hear how it ended.

`Children` starts the spawner (see `spawner.py`) and hands what it says to a sink, on a thread of its own. Every `start`
is answered by one `ChildExit` or one `ChildFault`, unless the spawner itself dies: then `SpawnerGone` comes once, after
the children's groups were killed.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from headway.protocol.names import Token

from . import spawner

_READ_BYTES: Final = 1 << 16

_SPAWNER: Final = "import sys; sys.path.append(sys.argv.pop(1)); from headway.worker.spawner import main; main()"
"""Without site-packages, which would double its memory and so that of each child in its first moment."""

_SEARCHES: Final = 5
_SEARCH_SECONDS: Final = 0.1
"""How often, and how far apart, orphans are looked for: one that is about to exec shows its environment soon."""

_CLOSE_SECONDS: Final = 5.0
"""How long the spawner may take to kill what is left: it has nothing else to do."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """A child to start. `program` is a path; `cwd` None is the worker's own folder; output is appended to `output`.

    Of kind `function`, it runs `template.py`, of which it may be a copy. `is_kept` lets it live beyond the lease.
    `marker` is the beginning of an entry of `env` that no other child has.
    """

    token: Token
    marker: str
    program: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str | None
    output: Path
    kind: Literal["", "function"] = ""
    is_kept: bool = False


class ChildBegun(msgspec.Struct, frozen=True, kw_only=True):
    """There is a process; whether its program could be run is not known yet."""

    token: Token
    pid: int


class ChildFault(msgspec.Struct, frozen=True, kw_only=True):
    """The child's program was not run, for the reason in `detail`."""

    token: Token
    detail: str


class ChildExit(msgspec.Struct, frozen=True, kw_only=True):
    """A child and its group are gone. `code` is negative for a signal, as in subprocess.

    Times are seconds of the monotonic clock and of the CPU. `memory_peak_bytes` is the largest resident set of one
    process and never below the spawner's own, about 10 MB, since each child begins as a copy of it.
    """

    token: Token
    pid: int
    code: int
    ran_seconds: float
    cpu_seconds: float
    memory_peak_bytes: int
    oom: bool
    lease_ended: bool


class SpawnerGone(msgspec.Struct, frozen=True):
    """The spawner died, and all children were killed."""


ChildReport = ChildBegun | ChildFault | ChildExit | SpawnerGone


class Children:
    """All children of a worker. Made before other threads are, and used by one thread; `sink` is called on another."""

    def __init__(self, sink: Callable[[ChildReport], None]) -> None:
        self._sink = sink
        self._groups: dict[Token, int] = {}
        self._launched: dict[Token, str] = {}  # and not ended: their markers
        self._is_closing = False
        self._link, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                spawner_command(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={},
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the worker, which then says what becomes of the children
            )
        self._reader = threading.Thread(target=self._read, name="children", daemon=True)
        self._reader.start()

    def start(self, launch: Launch) -> None:
        """Start a child."""
        env = [os.fsencode(f"{name}={value}") for name, value in launch.env.items()]
        kept = "kept" if launch.is_kept else ""
        command = [launch.cwd or "", launch.kind, kept, launch.program, str(len(launch.argv)), *launch.argv]
        fields = [os.fsencode(field) for field in (launch.token, str(launch.output), *command)]
        if any(b"\0" in field for field in fields + env):
            self._sink(ChildFault(token=launch.token, detail="its command or environment holds a NUL character"))
            return
        self._launched[launch.token] = launch.marker
        self._send(b"start", *fields, *env)

    def signal(self, token: Token, number: signal.Signals) -> None:
        """Send a signal to a child's whole group; a child that has ended is left in peace."""
        self._send(b"signal", token.encode(), b"%d" % number)

    def extend_lease(self, until: float) -> None:
        """Have all children killed at `until` (CLOCK_BOOTTIME), unless that is extended."""
        self._send(b"lease", b"%f" % until)

    def close(self) -> None:
        """End the spawner, and with it every child that is left."""
        self._is_closing = True
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_WR)
        try:
            self._process.wait(timeout=_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:  # frozen, say
            self._process.kill()
            self._process.wait()
            self._kill_orphans()
        self._reader.join()
        self._link.close()

    def _send(self, *fields: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # SpawnerGone says so
            self._link.sendall(spawner.pack(*fields))

    def _read(self) -> None:
        frames = spawner.Frames()
        with contextlib.suppress(ConnectionError):
            while data := self._link.recv(_READ_BYTES):
                for fields in frames.feed(data):
                    self._hear(*fields)
        if not self._is_closing:
            self._kill_orphans()
            self._sink(SpawnerGone())

    def _hear(self, verb: bytes, job: bytes, rest: bytes) -> None:
        token = Token(job.decode())
        if verb == b"started":
            self._groups[token] = int(rest)
            self._sink(ChildBegun(token=token, pid=int(rest)))
            return
        self._launched.pop(token, None)
        self._groups.pop(token, None)
        match verb:
            case b"fault":
                self._sink(ChildFault(token=token, detail=rest.decode(errors="replace")))
            case _:
                self._sink(_exit_of(token, rest))

    def _kill_orphans(self) -> None:
        """Kill what the kernel could not: a group that let go of the guard, a child that was not guarded yet."""
        for pid in self._groups.values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        for _ in range(_SEARCHES if self._launched else 0):
            kill_processes_with(self._launched.values())
            select.select([], [], [], _SEARCH_SECONDS)


def spawner_command(link: int) -> list[str]:
    """Return what runs a spawner at the other end of a socket that it inherits under this number."""
    return [sys.executable, "-I", "-S", "-c", _SPAWNER, str(Path(spawner.__file__).parents[2]), str(link)]


def kill_processes_with(markers: Iterable[str]) -> list[int]:
    """Kill all processes whose environment has an entry that begins with one of these; return them.

    Whatever a child starts inherits its environment, in a group of its own or not.
    """
    wanted = [b"\0" + os.fsencode(marker) for marker in markers]
    killed = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is not ours to look at
            environment = b"\0" + (folder / "environ").read_bytes()
            if any(marker in environment for marker in wanted):
                os.kill(int(folder.name), signal.SIGKILL)
                killed.append(int(folder.name))
    return killed


def _exit_of(token: Token, text: bytes) -> ChildExit:
    pid, code, ran, cpu, memory, oom, lease = text.split()
    return ChildExit(
        token=token,
        pid=int(pid),
        code=int(code),
        ran_seconds=float(ran),
        cpu_seconds=float(cpu),
        memory_peak_bytes=int(memory),
        oom=oom == b"1",
        lease_ended=lease == b"1",
    )
