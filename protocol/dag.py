"""A DAG as a value: what an author says, whatever file it was written in.

The Python, JSON and YAML forms all become this value, and only it reaches the scheduler. Values hold defaults
already applied and durations in seconds. `validation.py` says what makes a value legal; here are only shapes.
"""

from typing import Literal

import msgspec

from .names import DagId, QueueName, TaskId


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen value without behaviour; a misspelt field is an error, never ignored."""


class OutputRef(Value, frozen=True, kw_only=True, tag="output", tag_field="kind"):
    """A part of the JSON output of an upstream task; `path` leads from the whole output to the part."""

    task_id: TaskId
    path: tuple[str | int, ...] = ()


class Shell(Value, frozen=True, kw_only=True, tag="shell", tag_field="kind"):
    """A script for `/bin/bash -euo pipefail -c`. Never rendered: values reach it as environment variables."""

    script: str


class Argv(Value, frozen=True, kw_only=True, tag="argv", tag_field="kind"):
    """A program and its arguments, with `{{ name }}` placeholders and output references; no shell reads them."""

    args: tuple[str | OutputRef, ...]


Command = Shell | Argv


class Task(Value, frozen=True, kw_only=True):
    """One task: a command, what it waits for, and what happens when it does not succeed.

    All durations are seconds. `retries` counts what the task did; `infra_retries` counts granted attempts that were
    lost through no fault of the task.
    """

    task_id: TaskId
    command: Command
    upstream: tuple[TaskId, ...] = ()
    queue: QueueName = QueueName("default")
    priority: int = 0
    retries: int = 0
    retry_delay: float = 60.0
    retry_backoff: float = 1.0
    retry_delay_max: float = 3600.0
    infra_retries: int = 1
    on_lost: Literal["retry", "fail"] = "retry"
    queued_timeout: float | None = None
    on_queued_timeout: Literal["requeue", "fail"] = "requeue"
    timeout: float | None = None
    env: dict[str, str] = {}
    cwd: str | None = None
    secrets: tuple[str, ...] = ()
    inputs: tuple[TaskId, ...] = ()


class Dag(Value, frozen=True, kw_only=True):
    """Tasks and dependencies, as data. Versions are numbered by the scheduler, not here."""

    dag_id: DagId
    tasks: tuple[Task, ...]
    description: str = ""
    owner: str = ""
    tags: tuple[str, ...] = ()
    params: dict[str, str | int | float | bool | None] = {}


def output_sources(task: Task) -> frozenset[TaskId]:
    """Return the tasks whose outputs `task` takes in: its `inputs` and the references among its arguments."""
    args = task.command.args if isinstance(task.command, Argv) else ()
    return frozenset((*task.inputs, *(arg.task_id for arg in args if isinstance(arg, OutputRef))))
