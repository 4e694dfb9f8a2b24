"""How many children a worker can start and see end in a second, beside what the machine can do at best.

    python benchmarks/child_starts.py [COUNT [SLOTS]]

Starts children through the worker's own spawner, SLOTS at a time: `true`, `python -c pass`, and a function by its
template. Then `true` and `python -c pass` by bare posix_spawn. Says what each start costs in CPU time, which is the
figure to compare on a machine that does other things too.
"""

import json
import os
import queue
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from headway.protocol.calls import digest_of
from headway.worker import template
from headway.worker.children import ChildExit, Children, ChildReport, Launch

ENV = {"PATH": "/usr/bin:/bin"} | {f"HEADWAY_VALUE_{number}": "value" * 4 for number in range(15)}
TRUE = ("/bin/true",)
PYTHON = (sys.executable, "-c", "pass")
FUNCTION = "def function():\n    pass\n"


def through_the_spawner(argv: Sequence[str], count: int, slots: int) -> None:
    """Start children as a worker does; without `argv`, a function."""
    reports: queue.SimpleQueue[ChildReport] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        children = Children(reports.put)
        command = argv or function_in(Path(folder))
        started = ended = 0
        while ended < count:
            while started < min(count, ended + slots):
                children.start(
                    Launch(
                        token=f"t{started}",
                        marker="HEADWAY_OUTPUT=",
                        program=command[0],
                        argv=command,
                        env=ENV | {"HEADWAY_OUTPUT": f"{folder}/t{started}.output"},
                        cwd=None,
                        output=Path(folder) / "log",
                        kind="" if argv else "function",
                    )
                )
                started += 1
            report = reports.get()
            if isinstance(report, ChildExit) and report.code:
                raise SystemExit(f"a child ended with {report.code}: {(Path(folder) / 'log').read_text()}")
            ended += isinstance(report, ChildExit)
        children.close()


def function_in(folder: Path) -> list[str]:
    """Return what calls a function that does nothing."""
    file, call = folder / "code.py", folder / "call"
    file.write_text(FUNCTION)
    call.write_text('{"function": "function", "args": [], "kwargs": {}}')
    code = {"kind": "file", "ref": "code.py", "path": str(file), "search": sys.path, "env": {}}
    code["digest"] = digest_of(FUNCTION.encode())
    return [sys.executable, "-I", "-X", "utf8", template.__file__, json.dumps(code), str(call)]


def bare(argv: Sequence[str], count: int, slots: int) -> None:
    """Start children with nothing around them."""
    started = 0
    for ended in range(count):
        while started < min(count, ended + slots):
            os.posix_spawn(argv[0], argv, ENV)
            started += 1
        os.wait()


def measure(name: str, what: Callable[[int, int], None], count: int, slots: int) -> None:
    """Say how fast it was, and what it cost."""
    before, began = cpu_seconds(), time.perf_counter()
    what(count, slots)
    seconds, spent = time.perf_counter() - began, cpu_seconds() - before
    print(f"{name:30} {count / seconds:6.0f} starts/s  {1000 * spent / count:5.2f} ms of CPU each")


def cpu_seconds() -> float:
    """Return what this process and its ended children have spent."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


if __name__ == "__main__":
    counts = [int(text) for text in sys.argv[1:]]
    counts += [2000, 8][len(counts) :]
    for name, way in (
        ("true", partial(through_the_spawner, TRUE)),
        ("python -c pass", partial(through_the_spawner, PYTHON)),
        ("a function, by template", partial(through_the_spawner, ())),
        ("true, bare", partial(bare, TRUE)),
        ("python -c pass, bare", partial(bare, PYTHON)),
    ):
        measure(name, way, *counts)
