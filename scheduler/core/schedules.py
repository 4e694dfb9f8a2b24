"""Rules for DAGs: their versions, their pauses, and the dates of their schedules.

The date that a DAG is due next is stored with it. When it comes, one decision plans the date after it and asks for the
run in an event of its own, which is recorded with that run. Dates that went by while nobody was there (the scheduler,
or the DAG while it was paused or had all the runs that it may) come to one run, that of the last of them, or with
`catchup` to all, one after another.
"""

from datetime import datetime

import msgspec

from headway.protocol.dag_events import DagVersion, Pause, RunDue, ScheduleTimer, Unpause
from headway.protocol.names import scheduled_run_id
from headway.protocol.schedule import date_after, date_due, first_date, interval_before

from .limits import paused_room
from .rows import DagRow
from .snapshot import Decision, Draft, FollowUp


def decide_dag_version(draft: Draft, event: DagVersion) -> Decision:
    """A DAG file changed: number the new version. Runs stay on theirs."""
    known = draft.dag(event.dag_id)
    said = {name: getattr(event, name) for name in ("digest", "file", "schedule", "max_active_runs")}
    if known is not None and all(getattr(known, name) == value for name, value in said.items()):
        return draft.ignored(f"this is version {known.version} already")
    if not draft.snapshot.digests.get(event.digest, False):
        return draft.ignored("the value is not stored under its digest")
    before = known or DagRow(dag_id=event.dag_id, version=0, digest="", file="", task_count=0, updated_at=draft.now)
    version = before.version + (before.digest != event.digest)
    row = msgspec.structs.replace(before, **said, version=version, task_count=event.task_count, updated_at=draft.now)
    if before.schedule != row.schedule:
        row = msgspec.structs.replace(row, next_date=_first_date(row, draft.now))
    draft.changes.dags[event.dag_id] = row
    return draft.applied(f"version {version}")


def decide_pause(draft: Draft, event: Pause | Unpause) -> Decision:
    """An operator lets a DAG rest, or go on."""
    dag, paused = draft.dag(event.dag_id), isinstance(event, Pause)
    if dag is None:
        return draft.ignored(f"DAG {event.dag_id} is not known")
    if dag.paused is paused:
        return draft.ignored(f"the DAG is {'' if paused else 'not '}paused")
    draft.changes.dags[dag.dag_id] = msgspec.structs.replace(dag, paused=paused)
    draft.changes.looks.add(paused_room(dag.dag_id))
    return draft.applied()


def decide_schedule_timer(draft: Draft, event: ScheduleTimer) -> Decision:
    """A date of a DAG's schedule has come: ask for its run, and plan the next date."""
    dag = draft.dag(event.dag_id)
    if dag is None or dag.schedule is None or dag.next_date != event.due or event.due > draft.now:
        return draft.ignored("no such date is due")
    if dag.paused:
        return draft.ignored("the DAG is paused")
    if dag.active_runs >= dag.max_active_runs:
        return draft.ignored(f"{dag.active_runs} runs go on, as many as may")
    date = date_due(dag.schedule, dag.next_date, draft.now)
    start, end = interval_before(dag.schedule, date, last=dag.last_date)
    run = RunDue(
        dag_id=dag.dag_id,
        run_id=scheduled_run_id(dag.dag_id, date),
        logical_date=date,
        data_interval_start=start,
        data_interval_end=end,
        previous=dag.last_run,
    )
    draft.effects.append(FollowUp(run))
    draft.changes.dags[dag.dag_id] = msgspec.structs.replace(
        dag, last_run=run.run_id, last_date=date, next_date=date_after(dag.schedule, date, draft.now)
    )
    return draft.applied(f"run {run.run_id}")


def _first_date(dag: DagRow, now: datetime) -> datetime | None:
    return None if dag.schedule is None else first_date(dag.schedule, now, last=dag.last_date)
