"""What the end of a task's process means: a table from exit code to outcome, the author's own rows first.

An author says `exit_codes={3: "retry", 4: "fail"}`. What is not said is 0 success, 99 skip, 75 "not yet" for a task
that polls, and any other code a failure, which is tried again while `retries` are left and `retry_on` allows it. Both
keywords are read from what an author wrote here; `scheduler/core/attempts.py` applies them.
"""

from collections.abc import Mapping
from typing import Final, get_args

from .dag import ExitOutcome, Task
from .errors import InvalidDag
from .states import EndReason

EXIT_CODE_MAX: Final = 255
"""What a process of POSIX can exit with."""

SKIP_CODE: Final = 99
"""As with Airflow's BashOperator."""

POLL_CODE: Final = 75
"""EX_TEMPFAIL of sysexits.h: try again later."""

RETRY_WORDS: Final = tuple(
    str(reason)
    for reason in (
        EndReason.SIGNAL,
        EndReason.OUT_OF_MEMORY,
        EndReason.TIMEOUT,
        EndReason.NOT_STARTED,
        EndReason.BAD_OUTPUT,
        EndReason.BAD_INPUT,
    )
)
"""What may stand in `retry_on` beside exit codes: the ends of an attempt that have none, and are the task's doing."""

_OUTCOMES: Final = get_args(ExitOutcome)


def outcome_of(task: Task, exit_code: int | None) -> ExitOutcome:
    """Return what an exit code of a task means."""
    if exit_code is None:
        return "retry"
    said = task.exit_codes.get(exit_code)
    if said is not None:
        return said
    if exit_code == 0:
        return "success"
    if exit_code == SKIP_CODE:
        return "skip"
    if exit_code == POLL_CODE and task.poll_every is not None:
        return "poll"
    return "retry" if may_retry(task, exit_code) else "fail"


def may_retry(task: Task, end: int | str) -> bool:
    """Say whether a failure of this exit code, or for this reason, may spend one of the task's retries."""
    return task.retry_on is None or end in task.retry_on


def success_codes(task: Task) -> tuple[int, ...]:
    """Return the exit codes that mean success: with another one nothing is handed to other tasks."""
    return tuple(sorted(code for code in {0, *task.exit_codes} if outcome_of(task, code) == "success"))


def read_exit_codes(value: object, where: str) -> dict[int, str]:
    """Return a table as an author wrote it, keys as numbers or as text; raise InvalidDag."""
    if not isinstance(value, Mapping):
        raise InvalidDag(detail=f"{where}: exit_codes: expected a mapping, got {value!r}", word="exit_codes")
    table: dict[int, str] = {}
    for key, outcome in value.items():
        code = _exit_code(int(key) if isinstance(key, str) and key.isascii() and key.isdigit() else key)
        if code is None:
            raise InvalidDag(
                detail=f"{where}: exit_codes: {key!r} is no exit code: they go from 0 to 255", word="exit_codes"
            )
        if outcome not in _OUTCOMES:
            legal = ", ".join(repr(one) for one in _OUTCOMES)
            detail = f"{where}: exit_codes: {outcome!r}, said of exit code {code}, is none of {legal}"
            raise InvalidDag(detail=detail, word="exit_codes")
        if code in table:
            raise InvalidDag(detail=f"{where}: exit_codes: exit code {code} stands there twice", word="exit_codes")
        table[code] = outcome
    return table


def read_retry_on(value: object, where: str) -> list[int | str] | None:
    """Return what may be tried again as an author wrote it; raise InvalidDag."""
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise InvalidDag(detail=f"{where}: retry_on: expected a list, got {value!r}", word="retry_on")
    for one in value:
        if one not in RETRY_WORDS and _exit_code(one) is None:
            legal = ", ".join(repr(word) for word in RETRY_WORDS)
            detail = f"{where}: retry_on: {one!r} is neither an exit code from 0 to 255 nor one of {legal}"
            raise InvalidDag(detail=detail, word="retry_on")
    return list(value)


def _exit_code(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= EXIT_CODE_MAX else None
