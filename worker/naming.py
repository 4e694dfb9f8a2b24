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

from headway.protocol.errors import WorkerNameTaken, WrongSettings
from headway.protocol.names import WorkerName, check_name

_NUMBERS_MAX: Final = 1_000
"""Workers of one machine that are named by themselves: each starts a process, and more would not help a machine."""

_HOST_LENGTH_MAX: Final = 56
"""A name has 63 characters; this leaves room for the number."""


@contextlib.contextmanager
def hold_name(home: Path, wanted: WorkerName | None, host: str) -> Iterator[WorkerName]:
    """Hold the wanted name, or the host's first free one, until the context ends.

    Raises WorkerNameTaken, InvalidName, and WrongSettings where nothing can be written to `home`.
    """
    names = [wanted] if wanted is not None else [f"{_short(host)}-{number}" for number in range(1, _NUMBERS_MAX + 1)]
    name, lock = _lock_one(home / "workers", [WorkerName(check_name("worker name", name)) for name in names])
    try:
        yield name
    finally:
        os.close(lock)


def _lock_one(folder: Path, names: list[WorkerName]) -> tuple[WorkerName, int]:
    """Lock the first name that is free; return it and the open file that holds the lock."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            lock = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
            else:
                return name, lock
    except OSError as error:
        raise WrongSettings(name="HEADWAY_HOME", value=str(folder.parent), detail=error.strerror) from error
    raise WorkerNameTaken(worker=names[0])


def _short(host: str) -> str:
    """Make the first part of a host's name legal in names."""
    short = re.sub(r"[^A-Za-z0-9_-]", "-", host.split(".", maxsplit=1)[0])[:_HOST_LENGTH_MAX]
    return short.lstrip("_-") or "worker"
