"""What makes one task of a DAG legal: a table of checks, each of which yields the faults that it finds.

`validation.py` applies them to every task and adds what concerns the DAG as a whole.
"""

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Final

import msgspec

from .dag import Argv, ItemRef, OutputRef, Python, Shell, Task, refs_of
from .durations import format_duration
from .errors import InvalidName
from .exit_codes import POLL_CODE, outcome_of
from .keywords import DURATIONS, did_you_mean
from .limits import (
    COMMAND_BYTES_MAX,
    DURATION_SECONDS_MAX,
    ITEM_BYTES_MAX,
    MAP_ITEMS_MAX,
    OVER_BYTES_MAX,
    POOL_SLOTS_MAX,
    RETRIES_MAX,
    TASKS_PER_DAG_MAX,
)
from .names import TaskId, check_name
from .placeholders import ITEM_NAME, OPENING, names_in

PRIORITY_MAX: Final = 1_000
"""Priorities go from minus to plus this: enough for every order, small enough for every column."""

BACKOFF_MAX: Final = 100.0
"""A retry delay that grows faster reaches its maximum at once, so a larger factor is a typing error."""

TIMEOUT_SECONDS_MIN: Final = 0.001
"""A timeout of zero would end every attempt."""

POLL_SECONDS_MIN: Final = 0.1
"""Each poll is a process, a round trip through the broker and four transactions."""

OWN_ENV_PREFIX: Final = "HEADWAY_"
"""Environment variables that Headway sets itself."""

INHERITED_ENV: Final = ("PATH", "HOME", "LANG", "TZ")
"""What a child gets of its worker's environment."""

NO_SUCH_TASK: Final = "which is no task of this DAG"

_SUGGEST_AMONG_MAX: Final = 300
"""Names among which a misspelt one is looked up: each costs 40 microseconds, for each fault."""

_encoder: Final = msgspec.json.Encoder()


class Known(msgspec.Struct, frozen=True):
    """What a task may refer to."""

    tasks: dict[TaskId, Task]
    placeholders: frozenset[str]


TaskCheck = Callable[[Known, Task], Iterable[str]]


def _check_names(_: Known, task: Task) -> Iterator[str]:
    yield from name_fault("task id", task.task_id)
    yield from name_fault("queue", task.queue)
    if task.pool is not None:
        yield from name_fault("pool", task.pool)
    elif task.pool_slots != 1:
        yield f"it takes {task.pool_slots} slots of no pool: name its pool"


def _check_upstream(known: Known, task: Task) -> Iterator[str]:
    seen: set[TaskId] = set()
    for source in task.upstream:
        if source == task.task_id:
            yield "it waits for itself"
        elif source in seen:
            yield f"it waits for {source!r} more than once"
        elif source not in known.tasks:
            yield f"it waits for {source!r}, {NO_SUCH_TASK}{suggest(source, known.tasks)}"
        seen.add(source)


def _check_command(known: Known, task: Task) -> Iterator[str]:
    match task.command:
        case Shell(script=script):
            yield from _script_faults(script)
        case Argv(args=args):
            names = known.placeholders if task.over is None else known.placeholders | {ITEM_NAME}
            yield from _args_faults(args, names)
        case Python() if task.code is None:
            yield "it does not say where its function stands"
    refs = refs_of(task.command)
    for ref in refs + ([task.over] if isinstance(task.over, OutputRef) else []):
        yield from _ref_faults(known, ref)
    if task.over is None and any(isinstance(ref, ItemRef) for ref in refs):
        yield "it takes an item, and only a task with `over` has one"


def _ref_faults(known: Known, ref: OutputRef | ItemRef) -> Iterator[str]:
    source = known.tasks.get(ref.task_id) if isinstance(ref, OutputRef) else None
    into = f"the output of {ref.task_id!r}" if isinstance(ref, OutputRef) else "its item"
    if any(isinstance(step, int) and step < 0 for step in ref.path):
        yield f"the path {list(ref.path)!r} into {into} counts from the end: count from 0"
    if source is not None and source.over is not None and ref.path and isinstance(ref.path[0], str):
        yield f"the path {list(ref.path)!r} into {into} has no index: that task is mapped, and its output is a list"


