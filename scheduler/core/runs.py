"""Rules for runs that are there: what operators ask for, timers of task instances, and slices of long work.

How a run begins stands in starting.py.

A run of any size is made, released, cancelled and cascaded in slices of at most 1,000 rows (P6). Each slice is an
event with a cursor, applied only where the stored cursor is the same, so that one that comes twice does nothing. No
task of a run is released before the last slice of its creation.
"""

from collections.abc import Iterable
from datetime import UTC, timedelta
from typing import Final, Literal, assert_never

from headway.protocol.codec import address_of
from headway.protocol.dag_events import PastEnded
from headway.protocol.errors import Corrupt
from headway.protocol.limits import ROWS_PER_DECISION_MAX
from headway.protocol.messages import Cancel, Continue, RunTimer, Stop, TaskTimer
from headway.protocol.names import UNMAPPED
from headway.protocol.states import (
    FINAL_RUN_STATES,
    FINAL_TASK_STATES,
    AttemptChange,
    EndReason,
    Intent,
    RunChange,
    RunState,
    TaskChange,
    TaskState,
)

from .assignment import publish_again
from .changes import (
    add_task,
    change_run,
    change_task,
    current_attempt,
    end_run_if_done,
    end_task,
    hold,
    is_ready,
    move_attempt,
    move_run,
    reason_of_cancel,
    release,
    spread_end,
    withdraw,
)
from .expansion import cancel_instances, expand_further, next_to_cancel
from .graph import Graph
from .past import may_begin
from .polling import give_up
from .returns import miss_deadline
from .rows import Run, TaskInstance, TaskKey, TimerKey
from .snapshot import Decision, Draft, FollowUp, SendOrder
from .timers import TIMER_STATES, after_seconds, clear_timers, forget_timers, set_run_timer, set_timer

STOP_REPEAT_SECONDS: Final = 15.0
"""Until the order to end a child is repeated: longer than a worker takes to TERM and KILL one."""

UNKILLABLE_SECONDS: Final = 300.0
"""From the first order to end a child until nobody waits for its end any more: as long as a usual lease, and far longer
than it takes to TERM and KILL any process that a kernel lets go."""


def decide_cancel(draft: Draft, event: Cancel) -> Decision:
    """End a run, or one of its tasks, without success; what runs is told to stop and ends when it has."""
    run = draft.run(event.run_id)
    if run is None or run.dag_id != event.dag_id:
        return draft.ignored(f"there is no run {event.run_id} of DAG {event.dag_id}")
    if run.state in FINAL_RUN_STATES:
        return draft.ignored(f"the run ended as {run.state} before")
    if event.task_id is not None:
        return _cancel_one(draft, run, event)
    if run.intent is not None:
        return draft.ignored(f"the run is being {'cancelled' if run.intent is Intent.CANCEL else 'ended'} already")
    if run.hold is not None:
        move_run(draft, run, RunChange.CANCEL, hold=None, unfinished=0, finished_at=draft.now)
        return draft.applied()
    run = change_run(draft, run, intent=Intent.CANCEL)
    if run.state is RunState.RUNNING:
        cancel_slice(draft, run, draft.graph(run))
    return draft.applied()


def decide_continue(draft: Draft, event: Continue) -> Decision:
    """Do the next slice, if it is the next one."""
    run = draft.run(event.run_id)
    if run is None or run.dag_id != event.dag_id:
        return draft.ignored("no such run")
    is_next = _go_on_with_run(draft, run, event) if event.task_id is None else _go_on_with_task(draft, run, event)
    return draft.applied() if is_next else draft.ignored("this slice was done before")


def _go_on_with_run(draft: Draft, run: Run, event: Continue) -> bool:
    graph = draft.graph(run)
    match event.step:
        case "create" if run.state is RunState.QUEUED and event.cursor == run.created:
            create_slice(draft, run, graph)
        case "release" if run.state is RunState.RUNNING and event.cursor == run.released:
            _release_slice(draft, run, graph)
        case "cancel" if run.state is RunState.RUNNING and event.cursor == run.cancelled:
            cancel_slice(draft, run, graph)
        case _:
            return False
    return True


