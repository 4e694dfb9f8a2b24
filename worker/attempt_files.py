"""From a granted task to a child that can be started, and from its end to what is reported: the files of an attempt.

HEADWAY_HOME/logs/<run_id>/<task_id>[.<map_index>].<try>.log    stdout and stderr; stays
HEADWAY_HOME/workers/<name>/tasks/<token>.inputs                HEADWAY_INPUTS, while the child runs
HEADWAY_HOME/workers/<name>/tasks/<token>.call                  function and arguments, while the child runs
HEADWAY_HOME/workers/<name>/tasks/<token>.output                HEADWAY_OUTPUT, until the child's end
"""

import contextlib
import logging
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from headway.protocol.dag import Python
from headway.protocol.messages import Task
from headway.protocol.names import Token
from headway.protocol.states import EndReason

from . import template
from .children import ChildExit, Launch, kill_processes_with
from .code import CodeFault, CodeStore
from .core.values import ChildEnded, ChildNotStarted
from .environment import INHERITED, OUTPUT_VARIABLE, BadInput, call_of, command_of, environment_of
from .masking import Mask
from .output import BadOutput, log_path, read_tail, take_output
from .secret_files import BadSecret, SecretFiles
from .shipper import LogShipper

_log = logging.getLogger(__name__)

_PROGRAMS_MAX: Final = 1_000
"""Programs whose place is remembered: more than any DAG names."""


_PYTHON: Final = (sys.executable, "-I", "-X", "utf8", template.__file__)
"""-I: no variable of a task, and no folder, decides which modules there are: `CodeStore.search` does."""


class _Open(NamedTuple):
    log: Path
    begin: int  # behind what earlier polls of the attempt wrote
    written: tuple[Path, ...]
    mask: Mask


_NO_SECRETS: Final = Mask()


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine has for its tasks: the environment to take from, secrets, and its authors' code."""

    inherited: Mapping[str, str]
    secrets: SecretFiles
    code: CodeStore


