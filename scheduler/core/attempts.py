"""Rules for what workers say about one attempt, and for the loss of the worker that held it.

The decision about `started` is the gate of the whole system: an attempt is granted to at most one worker boot, ever
(P2). Everything else that speaks of an attempt must show its token and be about the attempt as it stands.
"""

from typing import Final

from headway.protocol.codec import address_of
from headway.protocol.dag import ExitOutcome, Task
from headway.protocol.exit_codes import may_retry, outcome_of
from headway.protocol.messages import (
    Drop,
    Finished,
    Grant,
    NotHeld,
    Started,
    Stop,
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

from .branches import output_of, with_choice
from .changes import change_task, current_attempt, end_task, move_attempt, move_task, reason_of_cancel, withdraw
from .finding import find, find_reporting, find_running
from .polling import give_up_at, rest, say_given_up
from .retry import rerun_or_fail, retry_or_fail
from .rows import Attempt, BootKey, Output, Run, TaskInstance, TaskKey
from .snapshot import Decision, Draft, SendOrder
from .timers import forget_timers

INFRASTRUCTURE_REASONS: Final = frozenset({EndReason.LEASE, EndReason.SHUTDOWN, EndReason.LOST})
"""Ends that a worker brought about for no reason of the task's: they spend `infra_retries`, never `retries`."""


def decide_started(draft: Draft, event: Started) -> Decision:
    """A slot is ready: grant, grant again to the same boot, or tell it to drop."""
    found = find(draft, event)
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
        reason=None,
        detail="",
        returns=0,
    )
    move_task(draft, task, TaskChange.GRANT, granted_try=attempt.try_number, begun_at=task.begun_at or draft.now)
    draft.effects.append(_grant(draft, event))
    return draft.applied()


def _grant_again(draft: Draft, event: Started, attempt: Attempt, holder: BootKey) -> Decision:
    """Answer a holder that asks once more, unless a `worker_lost` is about to take the attempt away.

    A drop, and no silence: a worker that does not hold it is missed, should the loss be a clock set back.
    """
    if draft.fact("was_lost", lambda: int(_was_lost_since(draft, attempt, holder))):
        reason = "its boot was thought lost after the grant"
        return draft.ignored(reason, _drop(event, reason))
    return draft.ignored("granted before to this boot: granted again", _grant(draft, event))


def decide_finished(draft: Draft, event: Finished) -> Decision:
    """A child ended: its exit code says what that means. What a lost holder reports counts too, while it is of use."""
    found = find_reporting(draft, event)
    if isinstance(found, str):
        return draft.ignored(found)
    run, task, attempt = found
    graph = draft.graph(run)
    spec = graph.task(task.task_id)
    outcome, reason = _judge(spec, event)
    if outcome == "success":
        event = with_choice(graph, event)
        outcome, reason = _judge(spec, event)
    if attempt.state is AttemptState.LOST:
        if reason in INFRASTRUCTURE_REASONS or outcome == "poll":
            return draft.ignored("the attempt is lost, and this says no more")
        task = _call_back(draft, task, attempt)
    if outcome == "success":
        _succeed(draft, run, task, attempt, event)
    elif outcome == "skip":
        _end_attempt(draft, attempt, event, AttemptChange.SKIP, reason)
        end_task(draft, task, TaskChange.SKIP, reason=reason, detail=f"exit code {event.exit_code} means skip")
    elif task.intent is Intent.CANCEL:
        _end_attempt(draft, attempt, event, AttemptChange.CANCEL, reason)
        end_task(draft, task, TaskChange.CANCEL, reason=reason_of_cancel(run), detail=task.detail)
    elif reason in INFRASTRUCTURE_REASONS:
        _end_attempt(draft, attempt, event, AttemptChange.FAIL, reason)
        rerun_or_fail(draft, run, task, reason=reason, detail=event.detail)
    elif outcome == "poll":
        _poll_on(draft, run, task, attempt, event)
    else:
        failed = _end_attempt(draft, attempt, event, AttemptChange.FAIL, reason)
        retry_or_fail(draft, run, task, failed, may_retry=outcome == "retry")
    return draft.applied()


