"""Waiting for what processes do: their end, and what they write."""

import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SECONDS_MAX = 60.0
"""How long anything may take, on a machine that is busy with other things and stands still at times."""

_PAUSE_SECONDS = 0.01


def assert_dead(*pids: int | str) -> None:
    """Wait until none of these processes runs; a zombie that nobody reaps is dead enough."""
    for pid in map(int, pids):
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            ready, _, _ = select.select([handle], [], [], SECONDS_MAX)
        finally:
            os.close(handle)
        assert ready, f"process {pid} is still alive"


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started and that are not gone."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_lines(path: Path, count: int) -> list[str]:
    """Wait until a file has this many lines, by looking again: a file has no bell."""
    return look(lambda: path.read_text().splitlines() if path.exists() else [], lambda lines: len(lines) >= count)


def wait_for_files(folder: Path, pattern: str, count: int) -> list[Path]:
    """Wait until a folder has this many files of a pattern."""
    return look(lambda: list(folder.glob(pattern)), lambda files: len(files) == count)


def look(read: Callable[[], list[T]], is_enough: Callable[[list[T]], bool]) -> list[T]:
    """Read again and again until it is enough, and return that: for what has no bell."""
    deadline = time.monotonic() + SECONDS_MAX
    while not is_enough(found := read()):
        assert time.monotonic() < deadline, f"after {SECONDS_MAX:g} s there is {found}"
        select.select([], [], [], _PAUSE_SECONDS)
    return found
