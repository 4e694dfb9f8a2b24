"""Children: how one is timed, asked to end, killed, and reported. Only the first reason for an end counts."""

from typing import Final

from headway.protocol.durations import format_duration
from headway.protocol.messages import AttemptMessage
from headway.protocol.names import Token
from headway.protocol.states import EndReason

from .bench import Bench, Past
from .timers import Timer
from .values import Attempt, ChildEnded, ChildNotStarted, Phase, SignalChild

STOP_GRACE_SECONDS: Final = 10.0
"""Between TERM and KILL: what `docker stop` gives, and enough to close a database transaction."""


def child_started(bench: Bench, token: Token, now: float) -> None:
    """There is a process: its time begins."""
    attempt = _running(bench, token)
    if attempt is not None and attempt.task.timeout_seconds is not None:
        bench.timers.start(Timer.TIMEOUT, token, due=now + attempt.task.timeout_seconds)


def child_ended(bench: Bench, child: ChildEnded, now: float) -> None:
    """A child is gone: report it, and free its slot."""
    attempt = _running(bench, child.token)
    if attempt is None:
        return
    bench.starts_failed = 0
    bench.forget(attempt, Past.STARTED)
    bench.report(bench.reports.ran(attempt, child), now)
    bench.ack(attempt.tap)


def child_not_started(bench: Bench, fault: ChildNotStarted, now: float) -> None:
    """A granted child could not be started: report that, and free its slot."""
    attempt = _running(bench, fault.token)
    if attempt is None:
        return
    if fault.reason is EndReason.NOT_STARTED:
        bench.starts_failed += 1
    end_unstarted(bench, attempt, fault.reason, fault.detail, now)


def children_lost(bench: Bench, detail: str, now: float) -> None:
    """The spawner is gone, and all children with it."""
    for attempt in bench.running():
        ended = bench.put(attempt, ending=EndReason.SHUTDOWN, ending_detail=detail)
        child_ended(bench, ChildEnded(token=ended.task.token, pid=None, signal="SIGKILL"), now)


def end_unstarted(bench: Bench, attempt: Attempt, reason: EndReason, detail: str, now: float) -> None:
    """Report an attempt that has no child, and see to it that it never gets one."""
    bench.forget(attempt, Past.STARTED)
    report_unstarted(bench, attempt.task, reason, detail, now)
    bench.ack(attempt.tap)


def report_unstarted(bench: Bench, task: AttemptMessage, reason: EndReason, detail: str, now: float) -> None:
    """Say that an attempt was granted and never ran."""
    bench.report(bench.reports.never_ran(task, reason=reason, detail=detail), now)


def terminate(bench: Bench, attempt: Attempt, reason: EndReason, detail: str, kill_at: float) -> None:
    """Ask a running child to end, and kill it at `kill_at`, or earlier if that was said before."""
    token = attempt.task.token
    if attempt.ending is None:
        bench.put(attempt, ending=reason, ending_detail=detail)
        bench.emit(SignalChild(token=token))
    due = bench.timers.due_of(Timer.KILL, token)
    bench.timers.start(Timer.KILL, token, due=kill_at if due is None else min(due, kill_at))


def time_out(bench: Bench, attempt: Attempt, now: float) -> None:
    """A task has run for as long as it may."""
    limit = format_duration(attempt.task.timeout_seconds or 0)
    detail = f"it ran longer than its timeout of {limit}"
    terminate(bench, attempt, EndReason.TIMEOUT, detail, now + STOP_GRACE_SECONDS)


def end_lease(bench: Bench) -> None:
    """No heartbeat was confirmed for too long: all but those to keep will be given to others."""
    for attempt in bench.running():
        if attempt.task.on_partition == "keep":
            bench.remark(f"{attempt.task.task_id} of run {attempt.task.run_id} is kept, though the lease is over")
            continue
        terminate(bench, attempt, EndReason.LEASE, bench.reports.lease_detail(), bench.lease.kill_at)


def shut_down(bench: Bench, detail: str, now: float) -> None:
    """This worker may wait no longer for its children."""
    for attempt in bench.running():
        terminate(bench, attempt, EndReason.SHUTDOWN, detail, now + STOP_GRACE_SECONDS)


def _running(bench: Bench, token: Token) -> Attempt | None:
    attempt = bench.here.get(token)
    return attempt if attempt is not None and attempt.phase is Phase.RUNNING else None
