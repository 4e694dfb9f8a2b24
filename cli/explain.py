"""The sentences of `headway why`: from what is stored about a task instance to what a person wants to know.

Pure: evidence and the time in, words out. Each state has its function. A reason is one word for scripts: why an attempt
ended, what holds the task, or what it waits for; a detail says it with names, times and what to do.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Final

import msgspec

from headway.protocol.dag import rule_of
from headway.protocol.names import UNMAPPED
from headway.protocol.states import (
    FINAL_TASK_STATES,
    GOOD_ENDS,
    AttemptState,
    EndReason,
    HoldReason,
    Intent,
    RunHold,
    RunState,
    TaskState,
)
from headway.scheduler.core.admission import hold_of
from headway.scheduler.core.rows import Attempt, TaskInstance
from headway.scheduler.store.evidence import Evidence

from .explain_mapped import tell_of_instances, tell_of_the_unwell, tell_why_unmade
from .explain_words import BECAUSE, ENDINGS, RETURNS, UNSENT
from .held import held_by, tell_hold
from .printing import plain, show_duration, show_time

NAMED_MAX: Final = 5
"""Tasks that are named; more are counted."""

TAIL_LINES: Final = 10
"""Last lines of the output that are shown beside a failure."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task is in its state. `sentences` make up the detail."""

    state: str
    reason: str | None
    sentences: tuple[str, ...]
    last_lines: tuple[str, ...] = ()


Told = tuple[str | None, Iterator[str]]


def explain(evidence: Evidence, now: datetime) -> Explanation:
    """Say why, as of `now`."""
    if evidence.task is None:
        run = evidence.run
        if run.hold is RunHold.MAX_ACTIVE_RUNS:
            waits = f"Run {run.run_id} has not begun: as many runs of DAG {run.dag_id} go on as may (max_active_runs)."
            return Explanation(state=TaskState.WAITING, reason=run.hold, sentences=(waits,))
        made = f"Run {run.run_id} is being created: {run.created} of {run.unfinished} of its tasks are there."
        return Explanation(state=TaskState.WAITING, reason="upstream", sentences=(made,))
    reason, sentences = _TELLERS[evidence.task.state](evidence, evidence.task, now)
    sentences = chain(sentences, _deadline(evidence, evidence.task, now))
    return Explanation(
        state=evidence.task.state,
        reason=reason,
        sentences=tuple(plain(sentence) for sentence in sentences),
        last_lines=_last_lines(evidence.attempt) if evidence.task.state in _SHOWING_OUTPUT else (),
    )


# --- one function for each state --------------------------------------------------------------------------------------


def _waiting(evidence: Evidence, task: TaskInstance, _now: datetime) -> Told:
    if task.map_index != UNMAPPED:
        return TaskState.MAPPED, tell_why_unmade(evidence)
    open_ones = {name: state for name, state in evidence.upstream.items() if state not in FINAL_TASK_STATES}

    waits_for_past = not open_ones and evidence.past is not None and evidence.past not in GOOD_ENDS

    def tell() -> Iterator[str]:
        run = evidence.run
        if run.state is RunState.QUEUED:
            yield f"Run {run.run_id} is being created: {run.created} of {run.unfinished} of its tasks are there."
        elif open_ones:
            total = len(evidence.upstream)
            rule = rule_of(evidence.spec)
            yield f"It waits for {len(open_ones)} of {total} upstream tasks: {_named(open_ones)}."
            if rule != "all_success":
                yield f"Its trigger rule is {rule}."
        elif waits_for_past:
            yield f"It depends on the past, and in run {run.previous} before this one it is {evidence.past}."
            if evidence.past in FINAL_TASK_STATES:
                yield f"It waits until it has succeeded there: see `headway why {run.previous} {task.task_id}`."
        else:
            yield "All it waits for has ended: the scheduler has its release in hand."

    return ("depends_on_past" if waits_for_past else "upstream"), tell()


def _mapped(evidence: Evidence, task: TaskInstance, _now: datetime) -> Told:
    return EndReason.INSTANCES, tell_of_instances(evidence, task)


