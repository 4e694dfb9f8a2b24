"""The JSON Schema of a DAG document, made of the code that reads one: `python -m headway.protocol.schema`.

Keywords, types and defaults come from the values in `dag.py`, bounds from `task_rules.py`, forms of names from
`names.py`; here are the words that only a document has, and a sentence for each. It serves editors: what the code
accepts, the schema accepts, and a misspelt key it does not. Whether tasks fit together only `headway check` says.
"""

import sys
from typing import Any, Final, get_args

import msgspec

from .dag import Dag, ExitOutcome, Task
from .durations import DURATION_PATTERN, format_duration
from .exit_codes import EXIT_CODE_MAX, RETRY_WORDS
from .keywords import DAG_KEYWORDS, DURATIONS, TASK_KEYWORDS
from .limits import MAP_ITEMS_MAX
from .names import name_pattern
from .task_rules import RANGES

Schema = dict[str, Any]

DESCRIPTIONS: Final = {
    "dag_id": "The DAG's name, unique among all DAG files.",
    "description": "What the DAG is for, in a sentence for people.",
    "owner": "Who answers for the DAG.",
    "tags": "Words to find the DAG by.",
    "max_active_tasks": "How many tasks of one run may be queued or run at a time; without it, all.",
    "params": "Parameters of a run with their defaults; tasks get each as HEADWAY_PARAM_<name>.",
    "schedule": "When it is due: cron (`0 2 * * *`), an interval (`90m`), a word (`@daily`), or a list of dates.",
    "timezone": "The time zone of the schedule, and of dates without an offset.",
    "start_date": "No run is due before it; an interval counts from it.",
    "end_date": "No run is due after it.",
    "catchup": "Whether dates that were missed are all run; otherwise only the last of them.",
    "max_active_runs": "How many runs of the DAG go on at a time; the others wait.",
    "run_timeout": "How long a run may go on; then it fails, and what it runs is ended.",
    "deadline": "By when it should have ended, from its run's date or, if that was triggered, from the trigger on.",
    "depends_on_past": "Whether it waits until it succeeded, or was skipped, in the run before.",
    "defaults": "Keywords of every task that does not say otherwise.",
    "tasks": "What is to be done.",
    "task_id": "The task's name, unique within the DAG.",
    "shell": "A script for /bin/bash -euo pipefail -c. It is never rendered: values arrive as environment variables.",
    "argv": "A program and its arguments, with {{ name }} placeholders and outputs of tasks; no shell reads it.",
    "python": "A function, as `module:function` or `file.py:function` beside the document; its result is the output.",
    "args": "Positional arguments of the function: JSON, in which outputs of tasks may stand anywhere.",
    "kwargs": "Keyword arguments of the function, like `args`.",
    "upstream": "The tasks that this one waits for.",
    "queue": "Where workers fetch the task: `headway worker -q QUEUE`.",
    "priority": "Of ready tasks of one queue or pool, those with more go first.",
    "weight_rule": "What is added to the priority: nothing, or those of all tasks downstream or upstream.",
    "pool": "The pool of headway.toml whose slots the task takes while it is queued or runs.",
    "pool_slots": "How many slots of its pool the task takes.",
    "max_active": "How many instances of the task may be queued or run at a time, over all runs of the DAG.",
    "max_active_per_run": "How many instances of the task, if it is mapped, may be queued or run at a time in a run.",
    "trigger_rule": "What must have become of the upstream tasks before this one begins.",
    "retries": "How often the task is tried again after it failed.",
    "retry_delay": "How long to wait before the first retry.",
    "retry_backoff": "By how much each further wait is longer than the one before it.",
    "retry_delay_max": "The longest wait before a retry.",
    "retry_timeout": "How long after the first start of the task a retry may still begin; without it, for ever.",
    "retry_on": "The exit codes, and ends without one, that are tried again; without it, all but those of exit_codes.",
    "exit_codes": "What exit codes mean, where it is not the usual: 0 success, 99 skip, 75 poll, others retry.",
    "poll_every": "How long after the task said 'not yet' it is asked again; it holds no slot meanwhile.",
    "poll_timeout": "How long after its first start the task may say 'not yet'; without it, for ever.",
    "infra_retries": "How often the task is tried again after an attempt was lost through no fault of its own.",
    "on_lost": "Whether a task whose worker was lost may run again.",
    "on_partition": "Whether a child is killed when its worker is cut off for its lease; kept, it never runs again.",
    "queued_timeout": "How long the task may wait for a worker; without it, for ever.",
    "on_queued_timeout": "Whether it then fails or goes on waiting, while its workers are busy behind all others.",
    "timeout": "How long an attempt may run; without it, for ever.",
    "env": "Environment variables of the task.",
    "cwd": "The folder that the task begins in; without it, the one that its worker was started in.",
    "inputs": "Upstream tasks whose outputs the task reads from the file HEADWAY_INPUTS.",
    "over": "Maps the task: it runs once for each item of this list, or of an upstream task's output.",
    "branch": "Whether its output (a task id, a list of them, true or false) says which downstream tasks are followed.",
    "setup": "Whether it makes what the tasks between it and its teardown need.",
    "teardown": "Whether it takes down what its upstream setups made: it runs whatever became of the tasks between.",
    "on_failure_fail_dagrun": "Whether a teardown that fails fails the run.",
    "secrets": "Names of secrets, each of which the worker hands to the task as an environment variable.",
}
"""One sentence for each word of a document."""

