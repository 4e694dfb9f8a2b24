"""The stored things as frozen values, one Struct for each table that a decision reads or writes.

Field names are column names. Times are aware UTC, durations seconds. A row never changes: `changes.py` makes a new one.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple, NewType

import msgspec

from headway.protocol.dag_events import Reprocess
from headway.protocol.limits import ACTIVE_RUNS_DEFAULT
from headway.protocol.messages import RunTimerKind, TimerKind
from headway.protocol.names import UNMAPPED, BootId, DagId, QueueName, RunId, TaskId, Token, WorkerName
from headway.protocol.schedule import Schedule
from headway.protocol.states import (
    AttemptState,
    EndReason,
    HoldReason,
    Intent,
    RunHold,
    RunKind,
    RunState,
    TaskState,
    WorkerState,
)
from headway.protocol.topology import QueueLimits

Params = dict[str, str | int | float | bool | None]

Room = NewType("Room", str)
"""What ready task instances wait in, by name (limits.py)."""


class TaskKey(NamedTuple):
    """Finds a task instance."""

    run_id: RunId
    task_id: TaskId
    map_index: int = UNMAPPED


class AttemptKey(NamedTuple):
    """Finds an attempt."""

    run_id: RunId
    task_id: TaskId
    map_index: int
    try_number: int


class TimerKey(NamedTuple):
    """Finds a timer of a task instance or, with an empty `task_id`, of a run: each has at most one of each kind."""

    run_id: RunId
    task_id: TaskId
    map_index: int
    timer: TimerKind | RunTimerKind


class BootKey(NamedTuple):
    """Finds one boot of a worker."""

    worker: WorkerName
    boot: BootId


class VersionKey(NamedTuple):
    """Finds a DAG version."""

    dag_id: DagId
    version: int


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A stored thing. It holds plain values, in no circle: Python's collector need not look at 100,000 of them (gc)."""


class DagRow(Row, frozen=True, kw_only=True):
    """A DAG and its newest version; `digest` is that of its value.

    `next_date` is the date that it is due next, unless it is paused, and `last_date` the last one that it was due.
    `active_runs` counts its runs that are neither final nor held, `waiting_runs` those that are held until
    one more may go on.
    """

    dag_id: DagId
    version: int
    digest: str
    file: str
    task_count: int
    updated_at: datetime
    schedule: Schedule | None = None
    max_active_runs: int = ACTIVE_RUNS_DEFAULT
    paused: bool = False
    active_runs: int = 0
    waiting_runs: int = 0
    next_date: datetime | None = None
    last_date: datetime | None = None
    last_run: RunId | None = None


class BackfillRow(Row, frozen=True, kw_only=True):
    """A backfill: the dates of `schedule` from `begin_date` to `end_date`, of which `next_date` is the next.

    `made` and `skipped` count dates that got a run and that had one, `active` and `failed` runs that go on and that
    ended otherwise than in success. `asked` names those that were asked for and have not begun.
    """

    backfill_id: str
    dag_id: DagId
    schedule: Schedule
    begin_date: datetime
    end_date: datetime
    max_active: int
    reverse: bool
    reprocess: Reprocess
    params: Params
    next_date: datetime | None
    made: int = 0
    skipped: int = 0
    asked: tuple[RunId, ...] = ()
    active: int = 0
    failed: int = 0
    created_at: datetime
    finished_at: datetime | None = None


class Run(Row, frozen=True, kw_only=True):
    """A DAG run. `created`, `released` and `cancelled` are cursors over the DAG's tasks in their fixed order.

    `unfinished` counts its task instances that are not final, `failed_leaves` those that decide the run (graph.py) and
    ended in anything but success or skipped: the run succeeds when the first is zero and so is the second. While it
    has a `hold`, none of its task instances is made. `previous` is the run before it, if some of its tasks depend on
    the past, and there this one is among the `next_runs`; `tells_all` says that one of those is of another version.
    `rerun` is the newest run of a backfill that ran its date again.
    """

    run_id: RunId
    dag_id: DagId
    version: int
    kind: RunKind = RunKind.MANUAL
    state: RunState
    hold: RunHold | None = None
    logical_date: datetime
    data_interval_start: datetime
    data_interval_end: datetime
    params: Params
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline: datetime | None = None
    unfinished: int
    failed_leaves: int = 0
    created: int = 0
    released: int = 0
    cancelled: int = 0
    intent: Intent | None = None
    previous: RunId | None = None
    next_runs: tuple[RunId, ...] = ()
    tells_all: bool = False
    backfill_id: str | None = None
    rerun: RunId | None = None

    def deadline_after(self, seconds: float) -> datetime:
        """Return when what may take so long should have ended: from the date of a schedule, or the trigger on."""
        is_scheduled = self.kind is RunKind.SCHEDULED
        return (self.logical_date if is_scheduled else self.created_at) + timedelta(seconds=seconds)


class Mapped(Row, frozen=True, kw_only=True):
    """What a mapped task's own row knows of its instances (mapping.py): how many there are, and how many ended how.

    `created`, `released` and `cancelled` are cursors over their indexes. `output_bytes` is the length of what they
    wrote as a list, a separator after each.
    """

    size: int = 0
    created: int = 0
    released: int = 0
    cancelled: int = 0
    success: int = 0
    failed: int = 0
    skipped: int = 0
    output_bytes: int = 0


