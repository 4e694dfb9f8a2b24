"""Typed ids, their legal forms, and the names and keys that everything on the wire is found by.

One validator for all names: they reach file names, routing keys and permission patterns, so no name may hold a
character that means something there.
"""

import re
import zlib
from datetime import datetime
from typing import Final, NewType

from .errors import InvalidName
from .limits import ID_LENGTH_MAX, PARTITIONS

DagId = NewType("DagId", str)
RunId = NewType("RunId", str)
TaskId = NewType("TaskId", str)
QueueName = NewType("QueueName", str)
WorkerName = NewType("WorkerName", str)
BootId = NewType("BootId", str)
Token = NewType("Token", str)

UNMAPPED: Final = -1
"""The map index of a task that is not mapped, as in Airflow."""

WORKERS_PARTITION: Final = PARTITIONS
"""The number under which events about workers are recorded; its queue is `headway.events.workers`."""

_ID_RULE: Final = f"letters, digits, '_', '-', '.', starting with a letter, digit or '_', at most {ID_LENGTH_MAX}"
_LOWER_RULE: Final = "a-z, 0-9, '_', '-', starting with a letter or digit, at most 63 characters"
_RUN_RULE: Final = f"letters, digits, '_', '-', '.', ':', '+', at most {ID_LENGTH_MAX}"

_ID: Final = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{ID_LENGTH_MAX - 1}}}")
_LOWER: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_RUN: Final = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.:+-]{{0,{ID_LENGTH_MAX - 1}}}")
_WORKER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_PARAM: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")

_FORMS: Final = {
    "DAG id": (_ID, _ID_RULE),
    "task id": (_ID, _ID_RULE),
    "run id": (_RUN, _RUN_RULE),
    "queue": (_LOWER, _LOWER_RULE),
    "pool": (_LOWER, _LOWER_RULE),
    "worker name": (_WORKER, "letters, digits, '_', '-', at most 63 characters"),
    "backfill id": (_RUN, _RUN_RULE),
    "parameter": (_PARAM, "letters, digits, '_', not starting with a digit, at most 63 characters"),
    "secret": (_PARAM, "letters, digits, '_', not starting with a digit, at most 63 characters"),
    "environment variable": (_PARAM, "letters, digits, '_', not starting with a digit, at most 63 characters"),
}


def first_token(token: str) -> str:
    """Return the token of the first poll of an attempt: those of later ones begin with it."""
    return token.partition("-")[0]


def check_name(what: str, value: object) -> str:
    """Return `value` if it is a legal name of the kind `what` (a key of the table above), else raise InvalidName."""
    pattern, rule = _FORMS[what]
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise InvalidName(what=what, value=value, rule=f"use {rule}")
    return value


def name_pattern(what: str) -> str:
    """Return the regular expression that a whole name of this kind matches, for those who check names elsewhere."""
    return f"^{_FORMS[what][0].pattern}$"


def scheduled_run_id(dag_id: DagId, date: datetime, *, again: str = "") -> RunId:
    """Return the id of the run of a DAG for a nominal date, aware UTC: the same each time it is asked for.

    `again` names the backfill that runs the date once more.
    """
    suffix = f"__{date.isoformat().removesuffix('+00:00')}Z"
    suffix += f"_{zlib.crc32(again.encode()):08x}" if again else ""
    if len(dag_id) + len(suffix) > ID_LENGTH_MAX:
        suffix = f".{zlib.crc32(dag_id.encode()):08x}{suffix}"
    return RunId(f"{dag_id[: ID_LENGTH_MAX - len(suffix)]}{suffix}")


def new_id(dag_id: str, what: str, now: datetime, random: str) -> str:
    """Return a name for something of a DAG that sorts like time and that nothing else has."""
    suffix = f"__{what}{now:%Y%m%dT%H%M%SZ}_{random}"
    return f"{dag_id[: ID_LENGTH_MAX - len(suffix)]}{suffix}"


def partition_of(dag_id: str) -> int:
    """Say which of the 16 partitions owns a DAG, for good: crc32 of its id in UTF-8, modulo 16 (DESIGN 4)."""
    return zlib.crc32(dag_id.encode()) % PARTITIONS


def partition_label(partition: int) -> str:
    """Return the last word of a routing key: `p00` to `p15`, or `workers`."""
    return "workers" if partition == WORKERS_PARTITION else f"p{partition:02d}"


def task_key(queue: str, dag_id: str) -> str:
    """Return the routing key of a task message."""
    return f"task.{queue}.{partition_label(partition_of(dag_id))}"


def log_key(user: str) -> str:
    """Return the routing key of output, which names the broker user that must publish it."""
    return f"log.{user}"


def event_key(user: str, kind: str, partition: int) -> str:
    """Return the routing key of an event, which names the broker user that must publish it."""
    return f"event.{user}.{kind}.{partition_label(partition)}"