def _script_faults(script: str) -> Iterator[str]:
    if not script.strip():
        yield "its script is empty"
    if OPENING in script:
        yield (
            "its script holds '{{', but scripts are never rendered: use environment variables such as $HEADWAY_DS, "
            "or an argv task"
        )
    if "\0" in script:
        yield "its script holds a NUL character"


def _args_faults(args: tuple[str | OutputRef | ItemRef, ...], names: frozenset[str]) -> Iterator[str]:
    if not args or args[0] == "":
        yield "its argv is empty: the first argument names the program"
    for arg in args:
        if isinstance(arg, str) and "\0" in arg:
            yield f"its argument {arg!r} holds a NUL character"
        if isinstance(arg, str) and OPENING in arg:
            yield from _placeholder_faults(arg, names)


def _placeholder_faults(arg: str, known: frozenset[str]) -> Iterator[str]:
    names = names_in(arg)
    if arg.count(OPENING) != len(names):
        yield f"its argument {arg!r} holds '{{{{' without a name and '}}}}'"
    for name in names:
        if name not in known:
            near = did_you_mean(name, sorted(known))
            yield f"there is no placeholder {name!r}{near}; there are {', '.join(sorted(known))}"


def _check_command_size(_: Known, task: Task) -> Iterator[str]:
    size = json_size((task.command, task.env, task.cwd))
    if size is None:
        yield "a text in it holds half a character (a lone surrogate): mend it"
    elif size > COMMAND_BYTES_MAX:
        yield (
            f"its command and environment take {size} bytes, and may take {COMMAND_BYTES_MAX}: "
            "put the script into a file"
        )


def _check_environment(_: Known, task: Task) -> Iterator[str]:
    for name, value in task.env.items():
        yield from name_fault("environment variable", name)
        if name.startswith(OWN_ENV_PREFIX):
            yield f"it sets {name!r}, and names that start with {OWN_ENV_PREFIX} are Headway's own"
        if "\0" in value:
            yield f"its environment variable {name!r} holds a NUL character"
    if task.cwd is not None and (not task.cwd or "\0" in task.cwd):
        yield f"cwd {task.cwd!r} is no folder"


def _check_secrets(_: Known, task: Task) -> Iterator[str]:
    seen = set(task.env)
    for name in task.secrets:
        yield from name_fault("secret", name)
        if name.startswith(OWN_ENV_PREFIX) or name in INHERITED_ENV:
            yield f"it names the secret {name!r}, and this environment variable is set by Headway"
        if name in seen:
            yield f"it sets the environment variable {name!r} twice: it is named by its secrets"
        seen.add(name)


def _check_over(_: Known, task: Task) -> Iterator[str]:
    if not isinstance(task.over, tuple):
        return
    if not 1 <= len(task.over) <= MAP_ITEMS_MAX:
        yield f"it is mapped over a list of {len(task.over)} items, and may be over 1 to {MAP_ITEMS_MAX}"
    total = 0
    for index, one in enumerate(task.over):
        size = json_size(one)
        if size is None:
            yield f"item {index} of `over` holds half a character (a lone surrogate): mend it"
        elif size > ITEM_BYTES_MAX:
            yield f"item {index} of `over` takes {size} bytes, and may take {ITEM_BYTES_MAX}: {_USE_FILES}"
        elif isinstance(one, str) and "\0" in one:
            yield f"item {index} of `over` holds a NUL character, which no environment variable can"
        total += size or 0
    if total > OVER_BYTES_MAX:
        yield f"the list that it is mapped over takes {total} bytes, and may take {OVER_BYTES_MAX}: {_USE_FILES}"


_USE_FILES: Final = "put the data into files and map over their names"