def _scheduled(evidence: Evidence, task: TaskInstance, now: datetime) -> Told:
    hold = held_by(evidence, task, now)

    def tell() -> Iterator[str]:
        until, *more = tell_hold(evidence, task, hold)
        yield f"It is ready {_since(task.since, now)} and {until}."
        yield from more
        if task.hold is HoldReason.WINDOW:
            yield _capacity(evidence)
        if evidence.attempt is not None:
            yield f"{_ending(evidence.attempt)}, and it will be tried again."
        yield from _end_of_polls(evidence)

    return hold, tell()


def _queued(evidence: Evidence, _task: TaskInstance, now: datetime) -> Told:
    attempt, timers = evidence.attempt, evidence.timers
    reason = _why_queued(evidence, now)

    def tell() -> Iterator[str]:
        if attempt is not None:
            times = f"published {attempt.publications} times" if attempt.publications > 1 else "published once"
            yield f"{_title(attempt)} stands in queue {attempt.queue!r} {_since(attempt.queued_at, now)}, {times}."
            if attempt.try_number > 1:
                yield f"{_ending(evidence.attempts[-2])}."
        yield _capacity(evidence)
        yield from _whereabouts(evidence, reason)
        yield from _end_of_polls(evidence)
        if "queued_timeout" in timers:
            act = "it fails" if evidence.spec.on_queued_timeout == "fail" else "it goes on waiting, behind others"
            yield f"Its queued_timeout is over at {show_time(timers['queued_timeout'])}: then {act}."

    return reason, tell()


def _why_queued(evidence: Evidence, now: datetime) -> str:
    """Return what it waits for, the first of these that is true: its message, a worker, a free slot, its turn."""
    attempt, servers = evidence.attempt, evidence.servers
    if "republish" in evidence.timers:
        return (attempt.reason if attempt is not None else None) or EndReason.UNROUTABLE
    if evidence.unsent:
        full = hold_of(evidence.queue, now) is HoldReason.BROKER_FULL
        return HoldReason.BROKER_FULL if full else "unpublished"
    if not servers:
        return EndReason.NO_WORKERS
    is_busy = all(one.running >= one.slots for one in servers)
    return EndReason.NO_CAPACITY if is_busy else "queued"


def _whereabouts(evidence: Evidence, reason: str) -> Iterator[str]:
    """Say where the newest message of a queued attempt is, and when it is looked after."""
    attempt, timers = evidence.attempt, evidence.timers
    if evidence.queue.fault:
        yield f"The broker could not make the queue: {evidence.queue.fault}"
    if "republish" in timers and attempt is not None:
        happened = RETURNS[attempt.reason or EndReason.UNROUTABLE]
        times = f" {attempt.returns} times in a row" if attempt.returns > 1 else ""
        yield f"{happened}{times}: {attempt.detail or 'nobody says why'}."
        if attempt.refused_by:
            yield f"{len(attempt.refused_by)} have refused it so far: {', '.join(attempt.refused_by)}."
        yield f"It is published again at {show_time(timers['republish'])}."
    elif evidence.unsent:
        yield UNSENT[reason == HoldReason.BROKER_FULL]
    elif "queued_deadline" in timers:
        yield f"If nobody takes it by {show_time(timers['queued_deadline'])}, it is published again."


def _running(evidence: Evidence, task: TaskInstance, now: datetime) -> Told:
    attempt, holder = evidence.attempt, evidence.holder

    def tell() -> Iterator[str]:
        if attempt is None:
            return
        host = f" on host {holder.host}" if holder is not None else ""
        yield (
            f"{_title(attempt)} runs on worker {attempt.worker}{host} (boot {attempt.boot}) "
            f"{_since(attempt.started_at, now)}."
        )
        if holder is not None:
            yield (
                f"The worker is {holder.state}, was heard {_since(holder.last_heartbeat, now, word='')} ago and is "
                f"believed alive until {show_time(holder.lease_due)}."
            )
        if task.intent is Intent.CANCEL:
            yield f"It was {task.detail or 'cancelled'}: its worker is told to stop it, again and again until it has."
            if "unkillable" in evidence.timers:
                yield f"If it has not by {show_time(evidence.timers['unkillable'])}, nobody waits for it any more."
        if evidence.spec.on_partition == "keep":
            yield "Should its worker be cut off for its lease, it runs on there, and counts as lost here."
        if evidence.spec.timeout is not None:
            yield f"Its timeout ends it after {show_duration(evidence.spec.timeout)}."
        if attempt.try_number > 1:
            yield f"{_ending(evidence.attempts[-2])}."

    return (Intent.CANCEL if task.intent is Intent.CANCEL else None), tell()


