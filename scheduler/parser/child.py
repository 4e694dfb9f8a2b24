"""The process that reads one DAG file: `python -m ...parser.child FD FILE FOLDER TIMEOUT_SECONDS MEMORY_BYTES`.

It limits itself, runs the file, and writes one `Report` as one line of JSON to the file descriptor FD. Whatever the
file does (prints, exits, loops, eats memory, kills its process) ends in a report, or in none, and then the parent finds
words for it. What is imported here costs its time for every file.
"""

import gc
import os
import resource
import signal
import sys
from types import FrameType
from typing import NoReturn

import msgspec

from .explain import TimeIsUp, explain
from .reading import read_file
from .report import LAST_CHANCE_SECONDS, Limits, Report


def main(arguments: list[str]) -> NoReturn:
    """Read the file that the arguments name, write the report, and end this process."""
    pipe, file, folder = int(arguments[0]), arguments[1], arguments[2]
    limits = Limits(timeout_seconds=float(arguments[3]), memory_bytes=int(arguments[4]))
    os.set_inheritable(pipe, False)
    gc.disable()  # nothing lives long enough here to be worth collecting
    unlimited = _limit(limits)
    try:
        report = read_file(file, folder)
    except BaseException as error:  # noqa: BLE001 - an author can raise anything, and the report is where it goes
        resource.setrlimit(resource.RLIMIT_AS, unlimited)  # to have the memory for saying so
        report = Report(problems=(explain(error, file=file, limits=limits),))
    signal.setitimer(signal.ITIMER_REAL, 0)
    with os.fdopen(pipe, "wb") as stream:
        stream.write(msgspec.json.encode(report) + b"\n")
    os._exit(0)  # threads and exit hooks of the author have nobody left to work for


def _limit(limits: Limits) -> tuple[int, int]:
    """Bound time and memory from here on; return how memory was bounded before."""
    signal.signal(signal.SIGALRM, _end_in_time)
    signal.setitimer(signal.ITIMER_REAL, limits.timeout_seconds)
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, before[1]))
    return before


def _end_in_time(_number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, LAST_CHANCE_SECONDS)
    raise TimeIsUp


if __name__ == "__main__":
    main(sys.argv[1:])
