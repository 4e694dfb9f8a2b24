"""Reads a DAG file by a process of its own, so that nothing an author wrote can hurt the one that asks.

The child bounds its own time and memory and reports over a pipe of its own, so that an author's prints go nowhere. Who
asks waits a little longer than the child's time, then kills its whole process group. No answer at all is a problem of
the file too, and gets its sentence here.
"""

import hashlib
import os
import selectors
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from headway.protocol.codec import decode_dag, encode
from headway.protocol.errors import MalformedMessage
from headway.protocol.limits import DAG_BYTES_MAX, DAG_FILE_BYTES_MAX

from .explain import say_time_is_up
from .report import DOCUMENT_SUFFIXES, LAST_CHANCE_SECONDS, FileProblem, Limits, ParsedDag, ParsedFile, Report

DEFAULT_LIMITS: Final = Limits()

REPORT_BYTES_MAX: Final = 2 * DAG_BYTES_MAX
"""All DAGs of a file together: more would hold up whoever waits for the file."""

GRACE_SECONDS: Final = LAST_CHANCE_SECONDS + 1.0
"""How long after its time a child may take to say that its time is up."""

_CHUNK_BYTES: Final = 1024 * 1024

_CLEAN: Final = ("env", "-u", "HEADWAY_BROKER_URL", "-u", "HEADWAY_DATABASE_URL", "PYTHONHASHSEED=0")
"""An author's file gets no password of ours, and sets that are in the same order each time: else each reading of a file
that loops over one would be a new version."""

_PYTHON: Final = (sys.executable, "-P", "-m", "headway.scheduler.parser.child")
"""-P: no module of the current folder hides one of ours."""


def parse_file(
    path: Path,
    *,
    timeout_seconds: float = DEFAULT_LIMITS.timeout_seconds,
    memory_bytes: int = DEFAULT_LIMITS.memory_bytes,
    folder: Path | None = None,
) -> ParsedFile:
    """Return the DAGs of a file and all that is wrong with it; raises nothing for whatever the file holds.

    `folder` is the folder of DAG files, if it is read as one of that: code is then named by its path from there.
    """
    fault = _refuse_unread(path)
    if fault is not None:
        return ParsedFile(file=str(path), problems=(FileProblem(message=fault),))
    limits = Limits(timeout_seconds=timeout_seconds, memory_bytes=memory_bytes)
    return _as_parsed(path, _ask_child(path.absolute(), limits, str(folder.absolute()) if folder else ""))


def _refuse_unread(path: Path) -> str | None:
    if not path.name.endswith((".py", *DOCUMENT_SUFFIXES)):
        return "not a DAG file by its name: call it *.py, *.dag.json or *.dag.yaml"
    try:
        found = path.stat()
    except OSError as error:
        return f"cannot be opened: {error.strerror}"
    if not stat.S_ISREG(found.st_mode):
        return "is no file: name a DAG file, not a folder or a device"
    if found.st_size > DAG_FILE_BYTES_MAX:
        return f"has {found.st_size} bytes, and a DAG file may have {DAG_FILE_BYTES_MAX}: split it"
    return None


def _as_parsed(path: Path, report: Report) -> ParsedFile:
    problems = sorted(report.problems, key=lambda problem: problem.line)
    dags = []
    for body in report.dags:
        try:
            dags.append(_as_dag(bytes(body)))
        except MalformedMessage as error:
            problems.append(FileProblem(message=f"a DAG of it does not survive as JSON: {error}"))
    return ParsedFile(file=str(path), dags=tuple(dags), problems=tuple(problems))


def _as_dag(reported: bytes) -> ParsedDag:
    dag = decode_dag(reported)
    body = encode(dag)
    return ParsedDag(dag=dag, body=body, digest=hashlib.sha256(body).hexdigest(), task_count=len(dag.tasks))


def _ask_child(path: Path, limits: Limits, folder: str) -> Report:
    """Start a child for the file and return what it says, or what can be said in its place."""
    deadline = time.monotonic() + limits.timeout_seconds + GRACE_SECONDS
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"):
        child = _start_child((str(writing), str(path), folder), limits, writing)
        os.close(writing)
        try:
            line = _read_line(reading, deadline)
            has_more = line.endswith(b"\n") or len(line) > REPORT_BYTES_MAX
            exited = not has_more and _exits_by(child, deadline)
        finally:
            _end_group(child)
    if line.endswith(b"\n"):
        return _decode(line)
    if has_more:
        fault = f"its DAGs take more than {REPORT_BYTES_MAX} bytes together: split the file"
    else:
        fault = _say_silence(child.returncode, limits) if exited else say_time_is_up(limits)
    return Report(problems=(FileProblem(message=fault),))


def _start_child(what: tuple[str, ...], limits: Limits, writing: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        (*_CLEAN, *_PYTHON, *what, str(limits.timeout_seconds), str(limits.memory_bytes)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(writing,),
        start_new_session=True,
    )


def _read_line(reading: int, deadline: float) -> bytes:
    """Return what arrives up to the end of a line, of the pipe, of the time, or of what a report may take."""
    line = bytearray()
    with selectors.DefaultSelector() as ready:
        ready.register(reading, selectors.EVENT_READ)
        while not line.endswith(b"\n") and len(line) <= REPORT_BYTES_MAX:
            if not ready.select(max(0.0, deadline - time.monotonic())):
                break
            chunk = os.read(reading, _CHUNK_BYTES)
            if not chunk:
                break
            line += chunk
    return bytes(line)


def _exits_by(child: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait for the child's end without reaping it: until then nobody else can get its process group's number."""
    with os.fdopen(os.pidfd_open(child.pid), "rb") as end, selectors.DefaultSelector() as ready:
        ready.register(end, selectors.EVENT_READ)
        return bool(ready.select(max(0.0, deadline - time.monotonic())))


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and what it has left behind."""
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _decode(line: bytes) -> Report:
    try:
        return msgspec.json.decode(line, type=Report)
    except msgspec.MsgspecError as error:
        return Report(problems=(FileProblem(message=f"the file wrote into our pipe ({error}): leave it alone"),))


def _say_silence(code: int, limits: Limits) -> str:
    """Say what became of a child that ended without a report."""
    if code == -signal.SIGALRM:
        return say_time_is_up(limits)
    if code < 0:
        name = signal.Signals(-code).name
        return f"reading the file ended its process by {name}: see what it imports, and how much memory is left"
    return f"reading the file ended its process with exit code {code}, unread (os._exit?): remove such a call"