def _up_for_retry(evidence: Evidence, task: TaskInstance, now: datetime) -> Told:
    def tell() -> Iterator[str]:
        if evidence.attempt is not None:
            yield f"{_ending(evidence.attempt)}."
        due = evidence.timers.get("retry")
        if due is not None:
            left_over = evidence.spec.retries - task.retries_used
            yield (
                f"Attempt {task.try_number + 1} is due {_until(due, now)}, at {show_time(due)}; {left_over} of "
                f"{evidence.spec.retries} retries are left after it."
            )

    return task.reason, tell()


def _up_for_reschedule(evidence: Evidence, _task: TaskInstance, now: datetime) -> Told:
    def tell() -> Iterator[str]:
        if evidence.attempt is not None:
            yield f"{_ending(evidence.attempt)}{_where(evidence.attempt)}."
        yield "It holds no slot until it is asked again."
        if (due := evidence.timers.get("poll")) is not None:
            yield f"Its next poll is due {_until(due, now)}, at {show_time(due)}."
        yield from _end_of_polls(evidence)

    return "poll", tell()


def _ended(evidence: Evidence, task: TaskInstance, _now: datetime) -> Told:
    attempt = evidence.attempt

    def tell() -> Iterator[str]:
        if attempt is not None and attempt.finished_at is not None:
            yield f"{_ending(attempt)}{_where(attempt)}."
        if task.detail and (attempt is None or task.detail != attempt.detail):
            yield f"{task.detail[0].upper()}{task.detail[1:]}."
        yield from tell_of_the_unwell(evidence)
        if attempt is not None and attempt.finished_at == task.since:
            yield f"Event {attempt.decided_by} decided it, at {show_time(task.since)}."
        else:
            is_of_none = attempt is None and task.mapped is None
            yield f"It ended at {show_time(task.since)}{', and was never published' * is_of_none}."
        if task.state is TaskState.FAILED and task.infra_used:
            yield f"{task.infra_used} of {evidence.spec.infra_retries} infra_retries were used."

    return task.reason, tell()


def _upstream_failed(evidence: Evidence, task: TaskInstance, _now: datetime) -> Told:
    bad = {
        name: state
        for name, state in evidence.upstream.items()
        if state in FINAL_TASK_STATES and state is not TaskState.SUCCESS
    }

    def tell() -> Iterator[str]:
        if bad:
            yield f"It was never started, because upstream tasks did not succeed: {_named(bad)}."
        else:
            yield f"It was never started, because {task.detail}."
        if bad and rule_of(evidence.spec) != "all_success":
            yield f"{task.detail[0].upper()}{task.detail[1:]}."

    return task.reason, tell()


def _skipped(evidence: Evidence, task: TaskInstance, now: datetime) -> Told:
    """Say why it was skipped; one that began skipped itself."""
    if evidence.attempt is not None:
        return _ended(evidence, task, now)
    because = BECAUSE[task.reason or EndReason.SKIPPED_BY_RULE]
    return task.reason, iter((f"It was skipped at {show_time(task.since)}, {because}: {task.detail}.",))


_TELLERS: Final[Mapping[TaskState, Callable[[Evidence, TaskInstance, datetime], Told]]] = {
    TaskState.WAITING: _waiting,
    TaskState.SCHEDULED: _scheduled,
    TaskState.QUEUED: _queued,
    TaskState.RUNNING: _running,
    TaskState.MAPPED: _mapped,
    TaskState.UP_FOR_RETRY: _up_for_retry,
    TaskState.UP_FOR_RESCHEDULE: _up_for_reschedule,
    TaskState.SUCCESS: _ended,
    TaskState.FAILED: _ended,
    TaskState.SKIPPED: _skipped,
    TaskState.CANCELLED: _ended,
    TaskState.UPSTREAM_FAILED: _upstream_failed,
}

