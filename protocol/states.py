"""The state machine: every state and every legal change, as data.

Rule 1: all that says which state may follow which stands in this file, in the three tables below.
Rule 2: this file does not know why a change is wanted; `scheduler/core` decides that, and asks here.

A change without a row is never guessed: the event that wanted it is ignored, with a reason, and nothing changes. The
diagram in docs/states.md is drawn from these tables and a test fails when it is stale. State names are Airflow's where
the meaning is the same.
"""

from enum import StrEnum
from typing import Final


class TaskState(StrEnum):
    """Where a task instance stands."""

    WAITING = "waiting"  # for upstream tasks; the counters say for how many
    SCHEDULED = "scheduled"  # ready, but held; its hold says by whom
    QUEUED = "queued"  # published (or in the outbox), nobody granted yet
    RUNNING = "running"  # granted to exactly one worker boot
    MAPPED = "mapped"  # stands for its instances, which are under way
    UP_FOR_RETRY = "up_for_retry"  # a timer will schedule it again
    UP_FOR_RESCHEDULE = "up_for_reschedule"  # it said "not yet"; a timer will schedule the next poll of its attempt
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"  # by a trigger rule, by a branch, or by its own word
    UPSTREAM_FAILED = "upstream_failed"
    CANCELLED = "cancelled"


class AttemptState(StrEnum):
    """Where one assignment of a task instance stands."""

    QUEUED = "queued"
    RUNNING = "running"
    POLLING = "polling"  # between two of its polls: nobody holds it
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    LOST = "lost"  # granted, then its worker was declared dead; its own word still counts until another is granted
    WITHDRAWN = "withdrawn"  # not granted, and never will be
    REFUSED = "refused"  # the worker cannot run it
    CANCELLED = "cancelled"


class RunState(StrEnum):
    """Where a DAG run stands."""

    QUEUED = "queued"  # its task instances are being created, or its hold says what it waits for
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunKind(StrEnum):
    """What a DAG run was made by."""

    MANUAL = "manual"  # an operator
    SCHEDULED = "scheduled"  # its DAG's schedule
    BACKFILL = "backfill"  # a backfill


class TaskChange(StrEnum):
    """The legal changes of a task instance; each has one constructor in scheduler/core/changes.py."""

    RELEASE = "release"  # its trigger rule holds
    EXPAND = "expand"  # the same, and its instances are made
    ADMIT = "admit"  # its queue has room
    GRANT = "grant"  # a worker boot may start it
    SUCCEED = "succeed"
    FAIL = "fail"
    RETRY = "retry"  # failed, and a retry is left
    POLL = "poll"  # "not yet": it is asked again later
    RERUN = "rerun"  # lost or refused, and an infra retry is left
    REQUEUE = "requeue"  # its queued_timeout is over, and it lets those that wait for room go first
    WAKE = "wake"  # the timer of the retry or of the next poll is due
    INHERIT_FAILURE = "inherit_failure"  # an upstream failed
    SKIP = "skip"
    CANCEL = "cancel"


class AttemptChange(StrEnum):
    """The legal changes of an attempt."""

    ADMIT = "admit"  # its next poll is published
    GRANT = "grant"
    POLL = "poll"  # "not yet"
    SUCCEED = "succeed"
    SKIP = "skip"
    FAIL = "fail"
    LOSE = "lose"
    WITHDRAW = "withdraw"
    REFUSE = "refuse"
    CANCEL = "cancel"


class RunChange(StrEnum):
    """The legal changes of a DAG run."""

    START = "start"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"


class HoldReason(StrEnum):
    """Why a ready task instance is not queued yet."""

    WINDOW = "window"  # as many messages are published to its queue as its window allows
    NO_WORKERS = "no_workers"  # the same, and no worker that is online serves the queue
    BROKER_FULL = "broker_full"  # the same, and the broker refuses more: its queue is full
    POOL = "pool"  # all slots of its pool are taken, or kept for one before it
    DAG_LIMIT = "dag_limit"  # as many tasks of its run are queued or run as max_active_tasks allows
    TASK_LIMIT = "task_limit"  # the same of max_active or max_active_per_run, and the task's own instances
    PAUSED = "paused"  # its DAG is paused


class RunHold(StrEnum):
    """Why a DAG run is queued, and nothing is made of it yet."""

    MAX_ACTIVE_RUNS = "max_active_runs"  # as many runs of its DAG go on as may


class WorkerState(StrEnum):
    """What the scheduler believes of one boot of a worker."""

    ONLINE = "online"
    LOST = "lost"  # silent for longer than its lease; speaks again: online again
    ENDED = "ended"  # it said so, or a later boot of its name began; speaks when none is online: online again


class Intent(StrEnum):
    """What shall become of a running task instance once its worker has reported, or of a run once all have."""

    CANCEL = "cancel"
    FAIL = "fail"  # of a run whose time is over: its tasks are cancelled


