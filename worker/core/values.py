"""What goes into the core and what comes out of it. Values only.

`now` is always seconds of CLOCK_BOOTTIME, which goes on while the machine sleeps: a lease must not outlive its time
because a lid was closed.
"""

from enum import StrEnum
from typing import NewType

import msgspec

from headway.broker.port import Blocked, Confirmed, Connected, Delivery, Disconnected, Outcome, Unblocked, Unconfirmed
from headway.protocol.messages import Finished, Message, OptionalRaw, Task, WorkerOrder
from headway.protocol.names import BootId, QueueName, Token, WorkerName
from headway.protocol.states import EndReason

Tap = NewType("Tap", int)
"""The core's own number of a consumer: one that is used once, for one consumer of one queue."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """One boot of a worker: what it says of itself, and its bounds."""

    worker: WorkerName
    boot: BootId
    host: str
    pid: int
    queues: tuple[QueueName, ...]
    slots: int
    lease_seconds: float
    heartbeat_seconds: float
    headway_version: str
    drain_seconds: float | None = None


class Phase(StrEnum):
    """Where an attempt stands on this worker, until its `finished` takes its place."""

    PARKED = "parked"  # its message is here, a slot is not
    ASKED = "asked"  # `started` was published
    RUNNING = "running"  # granted; its child was started, once
    REFUSING = "refusing"  # `refused` was published and is not confirmed


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt on this worker.

    `refusal` says why this worker cannot run it, if it cannot. `tap` is the consumer whose delivery brought it, while
    that is unsettled. `ending` is set once the worker decided to end the child.
    """

    task: Task
    phase: Phase
    tap: Tap | None
    refusal: str = ""
    ending: EndReason | None = None
    ending_detail: str = ""


# --- inputs -----------------------------------------------------------------------------------------------------------


class TaskArrived(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer brought a well-formed task message. `refusal`: why this worker cannot run it, if it cannot."""

    tap: Tap
    delivery: Delivery
    task: Task
    refusal: str = ""


class ConsumerEnded(msgspec.Struct, frozen=True, kw_only=True):
    """The broker took note of a cancel: this consumer brings no more."""

    tap: Tap


class OrderArrived(msgspec.Struct, frozen=True, kw_only=True):
    """The scheduler answers or commands."""

    order: WorkerOrder


class ChildStarted(msgspec.Struct, frozen=True, kw_only=True):
    """There is a process."""

    token: Token


class ChildEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A child and its group are gone. Exactly one of `exit_code` and `signal` is set."""

    token: Token
    pid: int | None
    exit_code: int | None = None
    signal: str | None = None
    oom: bool = False
    lease_ended: bool = False
    ran_seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_peak_bytes: int = 0
    output: OptionalRaw = None
    output_fault: str = ""
    tail: str = ""


class ChildNotStarted(msgspec.Struct, frozen=True, kw_only=True):
    """No child came to be, for a reason that is the task's (BAD_INPUT) or this machine's (NOT_STARTED)."""

    token: Token
    reason: EndReason
    detail: str


class SpawnerEnded(msgspec.Struct, frozen=True, kw_only=True):
    """The process that starts children is gone, and with it all children."""

    detail: str


class Ticked(msgspec.Struct, frozen=True, kw_only=True):
    """Time has passed; nothing else happened."""


class StopAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody wants this worker to end: the first time it drains, the second time it ends its children."""


Input = (
    Connected
    | Disconnected
    | Blocked
    | Unblocked
    | Confirmed
    | Unconfirmed
    | TaskArrived
    | ConsumerEnded
    | OrderArrived
    | ChildStarted
    | ChildEnded
    | ChildNotStarted
    | SpawnerEnded
    | Ticked
    | StopAsked
)


# --- effects ----------------------------------------------------------------------------------------------------------


class Publish(msgspec.Struct, frozen=True, kw_only=True):
    """Publish an event; `Confirmed` or `Unconfirmed` with this id follows."""

    message_id: str
    event: Message


class WriteSpool(msgspec.Struct, frozen=True, kw_only=True):
    """Keep a result on disk until the broker has it."""

    message_id: str
    event: Finished


class SyncSpool(msgspec.Struct, frozen=True, kw_only=True):
    """The broker does not take this result soon: it must survive a loss of power too."""

    message_id: str


class RemoveSpool(msgspec.Struct, frozen=True, kw_only=True):
    """The broker has this result."""

    message_id: str


class Settle(msgspec.Struct, frozen=True, kw_only=True):
    """End a delivery."""

    delivery: Delivery
    outcome: Outcome


class Consume(msgspec.Struct, frozen=True, kw_only=True):
    """Take messages of a task queue, one at a time, through a new consumer."""

    tap: Tap
    queue: QueueName


class CancelConsumer(msgspec.Struct, frozen=True, kw_only=True):
    """Take no more through this consumer; `ConsumerEnded` follows."""

    tap: Tap


class StartChild(msgspec.Struct, frozen=True, kw_only=True):
    """Start the child of a granted attempt; `ChildEnded` or `ChildNotStarted` follows, once."""

    task: Task


class SignalChild(msgspec.Struct, frozen=True, kw_only=True):
    """Send TERM, or KILL, to the whole group of a child."""

    token: Token
    kill: bool = False


class ExtendLease(msgspec.Struct, frozen=True, kw_only=True):
    """No child may live beyond `until` (CLOCK_BOOTTIME), whatever becomes of this process."""

    until: float


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an operator may want to read in the log."""

    text: str


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """All is done or as much as may be waited for."""

    in_order: bool


Effect = (
    Publish
    | WriteSpool
    | SyncSpool
    | RemoveSpool
    | Settle
    | Consume
    | CancelConsumer
    | StartChild
    | SignalChild
    | ExtendLease
    | Remark
    | Exit
)
