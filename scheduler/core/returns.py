"""Rules for a message that came to nothing: it expired, came back, was refused, or the broker has lost it.

Its attempt was never granted, so nothing was started and no budget is spent: the same attempt is published again, at
once where it has waited long enough in its queue, else with a backoff. Only what comes back as poison, or is refused
by as many workers as one may ask, ends the attempt and spends `infra_retries`. Why it came back last stands in the
attempt until it is granted.
"""

from typing import Final

import msgspec

from headway.protocol.messages import DeliveryLimit, Expired, Missing, Refused, Rejected, Unroutable
from headway.protocol.names import BootId, WorkerName
from headway.protocol.states import AttemptChange, EndReason

from .assignment import publish_again
from .changes import move_attempt
from .finding import PENDING, Found, find_published, find_queued, is_pending
from .retry import republish_delay, rerun_or_fail
from .rows import Attempt, Run, TaskInstance
from .snapshot import Decision, DeclareQueue, Draft
from .timers import after_seconds, forget_timers, set_timer

POISON_RETURNS: Final = 3
"""Delivery limits in a row that make a message poison: fifteen workers or more have died or left with it in hand."""

REFUSALS_MAX: Final = 3
"""Different workers that must refuse an attempt to end it; where fewer serve its queue, all of them."""


def decide_expired(draft: Draft, event: Expired) -> Decision:
    """Nobody took it within its queue's TTL, which was wait enough: it is published again at once."""
    found = find_published(draft, event)
    if isinstance(found, str):
        return draft.ignored(found)
    run, task, attempt = found
    publish_again(draft, run, task, msgspec.structs.replace(attempt, reason=None, detail="", returns=0))
    return draft.applied("published again")


def decide_missing(draft: Draft, event: Missing) -> Decision:
    """The broker has lost the message of a queued attempt: it is published again, unless that was done since."""
    found = find_queued(draft, event)
    if isinstance(found, str):
        return draft.ignored(found)
    if event.publication != found[2].publications:
        return draft.ignored("it was published again since")
    if is_pending(draft, found[2]):
        return draft.ignored(PENDING)
    run, task, attempt = found
    lost = _came_back(attempt, EndReason.LOST, "the broker does not have its message any more")
    draft.queue(task.queue).mended += 1
    if lost.returns > 1:
        return draft.applied(_wait(draft, found, lost))
    publish_again(draft, run, task, lost)
    return draft.applied("published again")


def miss_deadline(draft: Draft, run: Run, task: TaskInstance, attempt: Attempt) -> str:
    """Publish a message again that was neither taken nor handed back in its time, which was wait enough."""
    draft.queue(task.queue).mended += 1
    publish_again(draft, run, task, _came_back(attempt, EndReason.LOST, "its message neither was taken nor came back"))
    return "published again"


def decide_unroutable(draft: Draft, event: Unroutable) -> Decision:
    """No such queue: declare it, and publish again in a moment."""
    found = find_published(draft, event)
    if isinstance(found, str):
        return draft.ignored(found)
    draft.effects.append(DeclareQueue(event.queue))
    back = _came_back(found[2], EndReason.UNROUTABLE, f"the broker has no queue {event.queue}")
    return draft.applied(f"the queue is declared, and the message {_wait(draft, found, back)}")


def decide_delivery_limit(draft: Draft, event: DeliveryLimit) -> Decision:
    """It came back from dying or leaving workers: it is tried again, until it counts as what they die of."""
    found = find_published(draft, event)
    if isinstance(found, str):
        return draft.ignored(found)
    run, task, attempt = found
    back = _came_back(attempt, EndReason.POISONED, "its message came back from dying or leaving workers")
    if back.returns < POISON_RETURNS:
        return draft.applied(_wait(draft, found, back))
    detail = f"its message came back from dying or leaving workers {back.returns} times in a row"
    _end(draft, back, AttemptChange.WITHDRAW, EndReason.POISONED, detail)
    forget_timers(draft, task)
    rerun_or_fail(draft, run, task, reason=EndReason.POISONED, detail=detail)
    return draft.applied()


def decide_refusal(draft: Draft, event: Refused | Rejected) -> Decision:
    """A worker cannot run the attempt, or cannot read it: others may, and are asked before the attempt ends."""
    found = find_queued(draft, event) if isinstance(event, Refused) else find_published(draft, event)
    if isinstance(found, str):
        return draft.ignored(found)
    run, task, attempt = found
    refused_by = dict(attempt.refused_by)
    if isinstance(event, Refused):
        boot, seq = refused_by.get(event.worker, (None, 0))
        if boot == event.boot and event.seq <= seq:
            return draft.ignored("this refusal was counted before")
        refused_by[event.worker] = (event.boot, event.seq)
        detail = event.detail
    else:
        refused_by[WorkerName(f"#{len(refused_by)}")] = (BootId(""), 0)  # the broker does not say who it was
        detail = f"a worker of queue {event.queue} could not read it"
    back = msgspec.structs.replace(_came_back(attempt, EndReason.REFUSED, detail), refused_by=refused_by)
    serving = draft.fact("workers", lambda: draft.snapshot.queues[task.queue].workers)
    if len(refused_by) < min(REFUSALS_MAX, int(serving or 0)):
        if is_pending(draft, attempt):
            draft.changes.attempts[back.key] = back
            return draft.applied(PENDING)
        return draft.applied(f"{_wait(draft, found, back)}, for others: {len(refused_by)} refused it")
    _end(draft, back, AttemptChange.REFUSE, EndReason.REFUSED, detail)
    forget_timers(draft, task)
    rerun_or_fail(draft, run, task, reason=EndReason.REFUSED, detail=detail)
    return draft.applied()


def _came_back(attempt: Attempt, reason: EndReason, detail: str) -> Attempt:
    """Note why, and count how often in a row."""
    returns = attempt.returns + 1 if attempt.reason is reason else 1
    return msgspec.structs.replace(attempt, reason=reason, detail=detail, returns=returns)


def _wait(draft: Draft, found: Found, back: Attempt) -> str:
    """Let a message be published again in a while that is longer each time."""
    draft.changes.attempts[back.key] = back
    seconds = republish_delay(back.returns)
    set_timer(draft, found[1], "republish", after_seconds(draft, seconds))
    return f"is published again in {seconds:g} s"


def _end(draft: Draft, attempt: Attempt, change: AttemptChange, reason: EndReason, detail: str) -> None:
    move_attempt(
        draft,
        attempt,
        change,
        reason=reason,
        detail=detail,
        finished_at=draft.now,
        decided_by=draft.envelope.ref,
    )