def _go_on_with_task(draft: Draft, run: Run, event: Continue) -> bool:
    task = draft.task(TaskKey(run.run_id, event.task_id)) if event.task_id is not None else None
    if task is None:
        return False
    match event.step:
        case "downstream" if task.state in FINAL_TASK_STATES and event.cursor == task.propagated:
            spread_end(draft, run, task, event.cursor)
            end_run_if_done(draft, draft.run_of(task))
            return True
        case "expand_cancel":
            keys = next_to_cancel(draft, task, event.cursor)
            _cancel_open(draft, keys)
            return bool(keys)
        case _:
            return expand_further(draft, run, task, event)


def decide_past_ended(draft: Draft, event: PastEnded) -> Decision:
    """A task ended well in the run before: the same task here may wait for nothing else."""
    run = draft.run(event.run_id)
    task = draft.task(TaskKey(event.run_id, event.task_id, event.map_index))
    if run is None or task is None or run.dag_id != event.dag_id:
        return draft.ignored("no such task instance")
    is_node = task.map_index == UNMAPPED
    is_waiting = is_node and run.intent is None and task.state is TaskState.WAITING and is_ready(draft.graph(run), task)
    if not is_waiting or not may_begin(draft, run, task):
        return draft.ignored("the task does not wait for that")
    release(draft, task)
    return draft.applied()


def decide_task_timer(draft: Draft, event: TaskTimer) -> Decision:
    """Retry, poll, publish again, run out of patience, or repeat the order to stop: a stored timer is due."""
    # A fact, since a timer whose event was quarantined is put off without a record.
    key = TimerKey(event.run_id, event.task_id, event.map_index, event.timer)
    due = draft.fact("due", lambda: stored_due(draft, key, event))
    if due != event.due.astimezone(UTC).isoformat() or event.due > draft.now:
        return draft.ignored("no such timer is due")
    run = draft.run(event.run_id)
    task = draft.task(TaskKey(event.run_id, event.task_id, event.map_index))
    if run is None or task is None:
        return draft.ignored("no such task instance")
    clear_timers(draft, task, event.timer)
    if task.state not in TIMER_STATES[event.timer]:
        return draft.applied(f"the timer is dropped: the task is {task.state}")
    return draft.applied(_ring(draft, run, task, event))


def stored_due(draft: Draft, key: TimerKey, event: TaskTimer | RunTimer) -> str | None:
    """Return when a timer of the event's DAG is due, as it is recorded; None where there is none."""
    stored = draft.snapshot.timers.rows[key]
    return None if stored is None or stored.dag_id != event.dag_id else stored.due.astimezone(UTC).isoformat()


def _ring(draft: Draft, run: Run, task: TaskInstance, event: TaskTimer) -> str:
    said = ""
    match event.timer:
        case "retry" | "poll":
            hold(draft, task, TaskChange.WAKE)
        case "poll_timeout":
            said = give_up(draft, run, task)
        case "queued_deadline":
            said = miss_deadline(draft, run, task, current_attempt(draft, task))
        case "republish":
            publish_again(draft, run, task, current_attempt(draft, task))
            said = "published again"
        case "queued_timeout":
            said = _lose_patience(draft, run, task, event)
        case "stop":
            _order_stop(draft, task)
            said = "the order to stop is repeated"
        case "unkillable":
            said = _give_up(draft, task)
        case "deadline":
            said = "it missed its deadline"
        case _:
            assert_never(event.timer)
    return said


