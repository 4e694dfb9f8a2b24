"""What makes a DAG value legal: a table of checks, each of which yields what it finds.

Every fault is reported, not only the first, up to a bound. Whatever passes here can be run: the scheduler and the
workers check nothing of it again. Time is proportional to tasks and dependencies.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Final

import msgspec

from .dag import Argv, Dag, OutputRef, Shell, Task, output_sources
from .durations import format_duration
from .errors import InvalidName
from .graph import find_cycles, missing_paths
from .keywords import DURATIONS, did_you_mean
from .limits import COMMAND_BYTES_MAX, DAG_BYTES_MAX, DURATION_SECONDS_MAX, RETRIES_MAX, TASKS_PER_DAG_MAX
from .names import TaskId, check_name
from .placeholders import CONTEXT_NAMES, OPENING, PARAM_PREFIX, is_closed, names_in

PROBLEMS_MAX: Final = 100
"""Problems that are worth reading at a time; what is found beyond is one more sentence."""

PRIORITY_MAX: Final = 1_000
"""Priorities go from minus to plus this: enough for every order, small enough for every column."""

BACKOFF_MAX: Final = 100.0
"""A retry delay that grows faster reaches its maximum at once, so a larger factor is a typing error."""

TIMEOUT_SECONDS_MIN: Final = 0.001
"""A timeout of zero would end every attempt."""

OWN_ENV_PREFIX: Final = "HEADWAY_"
"""Environment variables that Headway sets itself."""

_SUGGEST_AMONG_MAX: Final = 1_000
"""Names among which a misspelt one is looked up: it costs about 5 microseconds each."""

_CYCLE_SHOWN_MAX: Final = 10
"""Tasks of a cycle that are named."""

_encoder: Final = msgspec.json.Encoder()


class Problem(msgspec.Struct, frozen=True):
    """A fault of a DAG in one sentence, and the task it is about, if it is about one."""

    message: str
    task_id: TaskId | None = None


class _View(msgspec.Struct, frozen=True):
    """A DAG and what several checks need of it."""

    dag: Dag
    tasks: dict[TaskId, Task]
    graph: dict[TaskId, tuple[TaskId, ...]]
    placeholders: frozenset[str]


DagCheck = Callable[[_View], Iterable[Problem]]
TaskCheck = Callable[[_View, Task], Iterable[str]]


def validate(dag: Dag) -> tuple[Problem, ...]:
    """Return all that is wrong with the DAG, or nothing."""
    found = tuple(islice(_problems(_view(dag)), PROBLEMS_MAX + 1))
    if len(found) <= PROBLEMS_MAX:
        return found
    return (*found[:PROBLEMS_MAX], Problem(f"there are more than {PROBLEMS_MAX} problems; these are the first"))


def _problems(view: _View) -> Iterator[Problem]:
    yield from chain.from_iterable(check(view) for check in DAG_CHECKS)
    for task in view.dag.tasks:
        for check in TASK_CHECKS:
            for fault in check(view, task):
                yield Problem(f"task {task.task_id!r}: {fault}", task.task_id)


def _view(dag: Dag) -> _View:
    tasks = {task.task_id: task for task in dag.tasks}
    known = tasks.keys()
    graph = {
        name: tuple(source for source in task.upstream if source != name and source in known)
        for name, task in tasks.items()
    }
    params = (PARAM_PREFIX + name for name in dag.params)
    return _View(dag, tasks, graph, frozenset((*CONTEXT_NAMES, *params)))


# --- the DAG as a whole -----------------------------------------------------------------------------------------------


def _check_dag_id(view: _View) -> Iterator[Problem]:
    yield from map(Problem, _name_fault("DAG id", view.dag.dag_id))


def _check_task_count(view: _View) -> Iterator[Problem]:
    count = len(view.dag.tasks)
    if not count:
        yield Problem(f"DAG {view.dag.dag_id!r} has no task: make one with shell() or argv()")
    if count > TASKS_PER_DAG_MAX:
        yield Problem(f"DAG {view.dag.dag_id!r} has {count} tasks, and may have {TASKS_PER_DAG_MAX}: split it")


def _check_size(view: _View) -> Iterator[Problem]:
    size = _size(view.dag)
    if size is not None and size > DAG_BYTES_MAX:
        yield Problem(f"DAG {view.dag.dag_id!r} takes {size} bytes as JSON, and may take {DAG_BYTES_MAX}: split it")


def _check_texts(view: _View) -> Iterator[Problem]:
    dag = view.dag
    if _size((dag.dag_id, dag.description, dag.owner, dag.tags, dag.params)) is None:
        yield Problem(f"DAG {dag.dag_id!r}: a text in it holds half a character (a lone surrogate): mend it")


def _check_params(view: _View) -> Iterator[Problem]:
    for name, value in view.dag.params.items():
        yield from map(Problem, _name_fault("parameter", name))
        if isinstance(value, float) and not math.isfinite(value):
            yield Problem(f"parameter {name!r} is {value}, which JSON cannot say")
        if isinstance(value, str) and "\0" in value:
            yield Problem(f"parameter {name!r} holds a NUL character, which no environment variable can")


def _check_duplicates(view: _View) -> Iterator[Problem]:
    seen: set[TaskId] = set()
    for task in view.dag.tasks:
        if task.task_id in seen:
            yield Problem(f"task id {task.task_id!r} is used more than once: give each task its own", task.task_id)
        seen.add(task.task_id)


def _check_cycles(view: _View) -> Iterator[Problem]:
    for cycle in find_cycles(view.graph):
        shown = " -> ".join((*cycle[:_CYCLE_SHOWN_MAX], *([] if len(cycle) <= _CYCLE_SHOWN_MAX else ["..."]), cycle[0]))
        yield Problem(f"{len(cycle)} tasks wait for each other: {shown}: remove one of these dependencies", cycle[0])


def _check_output_paths(view: _View) -> Iterator[Problem]:
    """Tasks may take outputs from afar; that needs a path. In a cycle there is none to speak of."""
    far = (
        (task.task_id, source)
        for task in view.dag.tasks
        for source in sorted(output_sources(task).difference(task.upstream, {task.task_id}))
        if source in view.tasks
    )
    if next(find_cycles(view.graph), None) is None:
        for task_id, source in missing_paths(view.graph, far):
            yield Problem(
                f"task {task_id!r} takes the output of {source!r}, which is not upstream: let it wait for {source!r}",
                task_id,
            )


DAG_CHECKS: Final[tuple[DagCheck, ...]] = (
    _check_dag_id,
    _check_task_count,
    _check_size,
    _check_texts,
    _check_params,
    _check_duplicates,
    _check_cycles,
    _check_output_paths,
)


# --- one task ---------------------------------------------------------------------------------------------------------


def _check_names(_: _View, task: Task) -> Iterator[str]:
    yield from _name_fault("task id", task.task_id)
    yield from _name_fault("queue", task.queue)


def _check_upstream(view: _View, task: Task) -> Iterator[str]:
    seen: set[TaskId] = set()
    for source in task.upstream:
        if source == task.task_id:
            yield "it waits for itself"
        elif source in seen:
            yield f"it waits for {source!r} more than once"
        elif source not in view.tasks:
            yield f"it waits for {source!r}, which is no task of this DAG{_suggest(source, view.tasks)}"
        seen.add(source)


def _check_sources(view: _View, task: Task) -> Iterator[str]:
    for source in sorted(output_sources(task)):
        if source == task.task_id:
            yield "it takes its own output"
        elif source not in view.tasks:
            yield f"it takes the output of {source!r}, which is no task of this DAG{_suggest(source, view.tasks)}"


def _check_command(view: _View, task: Task) -> Iterator[str]:
    match task.command:
        case Shell(script=script):
            yield from _script_faults(script)
        case Argv(args=args):
            yield from _args_faults(args, view.placeholders)


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


def _args_faults(args: tuple[str | OutputRef, ...], known: frozenset[str]) -> Iterator[str]:
    if not args or args[0] == "":
        yield "its argv is empty: the first argument names the program"
    for arg in (arg for arg in args if isinstance(arg, str)):
        if "\0" in arg:
            yield f"its argument {arg!r} holds a NUL character"
        if OPENING not in arg:
            continue
        if not is_closed(arg):
            yield f"its argument {arg!r} holds '{{{{' without a name and '}}}}'"
        for name in names_in(arg):
            if name not in known:
                near = did_you_mean(name, known)
                yield f"there is no placeholder {name!r}{near}; there are {', '.join(sorted(known))}"


def _check_command_size(_: _View, task: Task) -> Iterator[str]:
    size = _size((task.command, task.env, task.cwd))
    if size is None:
        yield "a text in it holds half a character (a lone surrogate): mend it"
    elif size > COMMAND_BYTES_MAX:
        yield (
            f"its command and environment take {size} bytes, and may take {COMMAND_BYTES_MAX}: "
            "put the script into a file"
        )


def _check_environment(_: _View, task: Task) -> Iterator[str]:
    for name, value in task.env.items():
        yield from _name_fault("environment variable", name)
        if name.startswith(OWN_ENV_PREFIX):
            yield f"it sets {name}, and names that start with {OWN_ENV_PREFIX} are Headway's own"
        if "\0" in value:
            yield f"its environment variable {name} holds a NUL character"
    if task.cwd is not None and (not task.cwd or "\0" in task.cwd):
        yield f"cwd {task.cwd!r} is no folder"


RANGES: Final[tuple[tuple[str, float, float], ...]] = (
    ("priority", -PRIORITY_MAX, PRIORITY_MAX),
    ("retries", 0, RETRIES_MAX),
    ("retry_delay", 0, DURATION_SECONDS_MAX),
    ("retry_backoff", 1, BACKOFF_MAX),
    ("retry_delay_max", 0, DURATION_SECONDS_MAX),
    ("infra_retries", 0, RETRIES_MAX),
    ("queued_timeout", TIMEOUT_SECONDS_MIN, DURATION_SECONDS_MAX),
    ("timeout", TIMEOUT_SECONDS_MIN, DURATION_SECONDS_MAX),
)
"""What a number may be, bounds included; one that is absent is always right."""


def _check_ranges(_: _View, task: Task) -> Iterator[str]:
    for name, low, high in RANGES:
        value = getattr(task, name)
        if value is not None and not low <= value <= high:
            write = format_duration if name in DURATIONS else "{:g}".format
            yield f"{name} is {value:g}, and may be from {write(low)} to {write(high)}"
    if task.retry_delay > task.retry_delay_max:
        yield (
            f"retry_delay {format_duration(task.retry_delay)} is above retry_delay_max "
            f"{format_duration(task.retry_delay_max)}: raise retry_delay_max"
        )


TASK_CHECKS: Final[tuple[TaskCheck, ...]] = (
    _check_names,
    _check_upstream,
    _check_sources,
    _check_command,
    _check_command_size,
    _check_environment,
    _check_ranges,
)


def _name_fault(what: str, value: str) -> Iterator[str]:
    try:
        check_name(what, value)
    except InvalidName as error:
        yield str(error)


def _suggest(name: str, known: Iterable[str]) -> str:
    known = tuple(known)
    return did_you_mean(name, known) if len(known) <= _SUGGEST_AMONG_MAX else ""


def _size(value: object) -> int | None:
    """Return the bytes of a value as JSON, or None if it holds a text that has no UTF-8."""
    try:
        return len(_encoder.encode(value))
    except UnicodeEncodeError:
        return None
