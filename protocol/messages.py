"""Every message on the wire: each kind is one frozen Struct with a version.

    Task        scheduler -> worker   headway.tasks     what to run
    Event       anyone -> scheduler   headway.events    what happened: the only cause of a change of state
    WorkerOrder scheduler -> worker   headway.control.* grant, drop, stop
    LogChunk    worker -> logkeeper   headway.logs      what a task wrote (log_chunk.py)

A reader ignores unknown fields and refuses unknown kinds and newer versions. tests/golden/ holds each released version
of each kind, and they decode for ever. docs/protocol.md is this file in prose, with MUST and SHOULD.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec

from .dag import Code, Command
from .names import UNMAPPED, BootId, DagId, QueueName, RunId, TaskId, Token, WorkerName
from .states import EndReason

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with its offset; one without is malformed, since nobody could say when it is."""

if TYPE_CHECKING:
    OptionalRaw = msgspec.Raw | None
else:
    OptionalRaw = msgspec.Raw  # in a union with None, msgspec 0.22 reads nothing but null


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=False):
    """What all messages share: the version of their kind."""

    version_max: ClassVar[int] = 1
    v: int = 1


class AttemptMessage(Message, frozen=True, kw_only=True):
    """A message about one attempt. `token` proves that its sender was handed the attempt."""

    dag_id: DagId
    run_id: RunId
    task_id: TaskId
    map_index: int = UNMAPPED
    try_number: int = msgspec.field(name="try")
    token: Token


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a task may know about its run; becomes environment variables and placeholders.

    `ds` is the day of the logical date in the DAG's time zone.
    """

    ds: str
    logical_date: Instant
    data_interval_start: Instant
    data_interval_end: Instant
    params: dict[str, str | int | float | bool | None] = {}


class Task(AttemptMessage, frozen=True, kw_only=True, tag="task"):
    """One attempt, complete in itself: a worker needs nothing else to run it (P7).

    `fence` rises with each attempt of a task instance. `inputs` are outputs of upstream tasks by task id, as JSON;
    `item` is what an instance of a mapped task stands for, as JSON. `poll` numbers the polls of an attempt, from 1;
    each has a token of its own. An exit with one of `success_codes` is success, and only then its output counts.
    """

    fence: int
    queue: QueueName
    command: Command
    context: RunContext
    env: dict[str, str] = {}
    cwd: str | None = None
    timeout_seconds: float | None = None
    on_partition: Literal["kill", "keep"] = "kill"
    inputs: dict[TaskId, msgspec.Raw] = {}
    item: msgspec.Raw = msgspec.Raw(b"null")
    code: Code | None = None
    secrets: tuple[str, ...] = ()
    poll: int = 1
    success_codes: tuple[int, ...] = (0,)


class TaskAddress(AttemptMessage, frozen=True, kw_only=True, tag="task"):
    """Which attempt a task message is about: what its scheduler reads of one that came back."""


# --- events of workers -----------------------------------------------------------------------------------------------


class Started(AttemptMessage, frozen=True, kw_only=True, tag="started"):
    """A slot is ready for this attempt: may it start? Repeated until a grant or a drop arrives."""

    worker: WorkerName
    boot: BootId
    seq: int


class Finished(AttemptMessage, frozen=True, kw_only=True, tag="finished"):
    """The child ended. Exactly one of `exit_code` and `signal` is set, unless it was never started (`reason`).

    `reason` is set if the worker ended it or could not start it. Seconds are the worker's own, bytes are bytes.
    """

    worker: WorkerName
    boot: BootId
    seq: int
    exit_code: int | None = None
    signal: str | None = None
    oom: bool = False
    reason: EndReason | None = None
    detail: str = ""
    host: str = ""
    pid: int | None = None
    ran_seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_peak_bytes: int = 0
    output: OptionalRaw = None
    tail: str = ""

    def __post_init__(self) -> None:
        """Let null mean, after decoding too, that the task wrote no output."""
        if self.output == msgspec.Raw(b"null"):
            msgspec.structs.force_setattr(self, "output", None)


class Refused(AttemptMessage, frozen=True, kw_only=True, tag="refused"):
    """This worker cannot run the attempt at all (unknown command, other code); it was not granted."""

    worker: WorkerName
    boot: BootId
    seq: int
    detail: str


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that a worker holds, as its heartbeat lists it."""

    dag_id: DagId
    run_id: RunId
    task_id: TaskId
    map_index: int = UNMAPPED
    try_number: int = msgspec.field(name="try")
    state: Literal["asked", "running", "spooled"]


