"""When and whether a task is tried again, and which budget that spends.

`retries` are the author's, for what the task did, after a delay: fixed or exponential, with a cap and a jitter that can
be decided again. `infra_retries` are for what happened to it, and at once.
"""

import zlib
from datetime import datetime, timedelta
from typing import Final

from headway.protocol.dag import Task
from headway.protocol.durations import format_duration
from headway.protocol.names import Token
from headway.protocol.states import EndReason, TaskChange

from .changes import end_task, hold, move_task
from .rows import Attempt, Run, TaskInstance
from .snapshot import Draft
from .timers import after_seconds, set_timer

JITTER: Final = 0.1
"""Largest share by which a delay is lengthened, so that tasks that failed together do not return together."""

REPUBLISH_SECONDS: Final = 0.1
REPUBLISH_SECONDS_MAX: Final = 60.0
"""Until a message that came back is published again: twice as long each time, since what has not mended itself in a
moment takes an operator."""

NEVER_STARTED: Final = frozenset({EndReason.REFUSED, EndReason.POISONED})
"""Ends of attempts that nobody was granted."""


def republish_delay(returns: int) -> float:
    """Return the seconds until a message is published again that came back so many times in a row, at least once."""
    return min(REPUBLISH_SECONDS * 2.0 ** min(returns - 1, 10), REPUBLISH_SECONDS_MAX)


def retry_delay(task: Task, *, retries_used: int, token: Token) -> float:
    """Return the seconds until retry number `retries_used` + 1.

    `retry_delay * retry_backoff ** retries_used`, capped by `retry_delay_max`, lengthened by up to 10%. The jitter
    comes from the failed attempt's token, so an audit finds the same one.
    """
    exponent = min(retries_used, 1000)
    try:
        delay = min(task.retry_delay * task.retry_backoff**exponent, task.retry_delay_max)
    except OverflowError:
        delay = task.retry_delay_max if task.retry_delay else 0.0
    return delay * (1 + JITTER * (zlib.crc32(token.encode()) / 0xFFFFFFFF))


def retry_or_fail(draft: Draft, run: Run, task: TaskInstance, failed: Attempt, *, may_retry: bool) -> None:
    """Let a task whose attempt failed rest until its next one, or end it: the author's budget, of tries and of time."""
    spec = draft.graph(run).task(task.task_id)
    due = after_seconds(draft, retry_delay(spec, retries_used=task.retries_used, token=failed.token))
    if task.retries_used >= spec.retries:
        refusal = failed.detail
    elif not may_retry:
        refusal = _say_final(spec, failed)
    elif spec.retry_timeout is not None and due > (task.begun_at or draft.now) + timedelta(seconds=spec.retry_timeout):
        refusal = f"its retry_timeout of {format_duration(spec.retry_timeout)} is over before its next retry"
    else:
        _rest_until(draft, task, failed, due)
        return
    end_task(draft, task, TaskChange.FAIL, reason=failed.reason, detail=refusal)


def _say_final(spec: Task, failed: Attempt) -> str:
    """Say why a failure is not tried again, though a retry is left."""
    if failed.reason is EndReason.EXIT_CODE and failed.exit_code in spec.exit_codes:
        return f"its exit_codes say that {failed.exit_code} is final"
    end = f"exit code {failed.exit_code}" if failed.reason is EndReason.EXIT_CODE else failed.reason
    return f"its retry_on does not name {end}"


def _rest_until(draft: Draft, task: TaskInstance, failed: Attempt, due: datetime) -> None:
    set_timer(draft, task, "retry", due)
    move_task(
        draft,
        task,
        TaskChange.RETRY,
        retries_used=task.retries_used + 1,
        reason=failed.reason,
        detail=failed.detail,
    )


def rerun_or_fail(draft: Draft, run: Run, task: TaskInstance, *, reason: EndReason, detail: str) -> None:
    """Let a task whose attempt came to nothing run again at once, or end it: the infrastructure's budget."""
    spec = draft.graph(run).task(task.task_id)
    if task.infra_used < spec.infra_retries and not _must_not_rerun(spec, reason):
        hold(draft, task, TaskChange.RERUN, infra_used=task.infra_used + 1, reason=reason, detail=detail)
    else:
        end_task(draft, task, TaskChange.FAIL, reason=reason, detail=detail)


def _must_not_rerun(spec: Task, reason: EndReason) -> bool:
    """`on_lost="fail"` forbids a second start of what may have started once; a child that is kept may still run."""
    return (spec.on_lost == "fail" or spec.on_partition == "keep") and reason not in NEVER_STARTED
