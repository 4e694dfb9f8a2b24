"""Rules for what workers and the broker say about one attempt.

The decision about `started` is the gate of the whole system: an attempt is granted to at most one worker boot, ever
(P2). Everything else that speaks of an attempt must show its token and be about the attempt as it stands.
"""

from typing import Final

from headway.protocol.codec import address_of
from headway.protocol.dag import Task as TaskSpec
from headway.protocol.messages import (
    AttemptMessage,
    DeliveryLimit,
    Drop,
    Expired,
    Finished,
    Grant,
    Missing,
    NotHeld,
    Refused,
    Rejected,
    Started,
    Unroutable,
    WorkerLost,
)
from headway.protocol.states import (
    AttemptChange,
    AttemptState,
    EndReason,
    Intent,
    TaskChange,
    TaskState,
    WorkerState,
)

from .assignment import publish_again
from .changes import (
    after_seconds,
    end_task,
    forget_timers,
    hold,
    move_attempt,
    move_task,
    set_timer,
)
from .retry import retry_delay
from .rows import Attempt, AttemptKey, BootKey, Output, Run, TaskInstance, TaskKey, TimerKey
from .snapshot import Decision, DeclareQueue, Draft, SendOrder

UNROUTABLE_RETRY_SECONDS: Final = 1.0
"""Until an unroutable message is published again: the queue was declared in the meantime."""

INFRASTRUCTURE_REASONS: Final = frozenset({EndReason.LEASE, EndReason.SHUTDOWN})
"""Ends that a worker brought about for reasons of its own: they spend `infra_retries`, never `retries`."""


def decide_started(draft: Draft, event: Started) -> Decision:
    """A slot is ready: grant, grant again to the same boot, or tell it to drop."""
    found = _find(draft, event)
    if isinstance(found, str):
        return draft.ignored(found, _drop(event, found))
    _, task, attempt = found
    holder = BootKey(event.worker, event.boot)
    if attempt.state is AttemptState.RUNNING and (attempt.worker, attempt.boot) == holder:
        return _grant_again(draft, event, attempt, holder)
    if attempt.state is not AttemptState.QUEUED or task.try_number != event.try_number:
        reason = f"the attempt is {attempt.state}"
        return draft.ignored(reason, _drop(event, reason))
    standing = draft.fact("boot", lambda: _standing(draft, holder))
    if standing == WorkerState.ENDED:
        return draft.ignored(f"boot {event.boot} of worker {event.worker} has ended: nothing is granted to it any more")
    if standing != WorkerState.ONLINE:
        return draft.ignored(f"boot {event.boot} of worker {event.worker} is {standing}: it must report first")
    forget_timers(draft, task)
    move_attempt(
        draft,
        attempt,
        AttemptChange.GRANT,
        worker=event.worker,
        boot=event.boot,
        granted_seq=event.seq,
        started_at=draft.now,
    )
    move_task(draft, task, TaskChange.GRANT)
    draft.effects.append(_grant(event))
    return draft.applied()


def _grant_again(draft: Draft, event: Started, attempt: Attempt, holder: BootKey) -> Decision:
    """Answer a holder that asks once more, unless a `worker_lost` is about to take the attempt away.

    A drop, and no silence: a worker that does not hold it is missed, should the loss be a clock set back.
    """
    if draft.fact("was_lost", lambda: int(_was_lost_since(draft, attempt, holder))):
        reason = "its boot was thought lost after the grant"
        return draft.ignored(reason, _drop(event, reason))
    return draft.ignored("granted before to this boot: granted again", _grant(event))


