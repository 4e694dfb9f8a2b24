"""A task that says "not yet": its attempt rests, holds no slot and no worker, and is asked again after `poll_every`.

All polls are of one attempt, and each is granted by itself: it has a token, and with it a message and a holder, of its
own, so that whatever is still said of an earlier poll is about nothing (P2). While an attempt rests its task instance
is `up_for_reschedule`, or `scheduled` once the next poll is due and waits for room like any other.

A poll that comes to nothing through no fault of its own is an attempt that was lost: it spends `infra_retries`, which
each poll that answers gives back. Its late "not yet" is of no use, because the attempt that took its place asks too.
"""

from datetime import datetime, timedelta

import msgspec

from headway.protocol.dag import Task
from headway.protocol.durations import format_duration
from headway.protocol.names import Token, first_token
from headway.protocol.states import AttemptChange, AttemptState, EndReason, TaskChange, TaskState

from .changes import current_attempt, end_task, move_attempt, move_task, token_for, withdraw
from .rows import Attempt, Run, TaskInstance
from .snapshot import Draft
from .timers import after_seconds, set_timer


def give_up_at(spec: Task, task: TaskInstance) -> datetime | None:
    """Return when a task that has begun may say "not yet" no more."""
    if spec.poll_timeout is None or task.begun_at is None:
        return None
    return task.begun_at + timedelta(seconds=spec.poll_timeout)


def say_given_up(spec: Task) -> str:
    """Say why a task that polls has failed."""
    return f"it said 'not yet' until its poll_timeout of {format_duration(spec.poll_timeout or 0)} was over"


def rest(draft: Draft, run: Run, task: TaskInstance) -> None:
    """Let a task whose poll has ended with "not yet" be asked again when it is time."""
    spec = draft.graph(run).task(task.task_id)
    set_timer(draft, task, "poll", after_seconds(draft, spec.poll_every or 0))
    until = give_up_at(spec, task)
    if until is not None:
        set_timer(draft, task, "poll_timeout", until)
    move_task(draft, task, TaskChange.POLL, hold=None, infra_used=0, reason=None, detail="")


def ask_again(draft: Draft, task: TaskInstance, resting: Attempt, seed: str) -> Attempt:
    """Queue the next poll of an attempt, as if it were a new one; what the poll before came to goes."""
    poll = resting.polls + 1
    fresh = Attempt(
        **resting.key._asdict(),
        dag_id=resting.dag_id,
        token=Token(f"{first_token(resting.token)}-{token_for(seed, task, resting.try_number, poll)}"),
        state=AttemptState.QUEUED,
        queue=task.queue,
        publications=1,
        polls=poll,
        queued_at=draft.now,
        published_at=draft.now,
    )
    fields = {name: value for name, value in msgspec.structs.asdict(fresh).items() if name != "state"}
    return move_attempt(draft, resting, AttemptChange.ADMIT, **fields)


def give_up(draft: Draft, run: Run, task: TaskInstance) -> str:
    """Fail a task that has said "not yet" for too long, wherever its next poll is."""
    detail = say_given_up(draft.graph(run).task(task.task_id))
    if task.state is TaskState.QUEUED:
        withdraw(draft, current_attempt(draft, task), EndReason.POLL_TIMEOUT, detail)
    end_task(draft, task, TaskChange.FAIL, reason=EndReason.POLL_TIMEOUT, detail=detail)
    return detail