def decide_loss(draft: Draft, event: WorkerLost | NotHeld) -> Decision:
    """The boot that held an attempt is dead or does not hold it: it is lost, and run again if its budget allows.

    A boot that is thought dead and hears us all the same must end the child: another may be granted.
    """
    found = find_running(draft, event)
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
    if isinstance(event, NotHeld):
        draft.queue(task.queue).mended += 1
    elif draft.graph(run).task(task.task_id).on_partition == "kill":
        order = Stop(**address_of(event), boot=event.boot, reason=EndReason.LOST)
        draft.effects.append(SendOrder(event.worker, order))
    if task.intent is Intent.CANCEL:
        end_task(draft, task, TaskChange.CANCEL, reason=reason_of_cancel(run), detail=task.detail)
    else:
        rerun_or_fail(draft, run, task, reason=EndReason.LOST, detail=event.detail)
    return draft.applied()


def _call_back(draft: Draft, task: TaskInstance, attempt: Attempt) -> TaskInstance:
    """Withdraw what was to take the place of a lost attempt, which has reported: its loss spends nothing."""
    if task.state is TaskState.QUEUED:
        detail = f"attempt {attempt.try_number}, which was thought lost, reported"
        withdraw(draft, current_attempt(draft, task), EndReason.SUPERSEDED, detail)
    forget_timers(draft, task)
    return change_task(draft, task, infra_used=task.infra_used - 1)


def _standing(draft: Draft, key: BootKey) -> str:
    worker = draft.snapshot.workers.rows.get(key)
    return worker.state if worker is not None else "unknown"


def _was_lost_since(draft: Draft, attempt: Attempt, holder: BootKey) -> bool:
    """Say whether a `worker_lost` is on its way to a granted attempt, though its holder may be heard again by now."""
    worker = draft.snapshot.workers.rows.get(holder)
    if worker is None or worker.state is not WorkerState.ONLINE:
        return True
    return attempt.started_at is not None and attempt.started_at < worker.online_at


def _grant(draft: Draft, event: Started) -> SendOrder:
    worker = draft.snapshot.workers.rows.get(BootKey(event.worker, event.boot))
    heard = worker.seq if worker is not None else 0  # an audit knows no workers, and sends nothing
    return SendOrder(event.worker, Grant(**address_of(event), boot=event.boot, heard=heard))


def _drop(event: Started, detail: str) -> SendOrder:
    return SendOrder(event.worker, Drop(**address_of(event), boot=event.boot, detail=detail))


def _judge(spec: Task, event: Finished) -> tuple[ExitOutcome, EndReason | None]:
    """Say what an end means, and for which reason it is no success: how it exited, unless something else ended it."""
    reason = event.reason
    if reason is None and event.oom:
        reason = EndReason.OUT_OF_MEMORY
    elif reason is None and event.signal is not None:
        reason = EndReason.SIGNAL
    if reason is not None:
        return "retry" if may_retry(spec, reason) else "fail", reason
    outcome = outcome_of(spec, event.exit_code)
    return outcome, None if outcome in ("success", "poll") else EndReason.EXIT_CODE


def _succeed(draft: Draft, run: Run, task: TaskInstance, attempt: Attempt, event: Finished) -> None:
    """A task has done its work: what it wrote is there for others."""
    _end_attempt(draft, attempt, event, AttemptChange.SUCCEED, None)
    output = output_of(draft.graph(run), event)
    if output is not None:
        key = TaskKey(task.run_id, task.task_id, task.map_index)
        draft.changes.outputs[key] = Output(**key._asdict(), value=output)
    end_task(draft, task, TaskChange.SUCCEED)


def _poll_on(draft: Draft, run: Run, task: TaskInstance, attempt: Attempt, event: Finished) -> None:
    """A poll said "not yet": there is another, unless that was said for too long."""
    spec = draft.graph(run).task(task.task_id)
    until = give_up_at(spec, task)
    if until is None or draft.now < until:
        _end_attempt(draft, attempt, event, AttemptChange.POLL, None)
        rest(draft, run, task)
        return
    _end_attempt(draft, attempt, event, AttemptChange.FAIL, EndReason.POLL_TIMEOUT)
    end_task(draft, task, TaskChange.FAIL, reason=EndReason.POLL_TIMEOUT, detail=say_given_up(spec))


def _end_attempt(
    draft: Draft, attempt: Attempt, event: Finished, change: AttemptChange, reason: EndReason | None
) -> Attempt:
    """Keep how a child ended: for ever, or until the next poll."""
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
