"""Rules for runs as a whole: what operators ask for, timers of task instances, and slices of long work.

A run of any size is made, released, cancelled and cascaded in slices of at most 1,000 rows (P6). Each slice is an
event with a cursor, applied only where the stored cursor is the same, so that one that comes twice does nothing. No
task of a run is released before the last slice of its creation.
"""

from collections.abc import Iterable
from datetime import UTC, timedelta
from typing import Final, Literal, assert_never

from headway.protocol.codec import address_of
from headway.protocol.errors import Corrupt, InvalidName
from headway.protocol.limits import ROWS_PER_DECISION_MAX
from headway.protocol.messages import Cancel, Continue, DagVersion, Stop, TaskTimer, Trigger
from headway.protocol.names import DagId, check_name
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
    TIMER_STATES,
    add_task,
    after_seconds,
    change_run,
    change_task,
    clear_timers,
    current_attempt,
    end_run_if_done,
    end_task,
    forget_timers,
    hold,
    move_attempt,
    move_run,
    release,
    set_timer,
    spread_end,
    withdraw,
)
from .expansion import cancel_instances, expand_further, next_to_cancel
from .graph import Graph
from .polling import give_up
from .returns import miss_deadline
from .rows import DagRow, Run, TaskInstance, TaskKey, TimerKey, VersionKey
from .snapshot import Decision, Draft, FollowUp, SendOrder, Transition

STOP_REPEAT_SECONDS: Final = 15.0
"""Until the order to end a child is repeated: longer than a worker takes to TERM and KILL one."""

UNKILLABLE_SECONDS: Final = 300.0
"""From the first order to end a child until nobody waits for its end any more: as long as a usual lease, and far longer
than it takes to TERM and KILL any process that a kernel lets go."""


def decide_dag_version(draft: Draft, event: DagVersion) -> Decision:
    """A DAG file changed: number the new version. Runs stay on theirs."""
    known = draft.snapshot.dags.rows[event.dag_id]
    if known is not None and known.digest == event.digest and known.file == event.file:
        return draft.ignored(f"this is version {known.version} already")
    if not draft.snapshot.digests.get(event.digest, False):
        return draft.ignored("the value is not stored under its digest")
    same = known is not None and known.digest == event.digest
    version = (known.version if known is not None else 0) + (not same)
    draft.changes.dags[event.dag_id] = DagRow(
        dag_id=event.dag_id,
        version=version,
        digest=event.digest,
        file=event.file,
        task_count=event.task_count,
        updated_at=draft.now,
        paused=known is not None and known.paused,
    )
    return draft.applied(f"version {version}")


def decide_trigger(draft: Draft, event: Trigger) -> Decision:
    """Start a run on the DAG's newest version."""
    if draft.run(event.run_id) is not None:
        return draft.ignored(f"a run {event.run_id} exists already")
    try:
        check_name("run id", event.run_id)
    except InvalidName as error:
        return draft.ignored(str(error))
    version = draft.fact("version", lambda: _newest_version(draft, event.dag_id))
    if not isinstance(version, int):
        return draft.ignored(f"DAG {event.dag_id} is not known")
    graph = draft.snapshot.graphs[VersionKey(event.dag_id, version)]
    unknown = sorted(event.params.keys() - graph.dag.params.keys())
    if unknown:
        return draft.ignored(f"DAG {event.dag_id} has no parameter {unknown[0]!r}")
    run = Run(
        run_id=event.run_id,
        dag_id=event.dag_id,
        version=version,
        state=RunState.QUEUED,
        logical_date=event.logical_date.astimezone(UTC),
        params=event.params,
        created_at=draft.now,
        unfinished=len(graph.tasks),
    )
    draft.changes.runs[run.run_id] = run
    draft.transitions.append(Transition("run", "", 0, 0, "", RunState.QUEUED, "trigger", ""))
    _create_slice(draft, run, graph)
    return draft.applied()


def decide_cancel(draft: Draft, event: Cancel) -> Decision:
    """End a run, or one of its tasks, without success; what runs is told to stop and ends when it has."""
    run = draft.run(event.run_id)
    if run is None or run.dag_id != event.dag_id:
        return draft.ignored(f"there is no run {event.run_id} of DAG {event.dag_id}")
    if run.state in FINAL_RUN_STATES:
        return draft.ignored(f"the run ended as {run.state} before")
    if event.task_id is not None:
        return _cancel_one(draft, run, event)
    if run.intent is Intent.CANCEL:
        return draft.ignored("the run is being cancelled already")
    run = change_run(draft, run, intent=Intent.CANCEL)
    if run.state is RunState.RUNNING:
        _cancel_slice(draft, run, draft.graph(run))
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
            _create_slice(draft, run, graph)
        case "release" if run.state is RunState.RUNNING and event.cursor == run.released:
            _release_slice(draft, run, graph)
        case "cancel" if run.state is RunState.RUNNING and event.cursor == run.cancelled:
            _cancel_slice(draft, run, graph)
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


def decide_task_timer(draft: Draft, event: TaskTimer) -> Decision:
    """Retry, poll, publish again, run out of patience, or repeat the order to stop: a stored timer is due."""
    # A fact, since a timer whose event was quarantined is put off without a record.
    due = draft.fact("due", lambda: _stored_due(draft, event))
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


def _stored_due(draft: Draft, event: TaskTimer) -> str | None:
    stored = draft.snapshot.timers.rows[TimerKey(event.run_id, event.task_id, event.map_index, event.timer)]
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
        case _:
            assert_never(event.timer)
    return said


def _newest_version(draft: Draft, dag_id: DagId) -> int | None:
    dag = draft.snapshot.dags.rows[dag_id]
    return None if dag is None else dag.version


def _create_slice(draft: Draft, run: Run, graph: Graph) -> None:
    begin, end = run.created, min(run.created + ROWS_PER_DECISION_MAX, len(graph.tasks))
    for position in range(begin, end):
        add_task(draft, run, graph, position)
    run = change_run(draft, run, created=end)
    if end < len(graph.tasks):
        _go_on(draft, run, "create", end)
        return
    run = move_run(draft, run, RunChange.START, started_at=draft.now)
    if run.intent is Intent.CANCEL:
        _go_on(draft, run, "cancel", 0)
    elif begin == 0:  # all tasks are of this decision, so it may look at them
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


def _cancel_slice(draft: Draft, run: Run, graph: Graph) -> None:
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
    detail = f"cancelled by {draft.envelope.user_id}"
    if task.state is TaskState.MAPPED and cancel_instances(draft, task, detail):
        return
    if task.state is TaskState.RUNNING:
        if task.intent is not Intent.CANCEL:
            task = change_task(draft, task, intent=Intent.CANCEL, detail=detail)
            set_timer(draft, task, "unkillable", after_seconds(draft, UNKILLABLE_SECONDS))
        _order_stop(draft, task)
        return
    if task.state is TaskState.QUEUED:
        withdraw(draft, current_attempt(draft, task), EndReason.CANCELLED)
    end_task(draft, task, TaskChange.CANCEL, reason=EndReason.CANCELLED, detail=detail)


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
