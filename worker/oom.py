"""How often the kernel killed a process for want of memory, as near to the caller as that can be read.

From the cgroup's memory.events, or all of the machine's in /proc/vmstat. The spawner takes it for evidence; see there.
"""

import contextlib
import os
import time
from pathlib import Path
from typing import Final

_READ_BYTES: Final = 1 << 16

_OOM_FRESH_SECONDS: Final = 1.0
"""How old a count of kills may be that serves as the one before a start: reading it may cost a tenth of a start."""


class OomCounter:
    """The kernel's count of processes that it killed for want of memory, as near to us as it can be read."""

    def __init__(self) -> None:
        self._file = _open_oom_file()
        self._seen = (0.0, 0)

    def read(self) -> int:
        """Return the count as it is now."""
        _, _, rest = (b"" if self._file is None else os.pread(self._file, _READ_BYTES, 0)).partition(b"oom_kill ")
        found = int(rest.split(None, 1)[0]) if rest else 0
        self._seen = (time.monotonic(), found)
        return found

    def read_about(self) -> int:
        """Return the count as it was at most a second ago."""
        at, found = self._seen
        return found if time.monotonic() - at < _OOM_FRESH_SECONDS else self.read()


def _open_oom_file() -> int | None:
    groups = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    own = "".join(line.removeprefix("0::") for line in groups if line.startswith("0::"))
    for path in (f"/sys/fs/cgroup{own}/memory.events", "/proc/vmstat"):
        with contextlib.suppress(OSError):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return None