class EndReason(StrEnum):
    """Why an attempt, and with it perhaps its task instance, ended as it did."""

    EXIT_CODE = "exit_code"  # the command's own failure
    SIGNAL = "signal"  # killed by a signal that Headway did not send
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"  # ran longer than its `timeout`
    NOT_STARTED = "not_started"  # the command could not be started: no such file, no such folder
    BAD_OUTPUT = "bad_output"  # HEADWAY_OUTPUT over its limit or not JSON
    BAD_INPUT = "bad_input"  # an output it refers to is absent or has no such part, or cannot be mapped over
    BAD_POOL = "bad_pool"  # its pool is unknown, or smaller than what it takes
    CANCELLED = "cancelled"  # an operator said so
    RUN_TIMEOUT = "run_timeout"  # its run went on for longer than its DAG's `run_timeout`
    UNKILLABLE = "unkillable"  # cancelled, and for too long its worker did not say that it ended
    LOST = "lost"  # its worker was declared dead
    LEASE = "lease"  # its worker could not renew its lease and ended it
    SHUTDOWN = "shutdown"  # its worker was stopped and its time to drain was over
    REFUSED = "refused"  # no worker was able to run it
    POISONED = "poisoned"  # its message came back from dying or leaving workers again and again
    SUPERSEDED = "superseded"  # never granted, because an earlier attempt that was thought lost reported
    UPSTREAM_FAILED = "upstream_failed"
    SKIPPED_BY_RULE = "skipped_by_rule"  # its trigger rule skips it, as its upstreams ended
    NOT_CHOSEN = "not_chosen"  # a branch goes another way
    INSTANCES = "instances"  # a mapped task ended as its instances did
    NO_ITEMS = "no_items"  # a mapped task had nothing to be mapped over
    NO_WORKERS = "no_workers"  # queued_timeout: no worker serves the queue, or none that does can run it
    NO_CAPACITY = "no_capacity"  # queued_timeout: its workers were busy
    UNROUTABLE = "unroutable"  # queued_timeout: the queue could not be made
    POLL_TIMEOUT = "poll_timeout"  # it said "not yet" for longer than its poll_timeout


FINAL_TASK_STATES: Final = frozenset(
    {TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED, TaskState.UPSTREAM_FAILED, TaskState.CANCELLED}
)
GOOD_ENDS: Final = frozenset({TaskState.SUCCESS, TaskState.SKIPPED})
"""Final states of a task by which no run fails."""

FINAL_RUN_STATES: Final = frozenset({RunState.SUCCESS, RunState.FAILED, RunState.CANCELLED})
OPEN_ATTEMPT_STATES: Final = frozenset({AttemptState.QUEUED, AttemptState.RUNNING, AttemptState.POLLING})
FINAL_ATTEMPT_STATES: Final = frozenset(AttemptState) - OPEN_ATTEMPT_STATES - {AttemptState.LOST}

