"""Flood control: which ready task instances may be published to their queue now.

The backlog lives in the database; of each queue only a window is published, so that a flood shows in RabbitMQ's
management UI as Ready standing at the window. Who goes next is chosen in choice.py and said in `capacity` events, one
for each run: the choice itself is an event, recorded with the run that it concerns, and an audit needs nothing else to
decide it again.
"""

from datetime import datetime, timedelta
from typing import Final, assert_never

import msgspec

from headway.protocol.messages import Capacity
from headway.protocol.names import QueueName
from headway.protocol.states import AttemptState, EndReason, HoldReason, TaskChange, TaskState

from .assignment import input_fault, publish
from .changes import begin_patience, end_apart, move_task, resting_attempt, token_for
from .deltas import QueueDelta, moved
from .limits import count_in_rooms, first_room, hold_of_room, paused_room, queue_room
from .polling import ask_again
from .rows import Attempt, QueueRow, Room, Run, TaskInstance, TaskKey
from .snapshot import Decision, Draft, Snapshot, Transition
from .timers import clear_timers

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

    Asked again after each choice: what was chosen and then failed for its inputs left its room to the next.
    """
    return sorted(queue for queue, delta in snapshot.changes.queues.items() if delta != QueueDelta())


def decide_capacity(draft: Draft, event: Capacity) -> Decision:
    """Let the task instances go on that what they waited for is there for."""
    run = draft.run(event.run_id)
    if run is None or run.dag_id != event.dag_id:
        return draft.ignored("no such run")
    if event.to == "look":
        draft.changes.looks.add(Room(event.room))
        return draft.applied(f"those who wait for {event.room} are looked at again")
    seed = str(draft.fact("seed", lambda: draft.envelope.seed)) if event.to == "queue" else ""
    count = 0
    for instance in event.instances:
        task = draft.task(TaskKey(run.run_id, instance.task_id, instance.map_index))
        if task is not None and task.state is TaskState.SCHEDULED and task.queue == event.queue:
            _go_on(draft, task, event, seed)
            count += 1
    return draft.applied() if count else draft.ignored("none of them is waiting for room any more")


def _go_on(draft: Draft, task: TaskInstance, event: Capacity, seed: str) -> None:
    match event.to:
        case "queue":
            if task.hold is not HoldReason.WINDOW:
                begin_patience(draft, task)
            _queue(draft, draft.run_of(task), task, seed)
        case "window":
            begin_patience(draft, _change_room(draft, task, queue_room(task.queue)))
        case "limits":
            room = first_room(draft, task)
            moved = _change_room(draft, task, room)
            if moved.hold is HoldReason.WINDOW:
                begin_patience(draft, moved)
        case "paused":
            clear_timers(draft, task, "queued_timeout")
            _change_room(draft, task, paused_room(task.dag_id))
        case "failed" | "look":  # which names nobody
            end_apart(draft, task, TaskChange.FAIL, reason=EndReason.BAD_POOL, detail=event.detail)
        case _:
            assert_never(event.to)


def _change_room(draft: Draft, task: TaskInstance, room: Room) -> TaskInstance:
    """Let a held task instance wait for something else."""
    moved = msgspec.structs.replace(task, hold=hold_of_room(room), room=room, turn=0)
    draft.changes.tasks[task.key] = moved
    draft.changes.looks.add(room)
    count_in_rooms(draft, task, moved)
    return moved


def _queue(draft: Draft, run: Run, task: TaskInstance, seed: str) -> None:
    fault = input_fault(draft, run, task)
    if fault is not None:
        end_apart(draft, task, TaskChange.FAIL, reason=EndReason.BAD_INPUT, detail=fault)
        return
    resting = resting_attempt(draft, task)
    attempt = _make_attempt(draft, task, seed) if resting is None else ask_again(draft, task, resting, seed)
    task = move_task(draft, task, TaskChange.ADMIT, try_number=attempt.try_number)
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