RANGES: Final[tuple[tuple[str, float, float], ...]] = (
    ("priority", -PRIORITY_MAX, PRIORITY_MAX),
    ("pool_slots", 1, POOL_SLOTS_MAX),
    ("max_active", 1, TASKS_PER_DAG_MAX),
    ("max_active_per_run", 1, TASKS_PER_DAG_MAX),
    ("retries", 0, RETRIES_MAX),
    ("retry_delay", 0, DURATION_SECONDS_MAX),
    ("retry_backoff", 1, BACKOFF_MAX),
    ("retry_delay_max", 0, DURATION_SECONDS_MAX),
    ("retry_timeout", TIMEOUT_SECONDS_MIN, DURATION_SECONDS_MAX),
    ("poll_every", POLL_SECONDS_MIN, DURATION_SECONDS_MAX),
    ("poll_timeout", TIMEOUT_SECONDS_MIN, DURATION_SECONDS_MAX),
    ("infra_retries", 0, RETRIES_MAX),
    ("queued_timeout", TIMEOUT_SECONDS_MIN, DURATION_SECONDS_MAX),
    ("timeout", TIMEOUT_SECONDS_MIN, DURATION_SECONDS_MAX),
    ("deadline", TIMEOUT_SECONDS_MIN, DURATION_SECONDS_MAX),
)
"""What a number may be, bounds included; one that is absent is always right."""

_ranged: Final = attrgetter(*(name for name, _, _ in RANGES))


def _check_ranges(_: Known, task: Task) -> Iterator[str]:
    for (name, low, high), value in zip(RANGES, _ranged(task), strict=True):
        if value is not None and not low <= value <= high:
            write = format_duration if name in DURATIONS else "{:g}".format
            yield f"{name} is {value:g}, and may be from {write(low)} to {write(high)}"
    if task.retry_delay > task.retry_delay_max:
        yield (
            f"retry_delay {format_duration(task.retry_delay)} is above retry_delay_max "
            f"{format_duration(task.retry_delay_max)}: raise retry_delay_max"
        )


def _check_polling(_: Known, task: Task) -> Iterator[str]:
    if task.poll_every is not None:
        if not any(outcome_of(task, code) == "poll" for code in (*task.exit_codes, POLL_CODE)):
            yield f"it says poll_every, and no exit code means 'poll': its exit_codes give {POLL_CODE} another meaning"
        return
    if task.poll_timeout is not None:
        yield "it says poll_timeout without poll_every, how often to ask"
    for code, outcome in task.exit_codes.items():
        if outcome == "poll":
            yield f"its exit code {code} means 'poll', and poll_every does not say how often to ask"


def _check_role(_: Known, task: Task) -> Iterator[str]:
    if task.setup and task.teardown:
        yield "it is a setup and a teardown: make two tasks"
    if task.branch and task.over is not None:
        yield "it is a branch and mapped: let one task choose, behind the mapped one"
    if task.branch and (task.setup or task.teardown):
        yield f"it is a branch and a {'setup' if task.setup else 'teardown'}: make two tasks"
    if task.teardown and task.trigger_rule not in ("all_success", "all_done_setup_success"):
        yield f"its trigger_rule is {task.trigger_rule!r}, and that of a teardown is always 'all_done_setup_success'"
    if task.on_failure_fail_dagrun and not task.teardown:
        yield "on_failure_fail_dagrun is for a teardown: any other task fails the run anyway"


TASK_CHECKS: Final[tuple[TaskCheck, ...]] = (
    _check_names,
    _check_upstream,
    _check_command,
    _check_command_size,
    _check_environment,
    _check_secrets,
    _check_over,
    _check_ranges,
    _check_polling,
    _check_role,
)


def name_fault(what: str, value: str) -> Iterator[str]:
    """Yield what is wrong with a name of this kind, or nothing."""
    try:
        check_name(what, value)
    except InvalidName as error:
        yield str(error)


def suggest(name: str, known: Iterable[str]) -> str:
    """Return what may have been meant by `name`, if there are not too many to choose from."""
    known = tuple(known)
    return did_you_mean(name, known) if len(known) <= _SUGGEST_AMONG_MAX else ""


def json_size(value: object) -> int | None:
    """Return the bytes of a value as JSON, or None if it holds a text that has no UTF-8."""
    try:
        return len(_encoder.encode(value))
    except UnicodeEncodeError:
        return None