def create_slice(draft: Draft, run: Run, graph: Graph) -> None:
    """Make the next task instances of a run, and begin it once all are there."""
    begin, end = run.created, min(run.created + ROWS_PER_DECISION_MAX, len(graph.tasks))
    for position in range(begin, end):
        add_task(draft, run, graph, position)
    run = change_run(draft, run, created=end)
    if end < len(graph.tasks):
        _go_on(draft, run, "create", end)
        return
    run = move_run(draft, run, RunChange.START, started_at=draft.now)
    if graph.dag.run_timeout is not None:
        set_run_timer(draft, run, "run_timeout", after_seconds(draft, graph.dag.run_timeout))
    if run.intent is Intent.CANCEL:
        _go_on(draft, run, "cancel", 0)
    elif begin == 0 and run.previous is None:  # all tasks are of this decision, so it may look at them
        _release_slice(draft, run, graph)
    else:
        _go_on(draft, run, "release", 0)


def _release_slice(draft: Draft, run: Run, graph: Graph) -> None:
    end = min(run.released + ROWS_PER_DECISION_MAX, len(graph.roots))
    for task_id in graph.ids(graph.roots[run.released : end]):
        task = draft.task(TaskKey(run.run_id, task_id))
        if task is not None and task.state is TaskState.WAITING:
            release(draft, task)
    change_run(draft, run, released=end)
    if end < len(graph.roots):
        _go_on(draft, run, "release", end)


def cancel_slice(draft: Draft, run: Run, graph: Graph) -> None:
    """Cancel the next task instances of a run that is to end, and end it once nothing is left."""
    end = min(run.cancelled + ROWS_PER_DECISION_MAX, len(graph.tasks))
    positions = range(run.cancelled, end)
    run = change_run(draft, run, cancelled=end)
    _cancel_open(draft, [TaskKey(run.run_id, task_id) for task_id in graph.ids(positions)])
    if end < len(graph.tasks):
        _go_on(draft, run, "cancel", end)
    end_run_if_done(draft, draft.run(run.run_id) or run)


def _cancel_one(draft: Draft, run: Run, event: Cancel) -> Decision:
    if run.state is RunState.QUEUED:
        return draft.ignored("the run's tasks are still being made: cancel the run, or try again in a moment")
    task = draft.task(TaskKey(run.run_id, event.task_id, event.map_index)) if event.task_id is not None else None
    if task is None:
        return draft.ignored(f"the run has no task {event.task_id}{f'[{event.map_index}]' * (event.map_index >= 0)}")
    if task.state in FINAL_TASK_STATES:
        return draft.ignored(f"the task ended as {task.state} before")
    _cancel_task(draft, task)
    return draft.applied()


def _cancel_open(draft: Draft, keys: Iterable[TaskKey]) -> None:
    for key in keys:
        task = draft.task(key)
        if task is not None and task.state not in FINAL_TASK_STATES:
            _cancel_task(draft, task)


def _cancel_task(draft: Draft, task: TaskInstance) -> None:
    run = draft.run_of(task)
    reason, detail = reason_of_cancel(run), f"cancelled by {draft.envelope.user_id}"
    if reason is EndReason.RUN_TIMEOUT:
        detail = f"cancelled, for its run had gone on for {draft.graph(run).dag.run_timeout:g} s"
    if task.state is TaskState.MAPPED and cancel_instances(draft, task, detail):
        return
    if task.state is TaskState.RUNNING:
        if task.intent is not Intent.CANCEL:
            task = change_task(draft, task, intent=Intent.CANCEL, detail=detail)
            set_timer(draft, task, "unkillable", after_seconds(draft, UNKILLABLE_SECONDS))
        _order_stop(draft, task)
        return
    if task.state is TaskState.QUEUED:
        withdraw(draft, current_attempt(draft, task), reason)
    end_task(draft, task, TaskChange.CANCEL, reason=reason, detail=detail)


