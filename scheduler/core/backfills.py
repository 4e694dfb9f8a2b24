"""Rules for backfills: the dates of a schedule between two days, so many at a time, in order.

A backfill is a stored row with a cursor. Each step asks for the runs of its next dates, as many as there is room for,
and whoever ends one of them asks for the next step: `backfill_step` names the cursor and is applied only while that is
the stored one. Runs of a backfill are its own: `max_active_runs` of the DAG neither counts nor holds them.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec

from headway.protocol.dag_events import Backfill, BackfillStep, Reprocess, RunDue
from headway.protocol.errors import InvalidName
from headway.protocol.limits import ACTIVE_RUNS_MAX
from headway.protocol.names import RunId, check_name, scheduled_run_id
from headway.protocol.params import given_faults
from headway.protocol.schedule import interval_before, next_between
from headway.protocol.states import FINAL_RUN_STATES, RunState

from .rows import BackfillRow, Run, VersionKey
from .snapshot import Decision, Draft, FollowUp

_replace = msgspec.structs.replace

STEP_DATES_MAX: Final = 50
"""Dates that one step looks at: of each it looks whether there is a run already."""


def decide_backfill(draft: Draft, event: Backfill) -> Decision:
    """An operator wants the runs of past dates."""
    if draft.backfill(event.backfill_id) is not None:
        return draft.ignored(f"a backfill {event.backfill_id} exists already")
    dag = draft.dag(event.dag_id)
    if dag is None:
        return draft.ignored(f"DAG {event.dag_id} is not known")
    graph = draft.snapshot.graphs[VersionKey(dag.dag_id, dag.version)]
    plan = graph.dag.plan
    fault = _fault(event) or next(given_faults(graph.dag.params, event.params), None)
    if fault is None and event.reverse and graph.has_past:
        fault = "some of its tasks depend on the past, so it cannot be run in reverse"
    end = min(event.end, draft.now).astimezone(UTC)
    begin = event.begin.astimezone(UTC)
    first = next_between(plan, begin, end, reverse=event.reverse) if plan is not None else None
    if fault is None and (plan is None or first is None):
        fault = f"the schedule of DAG {event.dag_id} has no date in that time that is over"
    if fault is not None or plan is None or first is None:
        return draft.ignored(str(fault))
    row = BackfillRow(
        backfill_id=event.backfill_id,
        dag_id=event.dag_id,
        schedule=plan,
        begin_date=begin,
        end_date=end,
        max_active=event.max_active,
        reverse=event.reverse,
        reprocess=event.reprocess,
        params=event.params,
        next_date=first,
        created_at=draft.now,
    )
    draft.changes.backfills[row.backfill_id] = row
    _go_on(draft, row)
    return draft.applied()


def decide_backfill_step(draft: Draft, event: BackfillStep) -> Decision:
    """A backfill has room for more runs."""
    row = draft.backfill(event.backfill_id)
    if row is None or row.dag_id != event.dag_id or row.next_date != event.cursor:
        return draft.ignored("this step was done before")
    if row.active >= row.max_active:
        return draft.ignored(f"{row.active} of its runs go on, as many as may")
    for date in dates_of_step(row, event.cursor):
        if row.active >= row.max_active:
            break
        run_id = run_of_date(draft, row, date)
        following = next_between(row.schedule, row.begin_date, row.end_date, after=date, reverse=row.reverse)
        if run_id is None:
            row = _replace(row, next_date=following, skipped=row.skipped + 1)
            continue
        row = _replace(row, next_date=following, made=row.made + 1, active=row.active + 1)
        row = _replace(row, asked=(*row.asked, run_id))
        draft.effects.append(FollowUp(_run_due(row, date, run_id)))
    draft.changes.backfills[row.backfill_id] = row
    _go_on(draft, row)
    return draft.applied()


def begin_in_backfill(draft: Draft, backfill_id: str, run_id: RunId, *, exists: bool) -> bool:
    """Note that a run begins that the backfill asked for, or leave it out where it `exists`; False if it did not ask.

    What is asked for may come twice, and counts once.
    """
    row = draft.backfill(backfill_id)
    if not draft.fact("asked", lambda: int(row is not None and run_id in row.asked)):
        return False
    if row is not None:
        row = _replace(row, asked=tuple(one for one in row.asked if one != run_id))
        if exists:
            row = _replace(row, active=row.active - 1, made=row.made - 1, skipped=row.skipped + 1)
        draft.changes.backfills[backfill_id] = row
        _go_on(draft, row)
    return True


def end_in_backfill(draft: Draft, backfill_id: str, *, failed: bool) -> None:
    """Give the place of a run that has ended to the next one of its backfill."""
    row = draft.backfill(backfill_id)
    if row is not None:
        row = _replace(row, active=row.active - 1, failed=row.failed + failed)
        draft.changes.backfills[backfill_id] = row
        _go_on(draft, row)


def dates_of_step(row: BackfillRow, cursor: datetime) -> list[datetime]:
    """Return the dates that one step may come to, from its cursor on."""
    dates: list[datetime] = []
    date: datetime | None = cursor
    while date is not None and len(dates) < STEP_DATES_MAX:
        dates.append(date)
        date = next_between(row.schedule, row.begin_date, row.end_date, after=date, reverse=row.reverse)
    return dates


def ids_of_date(row: BackfillRow, date: datetime) -> tuple[RunId, RunId]:
    """Return the ids of the date's run: that of a schedule, and that of this backfill where the other is taken."""
    return scheduled_run_id(row.dag_id, date), scheduled_run_id(row.dag_id, date, again=row.backfill_id)