_BOUNDS: Final = {name: (low, high) for name, low, high in RANGES}
_BOUNDS["run_timeout"] = _BOUNDS["timeout"]
_TASK_NAMES: Final = {"type": "array", "items": {"$ref": "#/$defs/task_id"}}
_OUTPUT: Final[Schema] = {
    "type": "object",
    "description": "A part of the output of an upstream task; `path` leads to it, and without one it is the whole.",
    "properties": {
        "output": {"$ref": "#/$defs/task_id"},
        "path": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}]}},
    },
    "required": ["output"],
    "additionalProperties": False,
}

_ITEM: Final = {
    "type": "object",
    "description": "A part of the item of a mapped task; an empty path leads to the whole.",
    "properties": {"item": _OUTPUT["properties"]["path"]},
    "required": ["item"],
    "additionalProperties": False,
}

COMMANDS: Final[dict[str, Schema]] = {
    "shell": {"type": "string", "minLength": 1},
    "argv": {"type": "array", "minItems": 1, "items": {"anyOf": [{"type": "string"}, _OUTPUT, _ITEM]}},
    "python": {"type": "string", "pattern": "^.+:.+$"},
}
"""What a task does: it says exactly one of these words."""

_BY_HAND: Final[dict[str, Schema]] = {
    **COMMANDS,
    "args": {"type": "array"},
    "kwargs": {"type": "object"},
    "dag_id": {"type": "string", "pattern": name_pattern("DAG id")},
    "task_id": {"$ref": "#/$defs/task_id"},
    "upstream": _TASK_NAMES,
    "inputs": _TASK_NAMES,
    "over": {
        "anyOf": [{"type": "array", "minItems": 1, "maxItems": MAP_ITEMS_MAX}, _OUTPUT, {"type": "null"}],
    },
    "defaults": {"$ref": "#/$defs/defaults"},
    "tasks": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/task"}},
    "exit_codes": {
        "type": "object",
        "propertyNames": {"pattern": "^0*([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$"},
        "additionalProperties": {"enum": list(get_args(ExitOutcome))},
    },
    "retry_on": {
        "anyOf": [
            {
                "type": "array",
                "items": {
                    "anyOf": [{"type": "integer", "minimum": 0, "maximum": EXIT_CODE_MAX}, {"enum": list(RETRY_WORDS)}]
                },
            },
            {"type": "null"},
        ],
    },
}
"""What the types of a value do not say."""

_NAMES: Final = {name: {"pattern": name_pattern(name)} for name in ("queue", "pool")}
_KEYS: Final = {"env": name_pattern("environment variable"), "params": name_pattern("parameter")}


def build_schema() -> Schema:
    """Return the schema, as JSON values."""
    types = msgspec.json.schema_components([Dag, Task])[1]
    keywords = {name: _describe(name, types["Task"]["properties"].get(name, {})) for name in TASK_KEYWORDS}
    own = {name: _describe(name, {}) for name in ("task_id", *COMMANDS, "args", "kwargs", "upstream")}
    head = {name: _describe(name, types["Dag"]["properties"].get(name, {})) for name in ("dag_id", *DAG_KEYWORDS)}
    task: Schema = _object({**own, **keywords}, required=["task_id"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A DAG of Headway",
        "description": "The document of *.dag.json and *.dag.yaml files.",
        **_object({**head, "tasks": _describe("tasks", {})}, required=["dag_id", "tasks"]),
        "$defs": {
            "task_id": {"type": "string", "pattern": name_pattern("task id")},
            "task": task
            | {
                "oneOf": [{"required": [word]} for word in COMMANDS],
                "dependentRequired": {"args": ["python"], "kwargs": ["python"]},
            },
            "defaults": _object(keywords, required=[]),
            "Param": types["Param"] | {"description": "What is true of every value of a parameter."},
        },
    }


def write_schema() -> str:
    """Return docs/reference/dag.schema.json."""
    return msgspec.json.format(msgspec.json.encode(build_schema()), indent=2).decode() + "\n"


def _object(properties: Schema, *, required: list[str]) -> Schema:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _describe(name: str, typed: Schema) -> Schema:
    """Return the schema of one word: what the type says, as an author may write it."""
    found = {**typed, **_BY_HAND.get(name, {}), **_NAMES.get(name, {})}
    if name in DURATIONS:
        found = _duration(name, typed)
    elif name in _BOUNDS:
        found["minimum"], found["maximum"] = _BOUNDS[name]
    if name in _KEYS:
        found["propertyNames"] = {"pattern": _KEYS[name]}
    return {"description": DESCRIPTIONS[name], **found}


def _duration(name: str, typed: Schema) -> Schema:
    low, high = _BOUNDS[name]
    kinds: list[Schema] = [
        {"type": "string", "pattern": DURATION_PATTERN},
        {"type": "number", "minimum": low, "maximum": high, "description": "Seconds."},
    ]
    default = typed["default"]
    if default is None:
        return {"anyOf": [*kinds, {"type": "null"}], "default": None}
    return {"anyOf": kinds, "default": format_duration(default)}


if __name__ == "__main__":
    sys.stdout.write(write_schema())