def _give_up(draft: Draft, task: TaskInstance) -> str:
    """Wait no longer for the end of a cancelled child: it may run on, and whatever it reports comes too late."""
    attempt = current_attempt(draft, task)
    detail = f"{task.detail}, and worker {attempt.worker} did not end it within {UNKILLABLE_SECONDS:g} s"
    move_attempt(
        draft,
        attempt,
        AttemptChange.CANCEL,
        reason=EndReason.UNKILLABLE,
        detail=detail,
        finished_at=draft.now,
        decided_by=draft.envelope.ref,
    )
    end_task(draft, task, TaskChange.CANCEL, reason=EndReason.UNKILLABLE, detail=detail)
    return detail


ANEW_SECONDS_MAX: Final = 3600.0
"""How much of its patience a task has anew, like a lease, once the scheduler is there again, or somebody has set the
database's clock: no worker could take it meanwhile, or nobody knows how long it has waited. No more than this, so that
a patience of a day comes to an end where a scheduler is restarted each night."""

WHY_IT_WAITS: Final = {
    EndReason.UNROUTABLE: EndReason.UNROUTABLE,
    EndReason.LOST: EndReason.LOST,
    EndReason.POISONED: EndReason.LOST,
    EndReason.REFUSED: EndReason.NO_WORKERS,
}
"""What patience ends with while a message that came back, for the reason at the left, waits to be published again."""


def _lose_patience(draft: Draft, run: Run, task: TaskInstance, event: TaskTimer) -> str:
    spec = draft.graph(run).task(task.task_id)
    patience = spec.queued_timeout or 0.0
    over = event.listening_since + timedelta(seconds=min(patience, ANEW_SECONDS_MAX))
    if over > draft.now:
        set_timer(draft, task, "queued_timeout", over)
        return "its patience begins anew: we were not listening all the time"
    slots = draft.fact("slots", lambda: draft.snapshot.queues[task.queue].slots)
    reason = EndReason.NO_CAPACITY if slots else EndReason.NO_WORKERS
    if draft.snapshot.timers.rows[TimerKey(*task.key, "republish")] is not None:
        came_back = current_attempt(draft, task).reason
        reason = WHY_IT_WAITS[came_back] if came_back is not None else reason
    if spec.on_queued_timeout == "requeue":
        return _requeue(draft, task, reason, patience)
    if task.state is TaskState.QUEUED:
        withdraw(draft, current_attempt(draft, task), reason)
    detail = f"nobody took it from queue {task.queue} for {patience:g} s"
    end_task(draft, task, TaskChange.FAIL, reason=reason, detail=detail)
    return detail


def _requeue(draft: Draft, task: TaskInstance, reason: EndReason, patience: float) -> str:
    """Let a task wait on: at the end of its line, where workers are busy and others wait for room in their queue.

    Else nobody is helped by it, and each turn leaves a message behind in the queue, for a worker to drop.
    """
    if reason is EndReason.NO_CAPACITY and draft.fact("waiting", lambda: draft.snapshot.queues[task.queue].waiting):
        if task.state is TaskState.QUEUED:
            withdraw(draft, current_attempt(draft, task), reason)
            forget_timers(draft, task)
        hold(draft, task, TaskChange.REQUEUE)
        return f"goes to the end of the line: no capacity on queue {task.queue}"
    set_timer(draft, task, "queued_timeout", after_seconds(draft, patience))
    return f"goes on waiting: {reason.replace('_', ' ')} on queue {task.queue}"


def _order_stop(draft: Draft, task: TaskInstance) -> None:
    attempt = current_attempt(draft, task)
    if attempt.worker is None or attempt.boot is None:
        raise Corrupt(detail=f"task {task.task_id} of run {task.run_id} is running, and nobody holds it")
    order = Stop(**address_of(attempt), boot=attempt.boot, reason=EndReason.CANCELLED)
    draft.effects.append(SendOrder(attempt.worker, order))
    set_timer(draft, task, "stop", after_seconds(draft, STOP_REPEAT_SECONDS))


def _go_on(draft: Draft, run: Run, step: Literal["create", "release", "cancel"], cursor: int) -> None:
    draft.effects.append(FollowUp(Continue(dag_id=run.dag_id, run_id=run.run_id, step=step, cursor=cursor)))