def run_of_date(draft: Draft, row: BackfillRow, date: datetime) -> RunId | None:
    """Return the id of the run that is to be made for a date, or None where the newest one of it stands."""
    first, again = ids_of_date(row, date)
    known = draft.run(first)
    if known is None:
        return first
    newest = (draft.run(known.rerun) if known.rerun is not None else None) or known
    return again if _is_again(newest, row.reprocess) and draft.run(again) is None else None


def note_rerun(draft: Draft, run: Run) -> None:
    """Let the run that a date had at first know the one that a backfill makes of it again."""
    known = draft.run(scheduled_run_id(run.dag_id, run.logical_date))
    if known is not None and known.run_id != run.run_id:
        draft.changes.runs[known.run_id] = _replace(known, rerun=run.run_id)


def _is_again(run: Run, reprocess: Reprocess) -> bool:
    again = {"none": frozenset(), "failed": frozenset({RunState.FAILED}), "completed": FINAL_RUN_STATES}
    return run.state in again[reprocess]


def _fault(event: Backfill) -> str | None:
    try:
        check_name("backfill id", event.backfill_id)
    except InvalidName as error:
        return str(error)
    if event.end < event.begin:
        return "its end is before its begin"
    if not 1 <= event.max_active <= ACTIVE_RUNS_MAX:
        return f"max_active is {event.max_active}, and may be from 1 to {ACTIVE_RUNS_MAX}"
    return None


def _run_due(row: BackfillRow, date: datetime, run_id: RunId) -> RunDue:
    start, end = interval_before(row.schedule, date)
    return RunDue(
        dag_id=row.dag_id,
        run_id=run_id,
        logical_date=date,
        data_interval_start=start,
        data_interval_end=end,
        previous=scheduled_run_id(row.dag_id, start),
        backfill_id=row.backfill_id,
        params=row.params,
    )


def _go_on(draft: Draft, row: BackfillRow) -> None:
    """Ask for the next step, or end the backfill when nothing is left of it."""
    if row.next_date is None:
        if not row.active:
            draft.changes.backfills[row.backfill_id] = _replace(row, finished_at=draft.now)
    elif row.active < row.max_active:
        step = BackfillStep(dag_id=row.dag_id, backfill_id=row.backfill_id, cursor=row.next_date)
        draft.effects.append(FollowUp(step))
