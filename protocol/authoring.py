"""What a DAG file in Python is written with: `DAG`, `shell`, `argv`, `python`, `group`, arrows and outputs.

    with DAG("nightly_sales", defaults={"retries": 2}) as dag:
        extract = shell("extract", "sales-extract --day $HEADWAY_DS", queue="io", timeout="1h")
        load = argv("load", ["sales-load", "--day", "{{ ds }}", "--rows", extract.output["rows"]])
        extract >> load

Nothing happens but that objects are made: no registry, no file, no clock. A file's DAGs are those that its names lead
to. `DAG.build` turns the objects into the value of `dag.py`; `validation.py` then judges the value.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar, Token
from datetime import date
from types import FrameType, TracebackType
from typing import Any, Final, Literal, NoReturn, Self, TypedDict, Unpack, cast

import msgspec

from .arrows import Node, Waiter, nodes_in
from .calls import name_call, read_call, refuse_misfit
from .dag import Dag, ExitOutcome, Task, TriggerRule
from .errors import InvalidDag, InvalidName
from .keywords import check_defaults, make_dag, make_task
from .names import TaskId, check_name

Scalar = str | int | float | bool | None
Duration = str | int | float


class TaskKeywords(TypedDict, total=False):
    """What may be said of any task. Durations are seconds or text such as "90s", "10m", "1h30m"."""

    queue: str
    priority: int
    weight_rule: Literal["absolute", "downstream", "upstream"]
    pool: str | None
    pool_slots: int
    max_active: int | None
    max_active_per_run: int | None
    trigger_rule: TriggerRule
    retries: int
    retry_delay: Duration
    retry_backoff: float
    retry_delay_max: Duration
    retry_timeout: Duration | None
    retry_on: Sequence[int | str] | None
    exit_codes: Mapping[int, ExitOutcome]
    poll_every: Duration | None
    poll_timeout: Duration | None
    infra_retries: int
    on_lost: Literal["retry", "fail"]
    on_partition: Literal["kill", "keep"]
    queued_timeout: Duration | None
    on_queued_timeout: Literal["requeue", "fail"]
    timeout: Duration | None
    deadline: Duration | None
    depends_on_past: bool
    env: Mapping[str, str]
    cwd: str | None
    secrets: Sequence[str]
    inputs: "Sequence[AuthoredTask | str]"
    over: "Sequence[object] | Output | None"
    branch: bool
    setup: bool
    teardown: bool
    on_failure_fail_dagrun: bool


class DagKeywords(TypedDict, total=False):
    """What may be said of a DAG; `defaults` are keywords for all of its tasks."""

    description: str
    owner: str
    tags: Sequence[str]
    max_active_tasks: int | None
    params: Mapping[str, Scalar | Mapping[str, object]]
    schedule: str | Sequence[str | date] | None
    timezone: str
    start_date: str | date | None
    end_date: str | date | None
    catchup: bool
    max_active_runs: int
    run_timeout: Duration | None
    deadline: Duration | None
    defaults: TaskKeywords


class Place(msgspec.Struct, frozen=True):
    """Where in an author's file something was made."""

    file: str
    line: int


_current: Final[ContextVar["DAG | None"]] = ContextVar("headway_current_dag", default=None)

DAGS_MADE: Final[ContextVar["list[DAG] | None"]] = ContextVar("headway_dags_made", default=None)
"""Whoever reads a DAG file may put a list here to learn of DAGs that the file made and then let go."""


class Output:
    """The JSON output of a task, or by `[...]` a part of it; known only when the task has run."""

    __slots__ = ("path", "task")
    __iter__ = None  # else Python would ask for [0], [1], [2], ... without end

    def __init__(self, task: "AuthoredTask", path: tuple[str | int, ...] = ()) -> None:
        self.task = task
        self.path = path

    @property
    def ref(self) -> dict[str, object]:
        """The reference as data."""
        return {"kind": "output", "task_id": self.task.task_id, "path": self.path}

    def __getitem__(self, key: str | int) -> "Output":
        return Output(self.task, (*self.path, key))

    def __str__(self) -> NoReturn:
        raise InvalidDag(
            detail=f"the output of task {self.task.task_id!r} is not known yet and cannot be part of a text: "
            "give it to argv() or python() as an argument of its own"
        )


class Item:
    """What an instance of a mapped task stands for, or by `[...]` a part of it; only as an argument: `item["name"]`."""

    __slots__ = ("path",)
    __iter__ = None

    def __init__(self, path: tuple[str | int, ...] = ()) -> None:
        self.path = path

    @property
    def ref(self) -> dict[str, object]:
        """The reference as data."""
        return {"kind": "map_item", "path": self.path}

    def __getitem__(self, key: str | int) -> "Item":
        return Item((*self.path, key))

    def __str__(self) -> NoReturn:
        raise InvalidDag(
            detail="the item of a mapped task is not known yet and cannot be part of a text: give it to argv() or "
            "python() as an argument of its own, or use $HEADWAY_ITEM"
        )


