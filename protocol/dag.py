"""A DAG as a value: what an author says, whatever file it was written in.

The Python, JSON and YAML forms all become this value, and only it reaches the scheduler. Values hold defaults
already applied and durations in seconds. `validation.py` says what makes a value legal; here are only shapes.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from .limits import ACTIVE_RUNS_DEFAULT
from .names import DagId, QueueName, TaskId
from .params import Param
from .schedule import DEFAULT_TIMEZONE, LISTED, Schedule


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A frozen value without behaviour; a misspelt field is an error, never ignored.

    Plain values hold no circles, so Python's collector is spared them (gc): a DAG may have 100,000 tasks.
    """


class OutputRef(Value, frozen=True, kw_only=True, tag="output", tag_field="kind"):
    """A part of the JSON output of an upstream task; `path` leads from the whole output to the part."""

    task_id: TaskId
    path: tuple[str | int, ...] = ()


class ItemRef(Value, frozen=True, kw_only=True, tag="map_item", tag_field="kind"):
    """A part of the item that an instance of a mapped task stands for; `path` leads from the whole item to the part."""

    path: tuple[str | int, ...] = ()


class Shell(Value, frozen=True, kw_only=True, tag="shell", tag_field="kind"):
    """A script for `/bin/bash -euo pipefail -c`. Never rendered: values reach it as environment variables."""

    script: str


class Argv(Value, frozen=True, kw_only=True, tag="argv", tag_field="kind"):
    """A program and its arguments, with `{{ name }}` placeholders and references; no shell reads them."""

    args: tuple[str | OutputRef | ItemRef, ...]


class Python(Value, frozen=True, kw_only=True, tag="python", tag_field="kind"):
    """A call of a function that `Task.code` holds at module level. Its arguments are JSON, and are never rendered.

    In them, however deep, an object with exactly the fields of an OutputRef or ItemRef stands for what that leads to.
    """

    function: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}


Command = Shell | Argv | Python

TriggerRule = Literal[
    "all_success",
    "all_failed",
    "all_done",
    "all_done_min_one_success",
    "all_done_setup_success",
    "all_skipped",
    "one_success",
    "one_failed",
    "one_done",
    "none_failed",
    "none_failed_min_one_success",
    "none_skipped",
    "always",
]
"""What must have become of a task's upstreams before it begins; `scheduler/core/rules.py` says what each means."""

ExitOutcome = Literal["success", "fail", "skip", "retry", "poll"]
"""What an exit code may mean. `fail` is final; `retry` is a failure that is tried again while retries are left."""


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """The code that a worker must have to run a task; its digest must be equal.

    Of kind `file`, `ref` is a path, relative to the folder of DAG files unless it is absolute; of kind `module` a name.
    """

    kind: str
    ref: str
    digest: str = ""


class Task(Value, frozen=True, kw_only=True):
    """One task: a command, what it waits for, and what happens when it does not succeed.

    All durations are seconds. `retries` counts what the task did; `infra_retries` counts granted attempts that were
    lost through no fault of the task. `on_partition="keep"` lets a child live on when its worker has heard nothing for
    its lease, and so implies `on_lost="fail"`: a rerun would be a second child. The output of a `branch` says which of
    its direct downstreams are followed. A `teardown` begins when its upstreams have ended, if one of its setups among
    them succeeded, and decides nothing about the run unless `on_failure_fail_dagrun`. What `exit_codes` and `retry_on`
    mean stands in `exit_codes.py`. A task with `poll_every` is asked again that long after it said "not yet", and holds
    no slot meanwhile. `poll_timeout` and `retry_timeout` count from the first start of all. A task with `over` is
    mapped: it runs once for each item of a list. `weight_rule` says whether the
    priorities of all that is downstream, or upstream, are added to the task's own (weights.py). `max_active` counts the
    task's instances that are queued or run, over all runs of the DAG.
    """

    task_id: TaskId
    command: Command
    code: Code | None = None
    upstream: tuple[TaskId, ...] = ()
    queue: QueueName = QueueName("default")
    priority: int = 1
    weight_rule: Literal["absolute", "downstream", "upstream"] = "absolute"
    pool: str | None = None
    pool_slots: int = 1
    max_active: int | None = None
    max_active_per_run: int | None = None
    trigger_rule: TriggerRule = "all_success"
    retries: int = 0
    retry_delay: float = 60.0
    retry_backoff: float = 1.0
    retry_delay_max: float = 3600.0
    retry_timeout: float | None = None
    retry_on: tuple[int | str, ...] | None = None
    exit_codes: dict[int, ExitOutcome] = {}
    poll_every: float | None = None
    poll_timeout: float | None = None
    infra_retries: int = 1
    on_lost: Literal["retry", "fail"] = "retry"
    on_partition: Literal["kill", "keep"] = "kill"
    queued_timeout: float | None = None
    on_queued_timeout: Literal["requeue", "fail"] = "requeue"
    timeout: float | None = None
    deadline: float | None = None
    depends_on_past: bool = False
    env: dict[str, str] = {}
    cwd: str | None = None
    secrets: tuple[str, ...] = ()
    inputs: tuple[TaskId, ...] = ()
    over: tuple[Any, ...] | OutputRef | None = None
    branch: bool = False
    setup: bool = False
    teardown: bool = False
    on_failure_fail_dagrun: bool = False


