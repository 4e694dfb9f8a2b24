"""What makes the times of a DAG legal: its schedule, time zone, dates and limits. `validation.py` reports it."""

from collections.abc import Iterator
from datetime import datetime

from .dag import Dag
from .errors import InvalidDag
from .limits import ACTIVE_RUNS_MAX
from .params import given_faults
from .schedule import CONTINUOUS, LISTED_MAX, first_date, schedule_fault, zone_of
from .task_rules import TIMEOUT_SECONDS_MIN


def time_faults(dag: Dag) -> Iterator[str]:
    """Yield what is wrong with when the DAG is due, without its id."""
    fault = _zone_fault(dag.timezone) or _schedule_fault(dag.schedule)
    if fault is not None:
        yield fault
    if dag.start_date is not None and dag.end_date is not None and dag.end_date < dag.start_date:
        yield f"end_date {dag.end_date.isoformat()} is before start_date {dag.start_date.isoformat()}: swap them"
    elif fault is None and dag.plan is not None and dag.start_date is not None and _never_comes(dag):
        yield f"no date of schedule {dag.plan.text!r} lies between start_date and end_date"
    if dag.schedule is not None:
        yield from (f"{fault}, for a schedule gives none" for fault in given_faults(dag.params, {}))
    if dag.catchup and dag.schedule is None:
        yield "catchup is set without a schedule: give it one, or leave catchup out"
    if not 1 <= dag.max_active_runs <= ACTIVE_RUNS_MAX:
        yield f"max_active_runs is {dag.max_active_runs}, and may be from 1 to {ACTIVE_RUNS_MAX}"
    for name, seconds in (("run_timeout", dag.run_timeout), ("deadline", dag.deadline)):
        if seconds is not None and seconds < TIMEOUT_SECONDS_MIN:
            yield f"{name} is {seconds:g} s, and may be from {TIMEOUT_SECONDS_MIN:g} s on"
    if dag.schedule == CONTINUOUS and dag.max_active_runs != 1:
        yield f"{CONTINUOUS!r} begins a run when the one before it has ended: write max_active_runs=1"


def _schedule_fault(schedule: str | tuple[datetime, ...] | None) -> str | None:
    match schedule:
        case str():
            return schedule_fault(schedule)
        case tuple() if not 1 <= len(schedule) <= LISTED_MAX:
            return f"schedule lists {len(schedule)} dates, and may list 1 to {LISTED_MAX}"
        case _:
            return None


def _zone_fault(name: str) -> str | None:
    try:
        zone_of(name)
    except InvalidDag as error:
        return str(error)
    return None


def _never_comes(dag: Dag) -> bool:
    plan, start = dag.plan, dag.start_date
    return plan is not None and start is not None and first_date(plan, start) is None
