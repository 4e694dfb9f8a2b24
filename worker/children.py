"""The worker's end of the spawner: start a child, signal its group, hear how it ended.

`Children` starts the spawner (see `spawner.py`) and hands what it says to a sink, on a thread of its own. Every `start`
is answered by one `ChildExit` or one `ChildFault`, unless the spawner itself dies: then `SpawnerGone` comes once, after
the children's groups were killed.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from headway.protocol.names import Token

from . import spawner

_READ_BYTES: Final = 1 << 16

_CLOSE_SECONDS: Final = 5.0
"""How long the spawner may take to kill what is left: it has nothing else to do."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """A child to start. `program` is a path; `cwd` None is the worker's own folder; output is appended to `output`."""

    token: Token
    program: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str | None
    output: Path


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
        self._launched: dict[Token, list[bytes]] = {}  # and not heard of yet: what their environment will be
        self._is_closing = False
        self._link, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", spawner.__file__, str(theirs.fileno())],
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
        command = [launch.cwd or "", launch.program, str(len(launch.argv)), *launch.argv]
        fields = [os.fsencode(field) for field in (launch.token, str(launch.output), *command)]
        if any(b"\0" in field for field in fields + env):
            self._sink(ChildFault(token=launch.token, detail="its command or environment holds a NUL character"))
            return
        self._launched[launch.token] = env
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
        except subprocess.TimeoutExpired:  # frozen, say: the kernel then ends the children
            self._process.kill()
            self._process.wait()
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
        self._launched.pop(token, None)
        match verb:
            case b"started":
                self._groups[token] = int(rest)
                self._sink(ChildBegun(token=token, pid=int(rest)))
            case b"fault":
                self._groups.pop(token, None)
                self._sink(ChildFault(token=token, detail=rest.decode(errors="replace")))
            case _:
                self._groups.pop(token, None)
                self._sink(_exit_of(token, rest))

    def _kill_orphans(self) -> None:
        """Kill what the kernel could not: a child without the pipe, one that was started and not guarded yet."""
        for pid in [*self._groups.values(), *_processes_with(list(self._launched.values()))]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)


def _processes_with(environments: list[list[bytes]]) -> list[int]:
    """Return the processes that have exactly one of these environments; each holds a path that no other has."""
    found = []
    wanted = {b"\0".join((*env, b"")) for env in environments}
    for folder in Path("/proc").glob("[0-9]*") if wanted else ():
        with contextlib.suppress(OSError):
            if (folder / "environ").read_bytes() in wanted:
                found.append(int(folder.name))
    return found


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