item: Final = Item()
"""The item of the instance that runs, in the arguments of a task with `over`."""


class AuthoredTask(Waiter):
    """A task of a DAG that is being written."""

    __slots__ = ("_upstream", "_value", "dag", "place")

    def __init__(self, dag: "DAG", value: Task, place: Place) -> None:
        self.dag = dag
        self.place = place
        self._value = value
        self._upstream: dict[TaskId, None] = dict.fromkeys(value.inputs)

    @property
    def task_id(self) -> TaskId:
        """The task's id."""
        return self._value.task_id

    @property
    def output(self) -> Output:
        """What the task will have written to HEADWAY_OUTPUT."""
        return Output(self)

    @property
    def value(self) -> Task:
        """The task as a value, with what it waits for."""
        return msgspec.structs.replace(self._value, upstream=tuple(self._upstream))

    def wait_for(self, others: object) -> None:
        """Let this task start only after `others`: a task, a group, or a list of them."""
        for other in cast("list[AuthoredTask]", [task for node in nodes_in(others) for task in node.lasts()]):
            if other.dag is not self.dag:
                raise InvalidDag(
                    detail=f"task {self.task_id!r} is in DAG {self.dag.dag_id!r} and cannot wait for "
                    f"{other.task_id!r}, which is in DAG {other.dag.dag_id!r}"
                )
            self._upstream[other.task_id] = None


class Group(Node):
    """Tasks whose ids begin with the group's name and a dot, and which stand together at an arrow.

    `with group("load"):` puts into it the tasks that are made inside; groups may be nested. It is gone once the DAG is
    written: only the ids and arrows are left.
    """

    def __init__(self, dag: "DAG", name: str) -> None:
        self.dag = dag
        self.name = name
        self.tasks: list[AuthoredTask] = []

    def __enter__(self) -> Self:
        self.dag.groups.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.dag.groups.pop()

    def firsts(self) -> Sequence[AuthoredTask]:
        """Return the tasks that wait for no other of the group."""
        names = {task.task_id for task in self._all()}
        return [task for task in self.tasks if names.isdisjoint(task.value.upstream)]

    def lasts(self) -> Sequence[AuthoredTask]:
        """Return the tasks that no other of the group waits for: teardowns count only where there is nothing else."""
        counting = [task for task in self._all() if not task.value.teardown] or self.tasks
        inner = {name for task in counting for name in task.value.upstream}
        return [task for task in counting if task.task_id not in inner]

    def _all(self) -> "list[AuthoredTask]":
        if not self.tasks or self in self.dag.groups:
            raise InvalidDag(detail=f"group {self.name!r} is not written yet: draw its arrows behind its `with` block")
        return self.tasks