def decide_finished(draft: Draft, event: Finished) -> Decision:
    """A child ended: success, a retry, or the end."""
    found = _find_running(draft, event)
    if isinstance(found, str):
        return draft.ignored(found)
    run, task, attempt = found
    reason = _failure_of(event)
    if reason is None:
        _end_attempt(draft, attempt, event, AttemptChange.SUCCEED, None)
        if event.output is not None:
            key = TaskKey(task.run_id, task.task_id, task.map_index)
            draft.changes.outputs[key] = Output(**key._asdict(), value=bytes(event.output).decode())
        end_task(draft, task, TaskChange.SUCCEED)
    elif task.intent is Intent.CANCEL:
        _end_attempt(draft, attempt, event, AttemptChange.CANCEL, reason)
        end_task(draft, task, TaskChange.CANCEL, reason=EndReason.CANCELLED, detail=task.detail)
    elif reason in INFRASTRUCTURE_REASONS:
        _end_attempt(draft, attempt, event, AttemptChange.FAIL, reason)
        _rerun_or_fail(draft, run, task, reason, event.detail)
    else:
        failed = _end_attempt(draft, attempt, event, AttemptChange.FAIL, reason)
        _retry_or_fail(draft, run, task, failed)
    return draft.applied()


def decide_loss(draft: Draft, event: WorkerLost | NotHeld) -> Decision:
    """The boot that held an attempt is dead or does not hold it: it is lost, and run again if its budget allows."""
    found = _find_running(draft, event)
    if isinstance(found, str):
        return draft.ignored(found)
    run, task, attempt = found
    move_attempt(
        draft,
        attempt,
        AttemptChange.LOSE,
        reason=EndReason.LOST,
        detail=event.detail,
        finished_at=draft.now,
        decided_by=draft.envelope.ref,
    )
    if task.intent is Intent.CANCEL:
        end_task(draft, task, TaskChange.CANCEL, reason=EndReason.CANCELLED, detail=task.detail)
    else:
        _rerun_or_fail(draft, run, task, EndReason.LOST, event.detail)
    return draft.applied()


def decide_refusal(draft: Draft, event: Refused | Rejected) -> Decision:
    """A worker cannot run the attempt, or cannot read it: another may, as far as its budget allows."""
    found = _find_queued(draft, event)
    if isinstance(found, str):
        return draft.ignored(found)
    run, task, attempt = found
    detail = event.detail if isinstance(event, Refused) else f"a worker of queue {event.queue} could not read it"
    move_attempt(
        draft,
        attempt,
        AttemptChange.REFUSE,
        reason=EndReason.REFUSED,
        detail=detail,
        finished_at=draft.now,
        decided_by=draft.envelope.ref,
    )
    forget_timers(draft, task)
    _rerun_or_fail(draft, run, task, EndReason.REFUSED, detail)
    return draft.applied()


def decide_return(draft: Draft, event: Expired | DeliveryLimit) -> Decision:
    """The broker took the message out of the queue: nobody has it, so the same attempt is published again."""
    found = _find_published(draft, event)
    if isinstance(found, str):
        return draft.ignored(found)
    publish_again(draft, *found)
    return draft.applied("published again")


def decide_missing(draft: Draft, event: Missing) -> Decision:
    """The broker has lost the message of a queued attempt: it is published again, unless that was done since."""
    found = _find_queued(draft, event)
    if isinstance(found, str):
        return draft.ignored(found)
    if event.publication != found[2].publications:
        return draft.ignored("it was published again since")
    publish_again(draft, *found)
    return draft.applied("published again")


def decide_unroutable(draft: Draft, event: Unroutable) -> Decision:
    """No such queue: declare it, and publish again in a moment."""
    found = _find_published(draft, event)
    if isinstance(found, str):
        return draft.ignored(found)
    _, task, _ = found
    if draft.snapshot.timers.rows[TimerKey(*task.key, "republish")] is not None:
        return draft.ignored("it is about to be published again")
    draft.effects.append(DeclareQueue(event.queue))
    set_timer(draft, task, "republish", after_seconds(draft, UNROUTABLE_RETRY_SECONDS))
    return draft.applied("the queue is declared and the message published again")


Found = tuple[Run, TaskInstance, Attempt]


def _find(draft: Draft, event: AttemptMessage) -> Found | str:
    """Return what the event is about, or the reason why it is about nothing."""
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


def _find_running(draft: Draft, event: Finished | WorkerLost | NotHeld) -> Found | str:
    """Return what the event is about if its boot holds it, or the reason why not."""
    found = _find(draft, event)
    if isinstance(found, str):
        return found
    _, _, attempt = found
    if attempt.state is not AttemptState.RUNNING:
        return f"the attempt is {attempt.state}"
    if (attempt.worker, attempt.boot) != (event.worker, event.boot):
        return f"the attempt was granted to boot {attempt.boot} of worker {attempt.worker}"
    return found


