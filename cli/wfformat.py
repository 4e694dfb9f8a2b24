"""Workflows of WfCommons (WfFormat 1.5: traces of real workflows) as DAGs that sleep as long as the tasks once ran.

Only the shape and the times are taken: who waits for whom, and `runtimeInSeconds`. Files, machines and programs of the
trace exist nowhere else.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from headway.protocol.dag import Argv, Dag, Task
from headway.protocol.errors import InvalidDag
from headway.protocol.limits import ID_LENGTH_MAX
from headway.protocol.names import DagId, TaskId

VERSION: Final = "1.5"

_ILLEGAL: Final = re.compile(r"[^A-Za-z0-9_.-]")
_LEGAL: Final = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{ID_LENGTH_MAX - 1}}}")
_SUFFIX: Final = ".json"


class _Specified(msgspec.Struct, frozen=True):
    """A task of the specification; either side of an edge may name it."""

    id: str
    parents: tuple[str, ...] = ()
    children: tuple[str, ...] = ()


class _Executed(msgspec.Struct, frozen=True, rename={"runtime_seconds": "runtimeInSeconds"}):
    """What became of a task when the trace was taken."""

    id: str
    runtime_seconds: float = 0.0


class _Specification(msgspec.Struct, frozen=True):
    tasks: tuple[_Specified, ...]


class _Execution(msgspec.Struct, frozen=True):
    tasks: tuple[_Executed, ...] = ()


class _Workflow(msgspec.Struct, frozen=True):
    specification: _Specification
    execution: _Execution = _Execution()


class _Trace(msgspec.Struct, frozen=True, rename={"schema_version": "schemaVersion"}):
    schema_version: str
    workflow: _Workflow
    name: str = ""


def import_wfformat(text: bytes | str, *, name: str, runtime_factor: float) -> Dag:
    """Return the workflow as a DAG whose id is `name` (a file's name or path will do) made legal.

    Each task sleeps its real seconds times `runtime_factor`; at 0 it is `true`. Task ids stay, with `_` for characters
    that are not legal here. Raises InvalidDag.
    """
    if not 0 <= runtime_factor < float("inf"):
        raise InvalidDag(detail=f"a runtime factor of {runtime_factor} makes no sense: give 0 or more")
    trace = _read(text)
    tasks = trace.workflow.specification.tasks
    seconds = {task.id: task.runtime_seconds for task in trace.workflow.execution.tasks}
    names = _legal_names([task.id for task in tasks])
    upstream = _upstream(tasks)
    return Dag(
        dag_id=DagId(_dag_id(name)),
        description=f"WfFormat {VERSION}: {trace.name or name}",
        tasks=tuple(
            Task(
                task_id=names[task.id],
                command=Argv(args=_command(seconds.get(task.id, 0.0) * runtime_factor, sleeps=runtime_factor > 0)),
                upstream=tuple(names[source] for source in upstream[task.id]),
            )
            for task in tasks
        ),
    )


def _read(text: bytes | str) -> _Trace:
    try:
        trace = msgspec.json.decode(text, type=_Trace)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidDag(detail=f"not a workflow in WfFormat {VERSION}: {error}") from error
    if trace.schema_version != VERSION:
        raise InvalidDag(detail=f"WfFormat {trace.schema_version!r} is not read here, only {VERSION}")
    return trace


def _upstream(tasks: Sequence[_Specified]) -> Mapping[str, Iterable[str]]:
    """Return for each task what it waits for, whichever end of an edge says so."""
    upstream: dict[str, dict[str, None]] = {task.id: dict.fromkeys(task.parents) for task in tasks}
    if len(upstream) < len(tasks):
        raise InvalidDag(detail="the workflow uses a task id twice, so its edges are ambiguous")
    for task in tasks:
        for other in (*task.parents, *task.children):
            if other not in upstream:
                raise InvalidDag(detail=f"task {task.id!r} of the workflow has a neighbour {other!r} that is no task")
        for child in task.children:
            upstream[child][task.id] = None
    return upstream


def _dag_id(name: str) -> str:
    return _make_legal(name.rsplit("/", 1)[-1].removesuffix(_SUFFIX))


def _legal_names(ids: Sequence[str]) -> dict[str, TaskId]:
    """Return a legal and unique name for each id: its own where that is legal."""
    names = {task_id: TaskId(task_id) for task_id in ids if _LEGAL.fullmatch(task_id)}
    taken = set(names.values())
    for task_id in ids:
        if task_id not in names:
            names[task_id] = _free_name(_make_legal(task_id), taken)
            taken.add(names[task_id])
    return names


def _free_name(name: str, taken: set[TaskId]) -> TaskId:
    free, number = name, 1
    while free in taken:
        number += 1
        suffix = f"_{number}"
        free = name[: ID_LENGTH_MAX - len(suffix)] + suffix
    return TaskId(free)


def _make_legal(name: str) -> str:
    legal = _ILLEGAL.sub("_", name)[:ID_LENGTH_MAX]
    return legal if _LEGAL.fullmatch(legal) else f"_{legal[1:]}"


def _command(seconds: float, *, sleeps: bool) -> tuple[str, ...]:
    """Return what a task does: microseconds are all that `sleep` is asked for."""
    return ("sleep", f"{max(0.0, seconds):.6f}".rstrip("0").rstrip(".")) if sleeps else ("true",)