class AttemptFiles:
    """The files of the attempts that one worker runs. What an earlier boot of its name left is removed.

    Children of that boot are killed: `online` will say that they are gone, and their attempts may begin elsewhere. The
    kernel has done so already, but for one that was started in the moment in which worker and spawner were killed.
    """

    def __init__(self, home: Path, folder: Path, means: Means, shipper: LogShipper) -> None:
        self._home = home
        self._folder = folder
        self._means = means
        self._shipper = shipper
        self._open: dict[Token, _Open] = {}
        self._programs: dict[tuple[str, str], str] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for pid in kill_processes_with([f"{OUTPUT_VARIABLE}={folder}/"]):
            _log.warning("Process %d of an earlier boot was still running, and was killed", pid)
        for left in folder.iterdir():
            _remove(left)

    def refusal(self, task: Task) -> str:
        """Say why this worker cannot run a task, before it asks for it; nothing if it can."""
        found = self._means.secrets.resolve(task.secrets)
        return found.detail if isinstance(found, BadSecret) else self._means.code.fault(task)

    def prepare(self, task: Task) -> Launch | ChildNotStarted:
        """Write what the child reads, and return how to start it."""
        written: dict[Path, bytes] = {}
        if isinstance(task.command, Python):
            command = self._command_of_call(task, task.command, written)
        else:
            command = command_of(task, task.command)
        if isinstance(command, BadInput):
            return _fault(task, EndReason.BAD_INPUT, command.detail)
        if isinstance(command, CodeFault):
            return _fault(task, EndReason.NOT_STARTED, command.detail)
        secrets = self._means.secrets.resolve(task.secrets)
        if isinstance(secrets, BadSecret):
            return _fault(task, EndReason.NOT_STARTED, secrets.detail)
        log = log_path(self._home, task)
        inputs = self._path(task.token, "inputs") if task.inputs else None
        if inputs is not None:
            written[inputs] = msgspec.json.encode(task.inputs)
        output = self._path(task.token, "output")
        env = {**secrets, **environment_of(task, self._means.inherited, output=output, inputs=inputs)}
        search = env.get("PATH", os.defpath)
        program = self._find_program(command[0], search)
        if program is None:
            return _fault(task, EndReason.NOT_STARTED, f"there is no program {command[0]!r} in PATH {search}")
        try:
            if not log.parent.is_dir():
                log.parent.mkdir(parents=True, exist_ok=True)
            for path, body in written.items():
                path.write_bytes(body)
        except OSError as error:
            return _fault(task, EndReason.NOT_STARTED, f"cannot write {error.filename}: {error.strerror}")
        mask = Mask(map(str.encode, secrets.values())) if secrets else _NO_SECRETS
        begin = _size(log) if task.poll > 1 else 0
        self._open[task.token] = _Open(log, begin, tuple(written), mask)
        self._shipper.watch(task, log, mask, begin)
        return Launch(
            token=task.token,
            marker=f"{OUTPUT_VARIABLE}={output}",
            program=program,
            argv=command,
            env=env,
            cwd=task.cwd,
            output=log,
            kind="function" if isinstance(task.command, Python) else "",
            is_kept=task.on_partition == "keep",
        )

    def collect(self, exited: ChildExit) -> ChildEnded:
        """Read what the child wrote, and remove what only it needed."""
        output = take_output(self._path(exited.token, "output"))
        opened = self._open[exited.token]
        tail = read_tail(opened.log, opened.mask, opened.begin)
        self._forget(exited.token, wrote=bool(tail))
        return ChildEnded(
            token=exited.token,
            pid=exited.pid,
            exit_code=exited.code if exited.code >= 0 else None,
            signal=_signal_name(-exited.code) if exited.code < 0 else None,
            oom=exited.oom,
            lease_ended=exited.lease_ended,
            ran_seconds=exited.ran_seconds,
            cpu_seconds=exited.cpu_seconds,
            memory_peak_bytes=exited.memory_peak_bytes,
            output=None if isinstance(output, BadOutput) else output,
            output_fault=output.detail if isinstance(output, BadOutput) else "",
            tail=tail,
        )

    def forget(self, token: Token) -> None:
        """Remove what only the child needed; there was none."""
        self._forget(token, wrote=False)

    def _forget(self, token: Token, *, wrote: bool) -> None:
        self._shipper.end(token, wrote=wrote)
        for path in self._open.pop(token).written:
            _remove(path)

    def _command_of_call(
        self, task: Task, command: Python, written: dict[Path, bytes]
    ) -> list[str] | BadInput | CodeFault:
        """Return what calls a function, and add the file that it reads to what is to be written."""
        path = self._means.code.find(task.code)
        if not isinstance(path, Path):
            return path
        call = call_of(task, command)
        if isinstance(call, BadInput):
            return call
        file = self._path(task.token, "call")
        written[file] = call
        env = {name: self._means.inherited[name] for name in INHERITED if name in self._means.inherited}
        about = {**msgspec.to_builtins(task.code), "path": str(path), "search": self._means.code.search, "env": env}
        return [*_PYTHON, msgspec.json.encode(about).decode(), str(file)]

    def _find_program(self, name: str, path: str) -> str | None:
        """Look a program up in the PATH of its child, and remember it, as a shell would. With a slash it is a path."""
        if "/" in name:
            return name
        found = self._programs.get((name, path))
        if found is None or not os.access(found, os.X_OK):
            found = shutil.which(name, path=path)
            if found is not None:
                self._programs[name, path] = found
            if len(self._programs) > _PROGRAMS_MAX:
                del self._programs[next(iter(self._programs))]
        return found

    def _path(self, token: Token, kind: str) -> Path:
        return self._folder / f"{token}.{kind}"


def _fault(task: Task, reason: EndReason, detail: str) -> ChildNotStarted:
    """Say why there is no child; names of files need not be text, messages are."""
    return ChildNotStarted(token=task.token, reason=reason, detail=detail.encode(errors="replace").decode())


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"  # a real-time signal has no name of its own


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
