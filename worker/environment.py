"""What a child is given: its environment and its arguments. Text in, text out; no file is touched here.

A child gets PATH, HOME, LANG and TZ of the worker, then the task's own variables, then Headway's, which nobody can
override. Nothing else of the worker's environment: its settings hold the broker's password.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from headway.protocol.dag import Argv, ItemRef, OutputRef, Python, Shell, fill_in_refs
from headway.protocol.messages import Task
from headway.protocol.names import UNMAPPED
from headway.protocol.placeholders import ITEM_NAME, PARAM_PREFIX, fill_in

INHERITED: Final = ("PATH", "HOME", "LANG", "TZ")

OUTPUT_VARIABLE: Final = "HEADWAY_OUTPUT"
"""Names the file that a child may write JSON to. No other child has the same, so a process is known by it."""

BASH: Final = ("/bin/bash", "-euo", "pipefail", "-c")


class BadInput(msgspec.Struct, frozen=True):
    """Why a command cannot be made from what the task was given."""

    detail: str


def environment_of(task: Task, inherited: Mapping[str, str], *, output: Path, inputs: Path | None) -> dict[str, str]:
    """Return the environment of a task's child. `inputs` is the file with the outputs it takes in, if there are any."""
    context = task.context
    return {
        **{name: inherited[name] for name in INHERITED if name in inherited},
        **task.env,
        "HEADWAY_DAG_ID": task.dag_id,
        "HEADWAY_RUN_ID": task.run_id,
        "HEADWAY_TASK_ID": task.task_id,
        "HEADWAY_MAP_INDEX": str(task.map_index),
        **({} if task.map_index == UNMAPPED else {"HEADWAY_ITEM": _text(_item(task))}),
        "HEADWAY_TRY": str(task.try_number),
        "HEADWAY_FENCE": str(task.fence),
        "HEADWAY_POLL": str(task.poll),
        "HEADWAY_DS": context.ds,
        "HEADWAY_LOGICAL_DATE": _instant(context.logical_date),
        "HEADWAY_DATA_INTERVAL_START": _instant(context.data_interval_start),
        "HEADWAY_DATA_INTERVAL_END": _instant(context.data_interval_end),
        **{f"HEADWAY_PARAM_{name}": _text(value) for name, value in context.params.items()},
        **({} if inputs is None else {"HEADWAY_INPUTS": str(inputs)}),
        OUTPUT_VARIABLE: str(output),
    }


def command_of(task: Task, command: Shell | Argv) -> list[str] | BadInput:
    """Return the program and its arguments, placeholders and output references filled in."""
    match command:
        case Shell(script=script):
            return [*BASH, script]
        case Argv(args=args):
            return _fill_in_args(task, args)


def call_of(task: Task, command: Python) -> bytes | BadInput:
    """Return the call of a function as JSON, references filled in."""
    faults: list[BadInput] = []

    def fill(ref: OutputRef | ItemRef) -> object:
        value = _part(task, ref)
        faults.extend([value] if isinstance(value, BadInput) else [])
        return value

    args, kwargs = fill_in_refs([[*command.args], command.kwargs], fill)
    if faults:
        return faults[0]
    return msgspec.json.encode({"function": command.function, "args": args, "kwargs": kwargs})


def _fill_in_args(task: Task, args: tuple[str | OutputRef | ItemRef, ...]) -> list[str] | BadInput:
    values = _placeholders(task)
    filled = []
    for arg in args:
        value = _fill_in(arg, values) if isinstance(arg, str) else _part(task, arg)
        if isinstance(value, BadInput):
            return value
        filled.append(_text(value))
    return filled


def _fill_in(arg: str, values: Mapping[str, str]) -> str | BadInput:
    try:
        return fill_in(arg, values)
    except KeyError as error:
        return BadInput(f"there is no value for the placeholder {error.args[0]!r} in its argument {arg!r}")


def _placeholders(task: Task) -> dict[str, str]:
    context = task.context
    return {
        "ds": context.ds,
        "ds_nodash": context.ds.replace("-", ""),
        "ts": _instant(context.logical_date),
        "logical_date": _instant(context.logical_date),
        "data_interval_start": _instant(context.data_interval_start),
        "data_interval_end": _instant(context.data_interval_end),
        "dag_id": task.dag_id,
        "run_id": task.run_id,
        "task_id": task.task_id,
        "map_index": str(task.map_index),
        "try": str(task.try_number),
        **({} if task.map_index == UNMAPPED else {ITEM_NAME: _text(_item(task))}),
        **{PARAM_PREFIX + name: _text(value) for name, value in context.params.items()},
    }


def _item(task: Task) -> object:
    return msgspec.json.decode(task.item)


def _part(task: Task, ref: OutputRef | ItemRef) -> object | BadInput:
    """Return the part of an upstream task's output, or of its own item, that `ref` leads to."""
    if isinstance(ref, ItemRef):
        value, name = _item(task), "its item"
    elif ref.task_id in task.inputs:
        value, name = msgspec.json.decode(task.inputs[ref.task_id]), f"the output of task {ref.task_id!r}"
    else:
        return BadInput(f"it takes in the output of task {ref.task_id!r}, which wrote none")
    for step in ref.path:
        parts = dict(enumerate(value)) if isinstance(value, list) else value
        if not isinstance(parts, dict) or step not in parts:
            return BadInput(f"{name} has no part {list(ref.path)!r}")
        value = parts[step]
    return value


def _text(value: object) -> str:
    """Write a value as a script expects it: text as it is, nothing for null, the rest as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _instant(at: datetime) -> str:
    """Write a time as RFC 3339 in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
