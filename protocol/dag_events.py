"""Events about a DAG and which runs it has: versions, pauses, dates that are due, backfills. See messages.py."""

from typing import Literal

import msgspec

from .limits import ACTIVE_RUNS_DEFAULT, BACKFILL_ACTIVE_DEFAULT
from .messages import Instant, Message
from .names import UNMAPPED, DagId, RunId, TaskId
from .schedule import Schedule

Reprocess = Literal["none", "failed", "completed"]
"""Which of the dates that have a run already a backfill runs again."""


class ScheduleTimer(Message, frozen=True, kw_only=True, tag="schedule_timer"):
    """A DAG is due by its schedule. Applied only if `due` is the date that is stored."""

    dag_id: DagId
    due: Instant


class RunDue(Message, frozen=True, kw_only=True, tag="run_due"):
    """A run of the DAG's newest version is due, by its schedule or a backfill, for the data interval up to its date.

    `previous` is the run before it, whose tasks those wait for that depend on the past.
    """

    dag_id: DagId
    run_id: RunId
    logical_date: Instant
    data_interval_start: Instant
    data_interval_end: Instant
    previous: RunId | None = None
    backfill_id: str | None = None
    params: dict[str, str | int | float | bool | None] = msgspec.field(default_factory=dict)


class RunCapacity(Message, frozen=True, kw_only=True, tag="run_capacity"):
    """The DAG may have one more run at a time: this one, which waited for that, begins."""

    dag_id: DagId
    run_id: RunId


class BackfillStep(Message, frozen=True, kw_only=True, tag="backfill_step"):
    """A backfill may have more runs: those of its next dates, `cursor` the first of them, are due."""

    dag_id: DagId
    backfill_id: str
    cursor: Instant


class PastEnded(Message, frozen=True, kw_only=True, tag="past_ended"):
    """A task ended in the run before this one: it may have been all that the same task waits for here."""

    dag_id: DagId
    run_id: RunId
    task_id: TaskId
    map_index: int = UNMAPPED


class Pause(Message, frozen=True, kw_only=True, tag="pause"):
    """The DAG is not due by its schedule any more, and none of its tasks begins, until it is unpaused."""

    dag_id: DagId


class Unpause(Message, frozen=True, kw_only=True, tag="unpause"):
    """The DAG goes on."""

    dag_id: DagId


class Backfill(Message, frozen=True, kw_only=True, tag="backfill"):
    """Run the DAG for the dates of its schedule from `begin` to `end`, `max_active` at a time.

    A date that has a run already is left out, unless that has failed, or has ended at all, as `reprocess` says.
    """

    dag_id: DagId
    backfill_id: str
    begin: Instant
    end: Instant
    max_active: int = BACKFILL_ACTIVE_DEFAULT
    reverse: bool = False
    reprocess: Reprocess = "none"
    params: dict[str, str | int | float | bool | None] = msgspec.field(default_factory=dict)


class DagVersion(Message, frozen=True, kw_only=True, tag="dag_version"):
    """A DAG file holds this DAG now; the value itself is stored under its digest.

    `schedule` is when it is due by itself, and no more than `max_active_runs` of its runs go on at a time.
    """

    dag_id: DagId
    digest: str
    file: str
    task_count: int
    schedule: Schedule | None = None
    max_active_runs: int = ACTIVE_RUNS_DEFAULT
