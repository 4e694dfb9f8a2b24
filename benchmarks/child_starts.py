"""How many children a worker can start and see end in a second, beside what the machine can do at best.

    python benchmarks/child_starts.py [COUNT [SLOTS]]

Starts `true` through the worker's own spawner, SLOTS at a time, and then by bare posix_spawn; says what each start
costs in CPU time, which is the figure to compare on a machine that does other things too.
"""

import os
import queue
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from headway.worker.children import ChildExit, Children, ChildReport, Launch

ENV = {"PATH": "/usr/bin:/bin"} | {f"HEADWAY_VALUE_{number}": "value" * 4 for number in range(15)}


def through_the_spawner(count: int, slots: int) -> None:
    """Start children as a worker does."""
    reports: queue.SimpleQueue[ChildReport] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        children = Children(reports.put)
        started = ended = 0
        while ended < count:
            while started < min(count, ended + slots):
                children.start(
                    Launch(
                        token=f"t{started}",
                        marker="HEADWAY_VALUE_0=",
                        program="/bin/true",
                        argv=["true"],
                        env=ENV,
                        cwd=None,
                        output=Path(folder) / "log",
                    )
                )
                started += 1
            ended += isinstance(reports.get(), ChildExit)
        children.close()


def bare(count: int, slots: int) -> None:
    """Start children with nothing around them."""
    started = 0
    for ended in range(count):
        while started < min(count, ended + slots):
            os.posix_spawn("/bin/true", ["true"], ENV)
            started += 1
        os.wait()


def measure(what: Callable[[int, int], None], count: int, slots: int) -> None:
    """Say how fast it was, and what it cost."""
    before, began = cpu_seconds(), time.perf_counter()
    what(count, slots)
    seconds, spent = time.perf_counter() - began, cpu_seconds() - before
    print(f"{what.__name__:20} {count / seconds:6.0f} starts/s  {1000 * spent / count:5.2f} ms of CPU each")


def cpu_seconds() -> float:
    """Return what this process and its ended children have spent."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


if __name__ == "__main__":
    counts = [int(text) for text in sys.argv[1:]]
    for way in (through_the_spawner, bare):
        measure(way, *(counts + [2000, 8][len(counts) :]))
