"""A worker's name: stable over restarts, and held by at most one process of a machine at a time.

The lock is an advisory one on a file in HEADWAY_HOME, which the kernel lets go when the process ends, however it ends.
Between machines the name's exclusive control queue on the broker does the same.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from headway.protocol.errors import WorkerNameTaken
from headway.protocol.names import WorkerName, check_name

_NUMBERS_MAX: Final = 1_000
"""Workers of one machine that are named by themselves: each starts a process, and more would not help a machine."""

_HOST_LENGTH_MAX: Final = 56
"""A name has 63 characters; this leaves room for the number."""


@contextlib.contextmanager
def hold_name(home: Path, wanted: WorkerName | None, host: str) -> Iterator[WorkerName]:
    """Hold the wanted name, or the host's first free one, until the context ends; raise WorkerNameTaken."""
    folder = home / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    for name in [wanted] if wanted is not None else _names_of(host):
        lock = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        try:
            yield name
        finally:
            os.close(lock)
        return
    raise WorkerNameTaken(worker=wanted if wanted is not None else f"{_short(host)}-1")


def _names_of(host: str) -> Iterator[WorkerName]:
    return (WorkerName(check_name("worker name", f"{_short(host)}-{n}")) for n in range(1, _NUMBERS_MAX + 1))


def _short(host: str) -> str:
    """Make the first part of a host's name legal in names."""
    short = re.sub(r"[^A-Za-z0-9_-]", "-", host.split(".", maxsplit=1)[0])[:_HOST_LENGTH_MAX]
    return short.lstrip("_-") or "worker"