TASK_TRANSITIONS: Final[dict[tuple[TaskState, TaskChange], TaskState]] = {
    (TaskState.WAITING, TaskChange.RELEASE): TaskState.SCHEDULED,
    (TaskState.WAITING, TaskChange.INHERIT_FAILURE): TaskState.UPSTREAM_FAILED,
    (TaskState.WAITING, TaskChange.SKIP): TaskState.SKIPPED,
    (TaskState.WAITING, TaskChange.CANCEL): TaskState.CANCELLED,
    (TaskState.WAITING, TaskChange.EXPAND): TaskState.MAPPED,
    (TaskState.MAPPED, TaskChange.SUCCEED): TaskState.SUCCESS,
    (TaskState.MAPPED, TaskChange.SKIP): TaskState.SKIPPED,
    (TaskState.MAPPED, TaskChange.FAIL): TaskState.FAILED,
    (TaskState.MAPPED, TaskChange.CANCEL): TaskState.CANCELLED,
    (TaskState.SCHEDULED, TaskChange.ADMIT): TaskState.QUEUED,
    (TaskState.SCHEDULED, TaskChange.REQUEUE): TaskState.SCHEDULED,
    (TaskState.SCHEDULED, TaskChange.SUCCEED): TaskState.SUCCESS,  # as a lost holder reports after all
    (TaskState.SCHEDULED, TaskChange.SKIP): TaskState.SKIPPED,  # the same
    (TaskState.SCHEDULED, TaskChange.RETRY): TaskState.UP_FOR_RETRY,  # the same
    (TaskState.SCHEDULED, TaskChange.FAIL): TaskState.FAILED,
    (TaskState.SCHEDULED, TaskChange.CANCEL): TaskState.CANCELLED,
    (TaskState.QUEUED, TaskChange.GRANT): TaskState.RUNNING,
    (TaskState.QUEUED, TaskChange.RERUN): TaskState.SCHEDULED,
    (TaskState.QUEUED, TaskChange.REQUEUE): TaskState.SCHEDULED,
    (TaskState.QUEUED, TaskChange.SUCCEED): TaskState.SUCCESS,  # as a lost holder reports after all
    (TaskState.QUEUED, TaskChange.SKIP): TaskState.SKIPPED,  # the same
    (TaskState.QUEUED, TaskChange.RETRY): TaskState.UP_FOR_RETRY,  # the same
    (TaskState.QUEUED, TaskChange.FAIL): TaskState.FAILED,
    (TaskState.QUEUED, TaskChange.CANCEL): TaskState.CANCELLED,
    (TaskState.RUNNING, TaskChange.SUCCEED): TaskState.SUCCESS,
    (TaskState.RUNNING, TaskChange.SKIP): TaskState.SKIPPED,
    (TaskState.RUNNING, TaskChange.POLL): TaskState.UP_FOR_RESCHEDULE,
    (TaskState.RUNNING, TaskChange.FAIL): TaskState.FAILED,
    (TaskState.RUNNING, TaskChange.RETRY): TaskState.UP_FOR_RETRY,
    (TaskState.RUNNING, TaskChange.RERUN): TaskState.SCHEDULED,
    (TaskState.RUNNING, TaskChange.CANCEL): TaskState.CANCELLED,
    (TaskState.UP_FOR_RETRY, TaskChange.WAKE): TaskState.SCHEDULED,
    (TaskState.UP_FOR_RETRY, TaskChange.CANCEL): TaskState.CANCELLED,
    (TaskState.UP_FOR_RESCHEDULE, TaskChange.WAKE): TaskState.SCHEDULED,
    (TaskState.UP_FOR_RESCHEDULE, TaskChange.FAIL): TaskState.FAILED,
    (TaskState.UP_FOR_RESCHEDULE, TaskChange.CANCEL): TaskState.CANCELLED,
}

ATTEMPT_TRANSITIONS: Final[dict[tuple[AttemptState, AttemptChange], AttemptState]] = {
    (AttemptState.QUEUED, AttemptChange.GRANT): AttemptState.RUNNING,
    (AttemptState.QUEUED, AttemptChange.WITHDRAW): AttemptState.WITHDRAWN,
    (AttemptState.QUEUED, AttemptChange.REFUSE): AttemptState.REFUSED,
    (AttemptState.RUNNING, AttemptChange.SUCCEED): AttemptState.SUCCESS,
    (AttemptState.RUNNING, AttemptChange.SKIP): AttemptState.SKIPPED,
    (AttemptState.RUNNING, AttemptChange.POLL): AttemptState.POLLING,
    (AttemptState.RUNNING, AttemptChange.FAIL): AttemptState.FAILED,
    (AttemptState.RUNNING, AttemptChange.LOSE): AttemptState.LOST,
    (AttemptState.RUNNING, AttemptChange.CANCEL): AttemptState.CANCELLED,
    (AttemptState.POLLING, AttemptChange.ADMIT): AttemptState.QUEUED,
    (AttemptState.POLLING, AttemptChange.FAIL): AttemptState.FAILED,
    (AttemptState.POLLING, AttemptChange.CANCEL): AttemptState.CANCELLED,
    (AttemptState.LOST, AttemptChange.SUCCEED): AttemptState.SUCCESS,
    (AttemptState.LOST, AttemptChange.SKIP): AttemptState.SKIPPED,
    (AttemptState.LOST, AttemptChange.FAIL): AttemptState.FAILED,
}

RUN_TRANSITIONS: Final[dict[tuple[RunState, RunChange], RunState]] = {
    (RunState.QUEUED, RunChange.START): RunState.RUNNING,
    (RunState.QUEUED, RunChange.CANCEL): RunState.CANCELLED,  # as it is held
    (RunState.RUNNING, RunChange.SUCCEED): RunState.SUCCESS,
    (RunState.RUNNING, RunChange.FAIL): RunState.FAILED,
    (RunState.RUNNING, RunChange.CANCEL): RunState.CANCELLED,
}


def next_task_state(state: TaskState, change: TaskChange) -> TaskState | None:
    """Return the state that `change` leads to, or None where the table has no row."""
    return TASK_TRANSITIONS.get((state, change))


def next_attempt_state(state: AttemptState, change: AttemptChange) -> AttemptState | None:
    """Return the state that `change` leads to, or None where the table has no row."""
    return ATTEMPT_TRANSITIONS.get((state, change))


def next_run_state(state: RunState, change: RunChange) -> RunState | None:
    """Return the state that `change` leads to, or None where the table has no row."""
    return RUN_TRANSITIONS.get((state, change))