class Dag(Value, frozen=True, kw_only=True):
    """Tasks and dependencies, as data. Versions are numbered by the scheduler, not here.

    Times are aware UTC: what an author writes without an offset is of the DAG's `timezone`.
    """

    dag_id: DagId
    tasks: tuple[Task, ...]
    description: str = ""
    owner: str = ""
    tags: tuple[str, ...] = ()
    max_active_tasks: int | None = None
    params: dict[str, str | int | float | bool | Param | None] = {}
    schedule: str | tuple[datetime, ...] | None = None
    timezone: str = DEFAULT_TIMEZONE
    start_date: datetime | None = None
    end_date: datetime | None = None
    catchup: bool = False
    max_active_runs: int = ACTIVE_RUNS_DEFAULT
    run_timeout: float | None = None
    deadline: float | None = None

    @property
    def plan(self) -> Schedule | None:
        """When the DAG is due, if it ever is by itself."""
        if self.schedule is None:
            return None
        return Schedule(
            text=LISTED if isinstance(self.schedule, tuple) else self.schedule,
            dates=self.schedule if isinstance(self.schedule, tuple) else (),
            timezone=self.timezone,
            start=self.start_date,
            end=self.end_date,
            catchup=self.catchup,
        )


def rule_of(task: Task) -> TriggerRule:
    """Return the trigger rule that holds for a task: that of a teardown is fixed."""
    return "all_done_setup_success" if task.teardown else task.trigger_rule


_REF_KEYS: Final = frozenset({"kind", *OutputRef.__struct_fields__})
_ITEM_KEYS: Final = frozenset({"kind", *ItemRef.__struct_fields__})


def output_sources(task: Task) -> frozenset[TaskId]:
    """Return the tasks whose outputs `task` takes in: its `inputs` and the references among its arguments.

    Not the one that it is mapped over: an instance takes in its own item of that.
    """
    return frozenset((*task.inputs, *(ref.task_id for ref in output_refs(task.command))))


def over_source(task: Task) -> TaskId | None:
    """Return the task over whose output `task` is mapped, if it is."""
    return task.over.task_id if isinstance(task.over, OutputRef) else None


def output_refs(command: Command) -> list[OutputRef]:
    """Return the references to outputs among the arguments of a command."""
    return [ref for ref in refs_of(command) if isinstance(ref, OutputRef)]


def refs_of(command: Command) -> list[OutputRef | ItemRef]:
    """Return the references among the arguments of a command."""
    refs: list[OutputRef | ItemRef] = []
    match command:
        case Argv(args=args):
            refs += (arg for arg in args if not isinstance(arg, str))
        case Python(args=args, kwargs=kwargs):
            fill_in_refs([*args, *kwargs.values()], refs.append)
        case _:
            pass
    return refs


def fill_in_refs(value: Any, fill: Callable[[OutputRef | ItemRef], object]) -> Any:  # noqa: ANN401 - JSON
    """Return JSON arguments of `python` with what `fill` gives for each reference in its place."""
    match value:
        case {"kind": "output"} if value.keys() == _REF_KEYS:
            return fill(msgspec.convert(value, OutputRef))
        case {"kind": "map_item"} if value.keys() == _ITEM_KEYS:
            return fill(msgspec.convert(value, ItemRef))
        case dict():
            return {key: fill_in_refs(item, fill) for key, item in value.items()}
        case list():
            return [fill_in_refs(item, fill) for item in value]
        case _:
            return value