class WorkerMessage(Message, frozen=True, kw_only=True):
    """A message about a worker. `seq` rises with each message of one boot."""

    worker: WorkerName
    boot: BootId
    seq: int


class BootMessage(WorkerMessage, frozen=True, kw_only=True):
    """What a boot says of itself: complete each time, so that a scheduler which never heard of it can register it."""

    host: str
    pid: int
    queues: tuple[QueueName, ...]
    slots: int
    lease_seconds: float
    heartbeat_seconds: float
    headway_version: str
    held: tuple[Held, ...] = ()


class Online(BootMessage, frozen=True, kw_only=True, tag="online"):
    """A boot began. Whatever an earlier boot of this name held is over."""


class Heartbeat(BootMessage, frozen=True, kw_only=True, tag="heartbeat"):
    """The boot lives, and holds these attempts and no others."""


class Offline(WorkerMessage, frozen=True, kw_only=True, tag="offline"):
    """The boot ended in good order: it holds nothing any more."""


# --- events of the broker: a task message came back -------------------------------------------------------------------


class Expired(AttemptMessage, frozen=True, kw_only=True, tag="expired"):
    """Nobody took the message within the queue's TTL; the broker removed it, so nobody will."""

    queue: QueueName


class Rejected(AttemptMessage, frozen=True, kw_only=True, tag="rejected"):
    """A worker found the message malformed."""

    queue: QueueName


class DeliveryLimit(AttemptMessage, frozen=True, kw_only=True, tag="delivery_limit"):
    """The message came back more often than the queue's limit, from dying or leaving workers."""

    queue: QueueName


class Unroutable(AttemptMessage, frozen=True, kw_only=True, tag="unroutable"):
    """No queue of that name exists on the broker."""

    queue: QueueName


# --- events of the clock ----------------------------------------------------------------------------------------------


TimerKind = Literal[
    "retry", "poll", "poll_timeout", "queued_deadline", "queued_timeout", "republish", "stop", "unkillable", "deadline"
]
"""`retry`: the next attempt is due. `poll`: the next poll is due. `poll_timeout`: there shall be no more polls.
`queued_deadline`: the message must have been taken by now, else it is lost. `queued_timeout`: the author's own
patience. `republish`: a message that came back is tried again. `stop`: the order to end a running child is repeated.
`unkillable`: it has had no answer for too long. `deadline`: the task should have ended by now."""

RunTimerKind = Literal["run_timeout", "deadline"]
"""`run_timeout`: the run has gone on for as long as it may. `deadline`: it should have ended by now."""


class TaskTimer(Message, frozen=True, kw_only=True, tag="task_timer"):
    """A stored timer of a task instance is due. Applied only if the stored one is the same.

    `listening_since`: since when the scheduler itself was connected; patience begins anew then.
    """

    dag_id: DagId
    run_id: RunId
    task_id: TaskId
    map_index: int = UNMAPPED
    timer: TimerKind
    due: Instant
    listening_since: Instant


class RunTimer(Message, frozen=True, kw_only=True, tag="run_timer"):
    """A stored timer of a run is due. Applied only if the stored one is the same."""

    dag_id: DagId
    run_id: RunId
    timer: RunTimerKind
    due: Instant