class DAG:
    """A DAG that is being written: `with DAG("id") as dag:` puts into it the tasks that are made inside."""

    def __init__(self, dag_id: str, **keywords: Unpack[DagKeywords]) -> None:
        self._defaults = dict(keywords.pop("defaults", {}))
        check_defaults(self._defaults)
        self._head = make_dag(dag_id, keywords)
        self._tasks: list[AuthoredTask] = []
        self._entered: list[Token[DAG | None]] = []
        self.groups: list[Group] = []
        self.place = _place()
        made = DAGS_MADE.get()
        if made is not None:
            made.append(self)

    @property
    def dag_id(self) -> str:
        """The DAG's id."""
        return self._head.dag_id

    def __enter__(self) -> Self:
        self._entered.append(_current.set(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _current.reset(self._entered.pop())

    def add(self, task_id: str, command: Mapping[str, object], keywords: Mapping[str, object]) -> AuthoredTask:
        """Put a task into the DAG; `command` has the fields of one kind of command. Authors say `shell` or `argv`."""
        given: dict[str, Any] = {**self._defaults, **keywords}
        inputs = given.get("inputs", ())
        if isinstance(inputs, list | tuple):
            given["inputs"] = [one.task_id if isinstance(one, AuthoredTask) else one for one in inputs]
        over = given.get("over")
        if isinstance(over, Output | range | tuple):
            given["over"] = over.ref if isinstance(over, Output) else list(over)
        if self.groups and isinstance(task_id, str):
            task_id = f"{self.groups[-1].name}.{task_id}"
        task = AuthoredTask(self, make_task(task_id, command, given), _place(self.place.file))
        task.wait_for([one for one in inputs if isinstance(one, AuthoredTask)])
        task.wait_for([over.task] if isinstance(over, Output) else [])
        self._tasks.append(task)
        for group in self.groups:
            group.tasks.append(task)
        return task

    def build(self) -> tuple[Dag, dict[TaskId, Place]]:
        """Return the DAG as a value, not judged yet, and where each of its tasks was made."""
        tasks = tuple(task.value for task in self._tasks)
        return msgspec.structs.replace(self._head, tasks=tasks), {task.task_id: task.place for task in self._tasks}


def shell(task_id: str, script: str, *, dag: DAG | None = None, **keywords: Unpack[TaskKeywords]) -> AuthoredTask:
    """Make a task that runs `script` with `/bin/bash -euo pipefail -c`.

    The script is never rendered: dates, parameters and inputs reach it as environment variables (HEADWAY_DS,
    HEADWAY_PARAM_<name>, HEADWAY_INPUTS). Raises InvalidDag for an unknown keyword or a value of the wrong type.
    """
    return _dag_for(task_id, dag).add(task_id, {"kind": "shell", "script": script}, keywords)


def argv(
    task_id: str, args: Sequence[str | Output | Item], *, dag: DAG | None = None, **keywords: Unpack[TaskKeywords]
) -> AuthoredTask:
    """Make a task that runs a program with exactly these arguments; no shell reads them.

    `{{ ds }}` and its like are filled in, and so are `item` and outputs of other tasks, which the task then waits for.
    Raises InvalidDag for an unknown keyword or a value of the wrong type.
    """
    dag = _dag_for(task_id, dag)
    is_list = isinstance(args, list | tuple)
    given = [arg.ref if isinstance(arg, Output | Item) else arg for arg in args] if is_list else args
    task = dag.add(task_id, {"kind": "argv", "args": given}, keywords)
    task.wait_for([arg.task for arg in args if isinstance(arg, Output)])
    return task


def python(
    task_id: str,
    function: Callable[..., object] | str,
    *,
    args: Sequence[object] = (),
    kwargs: Mapping[str, object] | None = None,
    dag: DAG | None = None,
    **keywords: Unpack[TaskKeywords],
) -> AuthoredTask:
    """Make a task that calls a function on the worker; what it returns, as JSON, is the task's output.

    The function stands at the top of this file or of a module, or is named: "package.module:function", or
    "file.py:function" with a path from this file. Arguments are JSON, in which outputs of other tasks may stand
    anywhere; the task then waits for those. Raises InvalidDag for a function that no worker would find, arguments that
    do not fit it or are no JSON, an unknown keyword or a value of the wrong type.
    """
    dag, where = _dag_for(task_id, dag), f"task {task_id!r}"
    if callable(function):
        call = name_call(function, where)
        if isinstance(args, list | tuple) and isinstance(kwargs, dict | None):
            refuse_misfit(function, args, kwargs or {}, where)
    else:
        call = read_call(function, where)
    taken: list[AuthoredTask] = []
    given = {"args": _plain(args, taken), "kwargs": _plain({} if kwargs is None else kwargs, taken)}
    code = {"kind": call.code.kind, "ref": call.code.ref}
    task = dag.add(task_id, {"kind": "python", "code": code, "function": call.function, **given}, keywords)
    task.wait_for(taken)
    return task


def group(name: str, *, dag: DAG | None = None) -> Group:
    """Make a group: ids of tasks that are made in its `with` block begin with its name and a dot. Raises InvalidDag."""
    dag = _dag_for(name, dag, "group")
    try:
        check_name("task id", name)
    except InvalidName as error:
        raise InvalidDag(detail=f"group {name!r}: its name is no part of a task id: {error}") from error
    return Group(dag, f"{dag.groups[-1].name}.{name}" if dag.groups else name)


def _plain(value: object, taken: list[AuthoredTask]) -> object:
    """Return an argument with references in place of outputs, and add the tasks of those to `taken`."""
    match value:
        case Output():
            taken.append(value.task)
            return {**value.ref, "path": list(value.path)}
        case Item():
            return {**value.ref, "path": list(value.path)}
        case dict():
            return {key: _plain(one, taken) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one, taken) for one in value]
        case _:
            return value


def _dag_for(name: str, dag: DAG | None, what: str = "task") -> DAG:
    found = dag or _current.get()
    if found is None:
        raise InvalidDag(detail=f"{what} {name!r} is in no DAG: make it inside `with DAG(...):`, or say dag=")
    return found


def _place(made_in: str = "") -> Place:
    """Return the innermost line of the file `made_in` that led here, else the innermost line outside this module."""
    outside = [frame for frame in _frames() if frame.f_globals.get("__name__") != __name__]
    frame = next((frame for frame in outside if frame.f_code.co_filename == made_in), outside[0])
    return Place(frame.f_code.co_filename, frame.f_lineno)


def _frames() -> Iterator[FrameType]:
    """Walk from here to the outermost caller."""
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back
