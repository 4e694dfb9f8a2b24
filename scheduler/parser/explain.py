"""What an author reads when a DAG file fails while it is run: one sentence, at a line of the file.

A table from exceptions to sentences. The line is the innermost one of the DAG file itself; where the fault lies deeper,
in a module beside it, the sentence says so.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from headway.protocol.durations import format_duration
from headway.protocol.errors import HeadwayError

from .report import FIRST_LINE, FileProblem, Limits

_MESSAGE_LENGTH_MAX: Final = 1_000
"""Characters of an author's exception that are repeated."""

_MIB: Final = 1024 * 1024


class TimeIsUp(BaseException):
    """The file was not read in time. Not an Exception, so that an author's `except Exception` lets it pass."""


def explain(error: BaseException, *, file: str, limits: Limits) -> FileProblem:
    """Return the problem that `error`, raised while `file` was read, is to its author."""
    say = next(say for kind, say in SENTENCES if isinstance(error, kind))
    line, elsewhere = _locate(error, file)
    text = say(error, limits)
    cut = text if len(text) <= _MESSAGE_LENGTH_MAX else f"{text[:_MESSAGE_LENGTH_MAX]} ..."
    return FileProblem(line=line, message=cut + elsewhere)


def say_time_is_up(limits: Limits) -> str:
    """Return the sentence about a file that takes too long."""
    return (
        f"the file is not read after {format_duration(limits.timeout_seconds)}: let it describe tasks only, "
        "and do the work inside a task"
    )


def _say_memory(_: BaseException, limits: Limits) -> str:
    return (
        f"the file needs more than the {limits.memory_bytes // _MIB} MiB of memory that reading it may take: "
        "let it describe tasks only, and load data inside a task"
    )


def _say_syntax(error: BaseException, _: Limits) -> str:
    return f"syntax error: {getattr(error, 'msg', '')}"


def _say_no_module(error: BaseException, _: Limits) -> str:
    return f"{_text(error)}: install it for the Python of the scheduler, or put it beside the DAG file"


def _say_own(error: BaseException, _: Limits) -> str:
    return _text(error)


def _say_any(error: BaseException, _: Limits) -> str:
    return f"{type(error).__name__}: {_text(error)}"


SENTENCES: Final[tuple[tuple[type[BaseException], Callable[[BaseException, Limits], str]], ...]] = (
    (TimeIsUp, lambda _, limits: say_time_is_up(limits)),
    (MemoryError, _say_memory),
    (SystemExit, lambda _, __: "the file ends its own process here (sys.exit): remove the call"),
    (SyntaxError, _say_syntax),
    (ModuleNotFoundError, _say_no_module),
    (HeadwayError, _say_own),
    (BaseException, _say_any),
)
"""From the particular to the general; the first row that fits speaks."""


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an author's __str__ may raise anything
        return "(its text cannot be read)"


def _locate(error: BaseException, file: str) -> tuple[int, str]:
    """Return the line of `file` that led to the error, and in brackets where else the fault lies, if it does."""
    places = list(_places(error))
    line = next((line for name, line in reversed(places) if name == file), FIRST_LINE)
    folder = str(Path(file).parent)
    beside = [(name, number) for name, number in places if str(Path(name).parent) == folder]
    name, number = beside[-1] if beside else (file, line)
    return line, "" if name == file else f" (in {Path(name).name}, line {number})"


def _places(error: BaseException) -> Iterator[tuple[str, int]]:
    """Yield file and line of each call that led to the error, the innermost last."""
    step: TracebackType | None = error.__traceback__
    while step is not None:
        yield step.tb_frame.f_code.co_filename, step.tb_lineno
        step = step.tb_next
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        yield error.filename, error.lineno
