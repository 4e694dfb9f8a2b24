"""What makes a DAG value legal: a table of checks, each of which yields what it finds.

Every fault is reported, not only the first, up to a bound. Whatever passes here can be run: the scheduler and the
workers check nothing of it again. Time is proportional to tasks and dependencies.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Final

import msgspec

from .dag import Dag, Task, output_sources, over_source
from .graph import Graph, find_cycles, missing_paths
from .limits import DAG_BYTES_MAX, TASKS_PER_DAG_MAX
from .names import TaskId
from .params import param_of, rule_faults
from .placeholders import CONTEXT_NAMES, PARAM_PREFIX
from .task_rules import NO_SUCH_TASK, TASK_CHECKS, Known, json_size, name_fault, suggest
from .time_rules import time_faults

PROBLEMS_MAX: Final = 100
"""Problems that are worth reading at a time; what is found beyond is one more sentence."""

_CYCLE_SHOWN_MAX: Final = 10
"""Tasks of a cycle that are named."""


class Problem(msgspec.Struct, frozen=True):
    """A fault of a DAG in one sentence, and the task it is about, if it is about one."""

    message: str
    task_id: TaskId | None = None


class _View(msgspec.Struct, frozen=True):
    """A DAG and what several checks need of it."""

    dag: Dag
    known: Known
    graph: Graph
    cycles: tuple[tuple[TaskId, ...], ...]


DagCheck = Callable[[_View], Iterable[Problem]]


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
            for fault in check(view.known, task):
                yield Problem(f"task {task.task_id!r}: {fault}", task.task_id)


def _view(dag: Dag) -> _View:
    tasks = {task.task_id: task for task in dag.tasks}
    names = frozenset(tasks)
    graph = {name: _known_sources(task, names) for name, task in tasks.items()}
    params = (PARAM_PREFIX + name for name in dag.params)
    known = Known(tasks, frozenset((*CONTEXT_NAMES, *params)))
    return _View(dag, known, graph, tuple(find_cycles(graph)))


def _known_sources(task: Task, names: frozenset[TaskId]) -> tuple[TaskId, ...]:
    if names.issuperset(task.upstream) and task.task_id not in task.upstream:
        return task.upstream
    return tuple(source for source in task.upstream if source in names and source != task.task_id)


def _check_dag_id(view: _View) -> Iterator[Problem]:
    yield from map(Problem, name_fault("DAG id", view.dag.dag_id))


def _check_task_count(view: _View) -> Iterator[Problem]:
    count = len(view.dag.tasks)
    if not count:
        yield Problem(f"DAG {view.dag.dag_id!r} has no task: make one with shell(), argv() or python()")
    if count > TASKS_PER_DAG_MAX:
        yield Problem(f"DAG {view.dag.dag_id!r} has {count} tasks, and may have {TASKS_PER_DAG_MAX}: split it")


def _check_size(view: _View) -> Iterator[Problem]:
    size = json_size(view.dag)
    if size is not None and size > DAG_BYTES_MAX:
        yield Problem(f"DAG {view.dag.dag_id!r} takes {size} bytes as JSON, and may take {DAG_BYTES_MAX}: split it")


def _check_texts(view: _View) -> Iterator[Problem]:
    dag = view.dag
    if json_size((dag.dag_id, dag.description, dag.owner, dag.tags, dag.params)) is None:
        yield Problem(f"DAG {dag.dag_id!r}: a text in it holds half a character (a lone surrogate): mend it")


def _check_params(view: _View) -> Iterator[Problem]:
    for name, value in view.dag.params.items():
        yield from map(Problem, name_fault("parameter", name))
        yield from map(Problem, rule_faults(name, param_of(value)))


def _check_time(view: _View) -> Iterator[Problem]:
    dag = view.dag
    for fault in time_faults(dag):
        yield Problem(f"DAG {dag.dag_id!r}: {fault}")


def _check_limits(view: _View) -> Iterator[Problem]:
    most = view.dag.max_active_tasks
    if most is not None and not 1 <= most <= TASKS_PER_DAG_MAX:
        yield Problem(f"max_active_tasks is {most}, and may be from 1 to {TASKS_PER_DAG_MAX}")


def _check_duplicates(view: _View) -> Iterator[Problem]:
    seen: set[TaskId] = set()
    for task in view.dag.tasks:
        if task.task_id in seen:
            yield Problem(f"task id {task.task_id!r} is used more than once: give each task its own", task.task_id)
        seen.add(task.task_id)


def _check_cycles(view: _View) -> Iterator[Problem]:
    for cycle in view.cycles:
        shown = [repr(task) for task in cycle[:_CYCLE_SHOWN_MAX]] + ["..."] * (len(cycle) > _CYCLE_SHOWN_MAX)
        path = " -> ".join((*shown, repr(cycle[0])))
        yield Problem(f"{len(cycle)} tasks wait for each other, {path}: remove one of these dependencies", cycle[0])


def _check_sources(view: _View) -> Iterator[Problem]:
    """Tasks may take outputs from afar, along a path. Beside a cycle there is no path to speak of."""
    tasks = view.known.tasks
    far: list[tuple[TaskId, TaskId]] = []
    for name, task in tasks.items():
        over = over_source(task)
        sources = output_sources(task) | ({over} if over is not None else set())
        for source in sorted(sources.difference(task.upstream)):
            if source == name:
                yield Problem(f"task {name!r}: it takes its own output", name)
            elif source in tasks:
                far.append((name, source))
            else:
                near = suggest(source, tasks)
                yield Problem(f"task {name!r}: it takes the output of {source!r}, {NO_SUCH_TASK}{near}", name)
    for name, source in missing_paths(view.graph, far) if not view.cycles else ():
        fault = f"it takes the output of {source!r}, which is not upstream: let it wait for {source!r}"
        yield Problem(f"task {name!r}: {fault}", name)


DAG_CHECKS: Final[tuple[DagCheck, ...]] = (
    _check_dag_id,
    _check_task_count,
    _check_size,
    _check_texts,
    _check_params,
    _check_time,
    _check_limits,
    _check_duplicates,
    _check_cycles,
    _check_sources,
)