def _find_queued(draft: Draft, event: AttemptMessage) -> Found | str:
    found = _find(draft, event)
    if isinstance(found, str):
        return found
    _, task, attempt = found
    if attempt.state is not AttemptState.QUEUED or task.state is not TaskState.QUEUED:
        return f"the attempt is {attempt.state}"
    return found


def _find_published(draft: Draft, event: AttemptMessage) -> Found | str:
    """Return the queued attempt whose newest message came back; an older one says nothing about the newest.

    Which one it is stands in its message id (see PublishTask), which the broker keeps.
    """
    found = _find_queued(draft, event)
    if isinstance(found, str):
        return found
    attempt = found[2]
    token, _, publication = draft.envelope.message_id.rpartition(".")
    if token == attempt.token and publication != str(attempt.publications):
        return "it was published again since"
    return found


def _standing(draft: Draft, key: BootKey) -> str:
    worker = draft.snapshot.workers.rows.get(key)
    return worker.state if worker is not None else "unknown"


def _was_lost_since(draft: Draft, attempt: Attempt, holder: BootKey) -> bool:
    """Say whether a `worker_lost` is on its way to a granted attempt, though its holder may be heard again by now."""
    worker = draft.snapshot.workers.rows.get(holder)
    if worker is None or worker.state is not WorkerState.ONLINE:
        return True
    return attempt.started_at is not None and attempt.started_at < worker.online_at


def _grant(event: Started) -> SendOrder:
    return SendOrder(event.worker, Grant(**address_of(event), boot=event.boot))


def _drop(event: Started, detail: str) -> SendOrder:
    return SendOrder(event.worker, Drop(**address_of(event), boot=event.boot, detail=detail))


def _failure_of(event: Finished) -> EndReason | None:
    if event.reason is not None:
        return event.reason
    if event.oom:
        return EndReason.OUT_OF_MEMORY
    if event.signal is not None:
        return EndReason.SIGNAL
    return None if event.exit_code == 0 else EndReason.EXIT_CODE


def _end_attempt(
    draft: Draft, attempt: Attempt, event: Finished, change: AttemptChange, reason: EndReason | None
) -> Attempt:
    return move_attempt(
        draft,
        attempt,
        change,
        reason=reason,
        detail=event.detail,
        finished_at=draft.now,
        host=event.host,
        pid=event.pid,
        exit_code=event.exit_code,
        signal=event.signal,
        oom=event.oom,
        ran_seconds=event.ran_seconds,
        cpu_seconds=event.cpu_seconds,
        memory_peak_bytes=event.memory_peak_bytes,
        tail=event.tail,
        decided_by=draft.envelope.ref,
    )


def _retry_or_fail(draft: Draft, run: Run, task: TaskInstance, failed: Attempt) -> None:
    spec = draft.graph(run).task(task.task_id)
    if task.retries_used >= spec.retries:
        end_task(draft, task, TaskChange.FAIL, reason=failed.reason, detail=failed.detail)
        return
    delay = retry_delay(spec, retries_used=task.retries_used, token=failed.token)
    set_timer(draft, task, "retry", after_seconds(draft, delay))
    move_task(
        draft,
        task,
        TaskChange.RETRY,
        retries_used=task.retries_used + 1,
        reason=failed.reason,
        detail=failed.detail,
    )


def _rerun_or_fail(draft: Draft, run: Run, task: TaskInstance, reason: EndReason, detail: str) -> None:
    spec = draft.graph(run).task(task.task_id)
    if task.infra_used < spec.infra_retries and not _must_not_rerun(spec, reason):
        hold(draft, task, TaskChange.RERUN, infra_used=task.infra_used + 1, reason=reason, detail=detail)
    else:
        end_task(draft, task, TaskChange.FAIL, reason=reason, detail=detail)


def _must_not_rerun(spec: TaskSpec, reason: EndReason) -> bool:
    """`on_lost="fail"` forbids a second start of what may have started once; a refused attempt never started."""
    return spec.on_lost == "fail" and reason is not EndReason.REFUSED
