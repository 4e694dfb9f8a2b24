"""Who works in HEADWAY_HOME: an embedded Headway holds it alone, and its door stands there for commands.

The lock is an advisory one, which the kernel lets go when the process ends, however it ends.
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from headway.protocol.errors import HomeTaken, WrongSettings

LOCK: Final = "embedded.lock"

_FOLDER_MODE: Final = 0o700
"""Of a home that is made here: outputs and results of tasks are nobody else's business."""


@contextlib.contextmanager
def hold_home(home: Path, *, doing: str) -> Iterator[None]:
    """Hold a home until the context ends; `doing` is what a second one is told of us.

    Raises HomeTaken, and WrongSettings where nothing can be written to `home`.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
        lock = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise WrongSettings(name="HEADWAY_HOME", value=str(home), detail=error.strerror) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(lock, os.fstat(lock)[stat.ST_SIZE], 0).decode(errors="replace")
            raise HomeTaken(home=home, other=other or "another process") from None
        try:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{doing} (process {os.getpid()})".encode(), 0)
        except OSError as error:  # the disk is full
            raise WrongSettings(name="HEADWAY_HOME", value=str(home), detail=error.strerror) from error
        yield
    finally:
        os.close(lock)