class TaskInstance(Row, frozen=True, kw_only=True):
    """A task of a run. `position` is its place in the DAG's fixed order.

    The `up_*` counters say how many upstream tasks ended how, and `up_unchosen` how many of them are branches that go
    another way; `setup_*` how the setups that it depends on ended (rules.py). `propagated` says how many tasks have
    heard of its own end. `since` is when it entered its state, `begun_at` when its first attempt was first granted.
    `granted_try` is the newest attempt that was granted: only its holder has anything to report. `mapped` is there in
    the row of a mapped task that was expanded. While it is scheduled, `room` is where it waits and `turn` its place
    there.
    """

    run_id: RunId
    task_id: TaskId
    map_index: int = UNMAPPED
    position: int
    dag_id: DagId
    state: TaskState
    since: datetime
    queue: QueueName
    priority: int
    try_number: int = 0
    granted_try: int = 0
    begun_at: datetime | None = None
    retries_used: int = 0
    infra_used: int = 0
    up_success: int = 0
    up_failed: int = 0
    up_upstream_failed: int = 0
    up_skipped: int = 0
    up_unchosen: int = 0
    setup_success: int = 0
    setup_failed: int = 0
    setup_skipped: int = 0
    propagated: int = 0
    hold: HoldReason | None = None
    room: Room = Room("")
    turn: int = 0
    intent: Intent | None = None
    reason: EndReason | None = None
    detail: str = ""
    mapped: Mapped | None = None

    @property
    def key(self) -> TaskKey:
        """Find it again."""
        return TaskKey(self.run_id, self.task_id, self.map_index)


class Attempt(Row, frozen=True, kw_only=True):
    """One assignment of a task instance, and for ever what came of it.

    One that polls tells of the newest of its `polls`: each has a token, a message and a holder of its own.
    `publications` counts how often its message was published, the last time at `published_at`. While it is queued,
    `reason` and `detail` say why its message came back last, and `returns` how often in a row for that reason;
    `refused_by` holds the last refusal of each worker, by boot and sequence number. `granted_seq` is the worker's
    sequence number of the `started` that was granted: only a later heartbeat can say that the worker does not hold it.
    `decided_by` names the recorded event that ended it.
    """

    run_id: RunId
    task_id: TaskId
    map_index: int = UNMAPPED
    try_number: int
    dag_id: DagId
    token: Token
    state: AttemptState
    queue: QueueName
    publications: int
    polls: int = 1
    queued_at: datetime
    published_at: datetime
    returns: int = 0
    refused_by: dict[WorkerName, tuple[BootId, int]] = {}
    worker: WorkerName | None = None
    boot: BootId | None = None
    granted_seq: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    host: str | None = None
    pid: int | None = None
    exit_code: int | None = None
    signal: str | None = None
    oom: bool = False
    reason: EndReason | None = None
    detail: str = ""
    ran_seconds: float | None = None
    cpu_seconds: float | None = None
    memory_peak_bytes: int | None = None
    tail: str = ""
    decided_by: str | None = None

    @property
    def key(self) -> AttemptKey:
        """Find it again."""
        return AttemptKey(self.run_id, self.task_id, self.map_index, self.try_number)


class Output(Row, frozen=True, kw_only=True):
    """The JSON that a task instance's successful attempt wrote."""

    run_id: RunId
    task_id: TaskId
    map_index: int = UNMAPPED
    value: str


class Timer(Row, frozen=True, kw_only=True):
    """A task instance, or a run, is to be looked at again at `due`."""

    run_id: RunId
    task_id: TaskId
    map_index: int = UNMAPPED
    timer: TimerKind | RunTimerKind
    dag_id: DagId
    due: datetime

    @property
    def key(self) -> TimerKey:
        """Find it again."""
        return TimerKey(self.run_id, self.task_id, self.map_index, self.timer)


class QueueRow(Row, frozen=True, kw_only=True):
    """A queue of tasks over all partitions: how many wait, how many are published, how many workers and slots serve it.

    `mended` counts what was found missing. `full_at` is when the broker last refused a message because the queue is
    full, `fault` why it could not be made: observations, on which no decision depends. `window` is what an operator
    says of it (headway.toml), and not stored.
    """

    queue: QueueName
    queued: int = 0
    waiting: int = 0
    slots: int = 0
    workers: int = 0
    mended: int = 0
    full_at: datetime | None = None
    fault: str = ""
    window: int | None = None

    def limited(self, limits: Mapping[QueueName, QueueLimits]) -> "QueueRow":
        """Return the same with the window that these limits give it."""
        own = limits.get(self.queue)
        return self if own is None else msgspec.structs.replace(self, window=own.window)


class RoomRow(Row, frozen=True, kw_only=True):
    """A room over all partitions: how many places it has, how many are taken, how many wait for one (limits.py).

    A row of a line says what it `lacks`: the limit that kept its first one waiting. `turn` is the place that was served
    last, or, of the lane of one DAG in a room, the place given last (turns.py).
    """

    room: Room
    slots: int | None = None
    used: int = 0
    waiting: int = 0
    turn: int = 0
    lacks: Room | None = None

    @property
    def free(self) -> int:
        """How many places are left; a pool whose slots were lowered may have less than none."""
        return (self.slots or 0) - self.used

    @property
    def is_idle(self) -> bool:
        """Whether it says nothing; a pool stays to be seen."""
        return not (self.used or self.waiting or self.turn or self.room.startswith("pool/"))


class Worker(Row, frozen=True, kw_only=True):
    """One boot of a worker."""

    worker: WorkerName
    boot: BootId
    state: WorkerState
    host: str
    pid: int
    queues: tuple[QueueName, ...]
    slots: int
    lease_seconds: float
    heartbeat_seconds: float
    headway_version: str
    seq: int
    online_at: datetime
    last_heartbeat: datetime
    lease_due: datetime

    @property
    def key(self) -> BootKey:
        """Find it again."""
        return BootKey(self.worker, self.boot)
