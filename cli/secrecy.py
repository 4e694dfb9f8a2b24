"""Keeps passwords in our environment from other processes of our own user, such as DAG files and tasks.

Whoever may trace a process may read /proc/PID/environ, and so every process of the same user may; unless the process is
not dumpable (prctl(2), PR_SET_DUMPABLE). What we start has its own environment and is dumpable again.
"""

import ctypes
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def hide_environment() -> None:
    """Let nobody but root read this process's environment and memory; it leaves no core dumps either."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
