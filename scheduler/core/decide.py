"""The heart: what an event means. `decide(snapshot, envelope, now) -> Decision`, pure, by one table.

The snapshot must hold the rows that `needs.py` names for the event. Nothing is changed here: a decision is a value that
says which rows change, which transitions that makes, and what else shall happen. The shell applies it to the snapshot,
writes it in one transaction with all others of its batch, and only then lets anything leave.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from headway.protocol.dag_events import (
    Backfill,
    BackfillStep,
    DagVersion,
    PastEnded,
    Pause,
    RunCapacity,
    RunDue,
    ScheduleTimer,
    Unpause,
)
from headway.protocol.messages import (
    Cancel,
    Capacity,
    Continue,
    DeliveryLimit,
    Expired,
    Finished,
    Heartbeat,
    LeaseTimer,
    Message,
    Missing,
    NotHeld,
    Offline,
    Online,
    Refused,
    Rejected,
    RunTimer,
    Started,
    TaskTimer,
    Trigger,
    Unroutable,
    WorkerLost,
)

from . import admission, attempts, backfills, returns, run_timers, runs, schedules, starting, workers
from .changes import NoSuchChange
from .snapshot import Decision, Draft, Envelope, Snapshot

DECIDE_VERSION: Final = 4
"""Rises with every change of a rule: an audit decides again only what the running version decided."""

Rule = Callable[[Draft, Any], Decision]

RULES: Final[dict[type[Message], Rule]] = {
    Started: attempts.decide_started,
    Finished: attempts.decide_finished,
    Refused: returns.decide_refusal,
    Rejected: returns.decide_refusal,
    Expired: returns.decide_expired,
    DeliveryLimit: returns.decide_delivery_limit,
    Unroutable: returns.decide_unroutable,
    WorkerLost: attempts.decide_loss,
    NotHeld: attempts.decide_loss,
    Missing: returns.decide_missing,
    Capacity: admission.decide_capacity,
    RunCapacity: starting.decide_run_capacity,
    Trigger: starting.decide_trigger,
    RunDue: starting.decide_run_due,
    Cancel: runs.decide_cancel,
    Continue: runs.decide_continue,
    PastEnded: runs.decide_past_ended,
    TaskTimer: runs.decide_task_timer,
    RunTimer: run_timers.decide_run_timer,
    DagVersion: schedules.decide_dag_version,
    Backfill: backfills.decide_backfill,
    BackfillStep: backfills.decide_backfill_step,
    Pause: schedules.decide_pause,
    Unpause: schedules.decide_pause,
    ScheduleTimer: schedules.decide_schedule_timer,
    Online: workers.decide_online,
    Heartbeat: workers.decide_heartbeat,
    Offline: workers.decide_offline,
    LeaseTimer: workers.decide_lease_timer,
}


def decide(snapshot: Snapshot, envelope: Envelope, now: datetime) -> Decision:
    """Say what `envelope.event` means at `now` (aware UTC): the same inputs give the same decision."""
    draft = Draft(snapshot, envelope, now)
    try:
        return RULES[type(envelope.event)](draft, envelope.event)
    except NoSuchChange as missing_row:
        return draft.ignored(str(missing_row))
