"""Flood control: which ready task instances may be published to their queue now.

The backlog lives in the database; of each queue only a window is published, so that a flood shows in RabbitMQ's
management UI as Ready standing at the window. `admit` chooses and says so in `capacity` events, one for each run: the
choice itself is an event, recorded with the run that it concerns, and an audit needs nothing else to decide it again.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from headway.protocol.dag import output_sources
from headway.protocol.limits import ROWS_PER_DECISION_MAX
from headway.protocol.messages import Capacity, Instance
from headway.protocol.names import DagId, QueueName, RunId
from headway.protocol.states import AttemptState, EndReason, HoldReason, TaskChange, TaskState

from .assignment import input_fault, publish
from .changes import (
    end_rest,
    end_run_if_done,
    follow_downstream,
    forget_timers,
    move_task,
    resting_attempt,
    token_for,
)
from .polling import ask_again
from .rows import Attempt, QueueRow, Run, TaskInstance, TaskKey
from .snapshot import Decision, Draft, QueueDelta, Snapshot, Transition, moved

WINDOW_MIN: Final = 100
"""Messages published to a queue at least, whatever its workers: enough for a new worker to find work at once."""

WINDOW_PER_SLOT: Final = 2
"""Messages published for each slot: one that runs and one that is at hand when it ends."""

FULL_FRESH: Final = timedelta(seconds=15)
"""How long a queue counts as full after the broker refused a message: each is tried again every second, and what came
of it is noted every five."""


def hold_of(queue: QueueRow, now: datetime) -> HoldReason:
    """Return what holds the ready tasks of a queue back: whoever comes or takes something releases them."""
    if queue.full_at is not None and now - queue.full_at < FULL_FRESH:
        return HoldReason.BROKER_FULL
    return HoldReason.WINDOW if queue.workers else HoldReason.NO_WORKERS


def window_of(queue: QueueRow) -> int:
    """Return how many messages of a queue may be published and not yet granted."""
    return queue.window or max(WINDOW_MIN, WINDOW_PER_SLOT * queue.slots)


def free_in_window(queue: QueueRow, delta: QueueDelta) -> int:
    """Return how many more may be published, after what the batch has decided so far."""
    now = moved(queue, delta)
    return max(0, window_of(now) - now.queued)


def touched_queues(snapshot: Snapshot) -> list[QueueName]:
    """Return the queues that the batch may have made room in or has ready tasks for.

    Asked again after each admission: what was chosen and then failed for its inputs left its room to the next.
    """
    return sorted(queue for queue, delta in snapshot.changes.queues.items() if delta != QueueDelta())


def admit(snapshot: Snapshot, queue: QueueName, stored: Iterable[TaskInstance]) -> list[Capacity]:
    """Choose what is published next to one queue: by priority, then in the order of becoming ready.

    `stored` are the next waiting task instances that the database knows; those that the batch decided upon count as
    it decided them.
    """
    changed = snapshot.changes.tasks
    ready = [task for task in changed.values() if task.state is TaskState.SCHEDULED and task.queue == queue]
    ready += [task for task in stored if task.key not in changed]
    ready.sort(key=lambda task: (-task.priority, task.since, task.run_id, task.position))
    free = free_in_window(snapshot.queues[queue], snapshot.changes.queues.get(queue, QueueDelta()))
    chosen: dict[tuple[DagId, RunId], list[Instance]] = {}
    for task in ready[:free]:
        instance = Instance(task_id=task.task_id, map_index=task.map_index)
        chosen.setdefault((task.dag_id, task.run_id), []).append(instance)
    return [
        Capacity(
            dag_id=dag_id, run_id=run_id, queue=queue, instances=tuple(instances[start : start + ROWS_PER_DECISION_MAX])
        )
        for (dag_id, run_id), instances in chosen.items()
        for start in range(0, len(instances), ROWS_PER_DECISION_MAX)
    ]


def decide_capacity(draft: Draft, event: Capacity) -> Decision:
    """Queue the task instances that there is room for."""
    run = draft.run(event.run_id)
    if run is None or run.dag_id != event.dag_id:
        return draft.ignored("no such run")
    seed = str(draft.fact("seed", lambda: draft.envelope.seed))
    count = 0
    for instance in event.instances:
        task = draft.task(TaskKey(run.run_id, instance.task_id, instance.map_index))
        if task is not None and task.state is TaskState.SCHEDULED and task.queue == event.queue:
            _queue(draft, draft.run(run.run_id) or run, task, seed)
            count += 1
    return draft.applied() if count else draft.ignored("none of them is waiting for room any more")


def _queue(draft: Draft, run: Run, task: TaskInstance, seed: str) -> None:
    spec = draft.graph(run).task(task.task_id)
    fault = input_fault(draft, run, spec) if output_sources(spec) else None
    if fault is not None:
        _fail(draft, task, fault)
        return
    resting = resting_attempt(draft, task)
    attempt = _make_attempt(draft, task, seed) if resting is None else ask_again(draft, task, resting, seed)
    task = move_task(draft, task, TaskChange.ADMIT, hold=None, try_number=attempt.try_number)
    publish(draft, run, task, attempt)


def _make_attempt(draft: Draft, task: TaskInstance, seed: str) -> Attempt:
    attempt = Attempt(
        run_id=task.run_id,
        task_id=task.task_id,
        map_index=task.map_index,
        try_number=task.try_number + 1,
        dag_id=task.dag_id,
        token=token_for(seed, task, task.try_number + 1),
        state=AttemptState.QUEUED,
        queue=task.queue,
        publications=1,
        queued_at=draft.now,
        published_at=draft.now,
    )
    draft.changes.attempts[attempt.key] = attempt
    draft.transitions.append(
        Transition("attempt", task.task_id, task.map_index, attempt.try_number, "", AttemptState.QUEUED, "admit", "")
    )
    return attempt


def _fail(draft: Draft, task: TaskInstance, fault: str) -> None:
    """End a task that cannot be run, and tell its downstreams in decisions of their own: there may be many such."""
    forget_timers(draft, task)
    end_rest(draft, task, TaskChange.FAIL, reason=EndReason.BAD_INPUT, detail=fault)
    failed = move_task(draft, task, TaskChange.FAIL, hold=None, reason=EndReason.BAD_INPUT, detail=fault)
    if draft.graph(draft.run_of(failed)).downstream_of(failed.task_id):
        follow_downstream(draft, failed)
    end_run_if_done(draft, draft.run_of(failed))
