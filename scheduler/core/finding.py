"""Which attempt an event is about, and whether it may speak of it: the token, the holder, the state, the publication.

Every function returns the run, the task instance and the attempt, or the reason why the event is about nothing.
"""

from typing import Final

from headway.protocol.messages import (
    AttemptMessage,
    DeliveryLimit,
    Expired,
    Finished,
    NotHeld,
    Rejected,
    Unroutable,
    WorkerLost,
)
from headway.protocol.states import FINAL_TASK_STATES, AttemptState, TaskState

from .rows import Attempt, AttemptKey, Run, TaskInstance, TaskKey, TimerKey
from .snapshot import Draft

Found = tuple[Run, TaskInstance, Attempt]

PENDING: Final = "it is about to be published again"


def find(draft: Draft, event: AttemptMessage) -> Found | str:
    """Find an attempt in any state by its address and token."""
    run = draft.run(event.run_id)
    task = draft.task(TaskKey(event.run_id, event.task_id, event.map_index))
    attempt = draft.attempt(AttemptKey(event.run_id, event.task_id, event.map_index, event.try_number))
    if run is None or task is None or attempt is None:
        return "no such attempt"
    if run.dag_id != event.dag_id:
        return f"run {run.run_id} is not one of DAG {event.dag_id}"
    if attempt.token != event.token:
        return "its token is not the attempt's"
    return run, task, attempt


def find_running(draft: Draft, event: Finished | WorkerLost | NotHeld) -> Found | str:
    """Find a running attempt that the boot holds."""
    found = find(draft, event)
    if isinstance(found, str):
        return found
    attempt = found[2]
    if attempt.state is not AttemptState.RUNNING:
        return f"the attempt is {attempt.state}"
    if (attempt.worker, attempt.boot) != (event.worker, event.boot):
        return f"the attempt was granted to boot {attempt.boot} of worker {attempt.worker}"
    return found


def find_reporting(draft: Draft, event: Finished) -> Found | str:
    """Find an attempt that the boot may report: a running one, or a lost one while no newer one was granted."""
    found = find(draft, event)
    if isinstance(found, str) or found[2].state is not AttemptState.LOST:
        return find_running(draft, event)
    _, task, attempt = found
    if (attempt.worker, attempt.boot) != (event.worker, event.boot):
        return f"the attempt was granted to boot {attempt.boot} of worker {attempt.worker}"
    if task.state in FINAL_TASK_STATES:
        return f"the attempt is lost, and the task ended as {task.state} before"
    if task.granted_try != attempt.try_number:
        return f"the attempt is lost, and attempt {task.granted_try} was granted since"
    return found


def find_queued(draft: Draft, event: AttemptMessage) -> Found | str:
    """Find an attempt that nobody was granted yet."""
    found = find(draft, event)
    if isinstance(found, str):
        return found
    _, task, attempt = found
    if attempt.state is not AttemptState.QUEUED or task.state is not TaskState.QUEUED:
        return f"the attempt is {attempt.state}"
    return found


def find_published(draft: Draft, event: Expired | DeliveryLimit | Unroutable | Rejected) -> Found | str:
    """Find the queued attempt whose newest message came back; an older one says nothing about the newest.

    Which one it is stands in its message id (see PublishTask), which the broker keeps. It comes back once: what waits
    for its backoff did so before.
    """
    found = find_queued(draft, event)
    if isinstance(found, str):
        return found
    attempt = found[2]
    token, _, publication = draft.envelope.message_id.rpartition(".")
    if token == attempt.token and publication != str(attempt.publications):
        return "it was published again since"
    return PENDING if is_pending(draft, attempt) else found


def is_pending(draft: Draft, attempt: Attempt) -> bool:
    """Say whether it came back before and waits for its backoff: nothing of it is with the broker now."""
    key = TimerKey(attempt.run_id, attempt.task_id, attempt.map_index, "republish")
    return draft.snapshot.timers.rows[key] is not None
