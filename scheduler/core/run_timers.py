"""Rules for the timers of runs: a deadline that is missed, and a run whose time is over."""

from datetime import UTC

from headway.protocol.messages import RunTimer
from headway.protocol.names import UNMAPPED
from headway.protocol.states import Intent

from .changes import change_run
from .rows import TimerKey
from .runs import cancel_slice, stored_due
from .snapshot import Decision, Draft
from .timers import NO_TASK


def decide_run_timer(draft: Draft, event: RunTimer) -> Decision:
    """A run should have ended by now, or must end now."""
    key = TimerKey(event.run_id, NO_TASK, UNMAPPED, event.timer)
    due = draft.fact("due", lambda: stored_due(draft, key, event))
    run = draft.run(event.run_id)
    if due != event.due.astimezone(UTC).isoformat() or event.due > draft.now or run is None:
        return draft.ignored("no such timer is due")
    draft.changes.timers[key] = None
    if event.timer == "deadline":
        return draft.applied("it missed its deadline")
    if run.intent is not None:
        return draft.applied("the timer is dropped: the run is being ended already")
    run = change_run(draft, run, intent=Intent.FAIL)
    cancel_slice(draft, run, draft.graph(run))
    return draft.applied("its time is over: it fails")