_RESTING: Final = {TaskState.UP_FOR_RETRY, TaskState.UP_FOR_RESCHEDULE}
_SHOWING_OUTPUT: Final = (FINAL_TASK_STATES | _RESTING) - {TaskState.UPSTREAM_FAILED}


def _deadline(evidence: Evidence, task: TaskInstance, now: datetime) -> Iterator[str]:
    if evidence.spec.deadline is None:
        return
    due = evidence.run.deadline_after(evidence.spec.deadline)
    has_ended = task.state in FINAL_TASK_STATES
    if (task.since if has_ended else now) > due:
        yield f"It missed its deadline, which was {show_time(due)}."
    elif not has_ended:
        yield f"Its deadline is {show_time(due)}."


# --- parts of sentences -----------------------------------------------------------------------------------------------


def _named(states: Mapping[str, TaskState]) -> str:
    names = [f"{name} ({state})" for name, state in states.items()]
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _since(time: datetime | None, now: datetime, *, word: str = "for ") -> str:
    return "" if time is None else f"{word}{show_duration(max(0.0, (now - time).total_seconds()))}"


def _capacity(evidence: Evidence) -> str:
    queue, servers = evidence.queue.queue, evidence.servers
    if not servers:
        return f"No worker that is online serves this queue: start one with `headway worker -q {queue}`."
    slots, running = sum(one.slots for one in servers), sum(one.running for one in servers)
    names = _counted([one.worker for one in servers])
    verb = "serve" if servers[1:] else "serves"
    return f"{names} with {slots} slots {verb} this queue, {max(0, slots - running)} of them free."


def _counted(names: Sequence[str]) -> str:
    if len(names) > NAMED_MAX:
        return f"{len(names)} workers"
    return f"Worker{'s' * (len(names) > 1)} {', '.join(names)}"


def _title(attempt: Attempt) -> str:
    polls = attempt.polls > 1 or attempt.state is AttemptState.POLLING
    return f"Poll {attempt.polls} of attempt {attempt.try_number}" if polls else f"Attempt {attempt.try_number}"


def _until(due: datetime, now: datetime) -> str:
    left = (due - now).total_seconds()
    return f"in {show_duration(left)}" if left > 0 else "now"


def _end_of_polls(evidence: Evidence) -> Iterator[str]:
    if (due := evidence.timers.get("poll_timeout")) is not None:
        yield f"Its poll_timeout is over at {show_time(due)}: then it fails."


def _ending(attempt: Attempt) -> str:
    """Say how an attempt ended, without a full stop."""
    text = f"{_title(attempt)} {ENDINGS.get(attempt.state, 'ended')}"
    match attempt:
        case Attempt(state=AttemptState.SUCCESS | AttemptState.REFUSED):
            pass  # it was, and the worker says why
        case Attempt(reason=EndReason.EXIT_CODE, exit_code=int(code)):
            text += f" with exit code {code}"
        case Attempt(reason=EndReason.SIGNAL, signal=str(name)):
            text += f" by {name}, which Headway did not send"
        case Attempt(reason=EndReason() as reason):
            text += f" {BECAUSE[reason]}"
        case _:
            pass
    return f"{text}: {attempt.detail}" if attempt.detail else text


def _where(attempt: Attempt) -> str:
    if attempt.worker is None:
        return ""
    ran = f" after {show_duration(attempt.ran_seconds)}" if attempt.ran_seconds is not None else ""
    host = f" (host {attempt.host})" if attempt.host else ""
    return f", on worker {attempt.worker}{host}{ran}"


def _last_lines(attempt: Attempt | None) -> tuple[str, ...]:
    lines = [] if attempt is None else attempt.tail.rstrip("\n").split("\n")
    return tuple(plain(line) for line in lines[-TAIL_LINES:] if lines != [""])