class LeaseTimer(Message, frozen=True, kw_only=True, tag="lease_timer"):
    """A worker's lease may have run out. `listening_since`: since when the scheduler itself was connected."""

    worker: WorkerName
    boot: BootId
    due: Instant
    listening_since: Instant


# --- events of the scheduler: consequences for another partition or for later -----------------------------------------


class WorkerLost(AttemptMessage, frozen=True, kw_only=True, tag="worker_lost"):
    """The boot that was granted this attempt is dead (its lease ran out, or a new boot of its name began)."""

    worker: WorkerName
    boot: BootId
    detail: str


class NotHeld(AttemptMessage, frozen=True, kw_only=True, tag="not_held"):
    """The boot lives, but a later heartbeat of it does not list this granted attempt."""

    worker: WorkerName
    boot: BootId
    detail: str


class Missing(AttemptMessage, frozen=True, kw_only=True, tag="missing"):
    """The broker does not have the message of a queued attempt, the `publication`th that was published for it."""

    publication: int


class Instance(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A task instance within a run that the message names."""

    task_id: TaskId
    map_index: int = UNMAPPED


class Capacity(Message, frozen=True, kw_only=True, tag="capacity"):
    """What these task instances of a run waited for is there: they go on, in this order, to where `to` says.

    `queue`: they are published. `window`: they have their places in pools and limits, and wait for their queue's window
    only. `limits`: their DAG is no longer paused. `paused`: it is. `failed`: they ask for what will never be there, as
    `detail` says. `look`: there are none, but those who wait for `room` are to be looked at again.
    """

    dag_id: DagId
    run_id: RunId
    queue: QueueName
    instances: tuple[Instance, ...]
    to: Literal["queue", "window", "limits", "paused", "failed", "look"] = "queue"
    room: str = ""
    detail: str = ""


Step = Literal["create", "release", "downstream", "cancel", "expand", "expand_release", "expand_cancel"]


class Continue(Message, frozen=True, kw_only=True, tag="continue"):
    """The next slice of something that touches more rows than one decision may (P6).

    `create`: task instances from `cursor` on. `release`: tasks without upstreams from `cursor` on. `downstream`: what
    the end of `task_id` means for its downstream tasks from `cursor` on. `cancel`: the run's tasks from `cursor` on.
    `expand`, `expand_release` and `expand_cancel`: the instances of the mapped task `task_id` from `cursor` on.
    """

    dag_id: DagId
    run_id: RunId
    step: Step
    cursor: int
    task_id: TaskId | None = None


# --- events of operators ----------------------------------------------------------------------------------------------


class Trigger(Message, frozen=True, kw_only=True, tag="trigger"):
    """Start a run of the DAG's newest version."""

    dag_id: DagId
    run_id: RunId
    logical_date: Instant
    params: dict[str, str | int | float | bool | None] = {}


class Cancel(Message, frozen=True, kw_only=True, tag="cancel"):
    """End a run, one task of it, or one instance of a mapped task, without success."""

    dag_id: DagId
    run_id: RunId
    task_id: TaskId | None = None
    map_index: int = UNMAPPED


# --- orders to a worker -----------------------------------------------------------------------------------------------


class Grant(AttemptMessage, frozen=True, kw_only=True, tag="grant"):
    """The boot may start this attempt, now and once, if its present lease had begun by its heartbeat `heard`.

    That is the `seq` of the last one that was decided before: a lease that began later is news to the scheduler, which
    may be about to call the boot lost for the silence before it.
    """

    boot: BootId
    heard: int


class Drop(AttemptMessage, frozen=True, kw_only=True, tag="drop"):
    """The boot must not start this attempt and may forget it."""

    boot: BootId
    detail: str


class Stop(AttemptMessage, frozen=True, kw_only=True, tag="stop"):
    """The boot must end this attempt's child and report."""

    boot: BootId
    reason: EndReason


WorkerOrder = Grant | Drop | Stop
