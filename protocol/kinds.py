"""The kinds of messages: which of them are events, and who may send which.

What each holds stands in messages.py.
"""

from typing import Literal

from .dag_events import (
    Backfill,
    BackfillStep,
    DagVersion,
    PastEnded,
    Pause,
    RunCapacity,
    RunDue,
    ScheduleTimer,
    Unpause,
)
from .messages import (
    Cancel,
    Capacity,
    Continue,
    DeliveryLimit,
    Expired,
    Finished,
    Heartbeat,
    LeaseTimer,
    Message,
    Missing,
    NotHeld,
    Offline,
    Online,
    Refused,
    Rejected,
    RunTimer,
    Started,
    TaskTimer,
    Trigger,
    Unroutable,
    WorkerLost,
)

Event = (
    Started
    | Finished
    | Refused
    | Online
    | Heartbeat
    | Offline
    | Expired
    | Rejected
    | DeliveryLimit
    | Unroutable
    | TaskTimer
    | RunTimer
    | LeaseTimer
    | ScheduleTimer
    | WorkerLost
    | NotHeld
    | Missing
    | Capacity
    | RunDue
    | RunCapacity
    | BackfillStep
    | PastEnded
    | Continue
    | Trigger
    | Cancel
    | Backfill
    | Pause
    | Unpause
    | DagVersion
)


Role = Literal["worker", "operator", "clock", "scheduler", "broker"]

ROLE_OF_KIND: dict[type[Message], Role] = {
    Started: "worker",
    Finished: "worker",
    Refused: "worker",
    Online: "worker",
    Heartbeat: "worker",
    Offline: "worker",
    Expired: "broker",
    Rejected: "broker",
    DeliveryLimit: "broker",
    Unroutable: "broker",
    TaskTimer: "clock",
    RunTimer: "clock",
    LeaseTimer: "clock",
    ScheduleTimer: "clock",
    WorkerLost: "scheduler",
    NotHeld: "scheduler",
    Missing: "scheduler",
    Capacity: "scheduler",
    RunDue: "scheduler",
    RunCapacity: "scheduler",
    BackfillStep: "scheduler",
    PastEnded: "scheduler",
    Continue: "scheduler",
    Trigger: "operator",
    Cancel: "operator",
    Backfill: "operator",
    Pause: "operator",
    Unpause: "operator",
    DagVersion: "operator",
}
"""Who may send which kind. The broker's topic permissions enforce it, by the user's name and the kind in the key."""


def kind_of(message: Message | type[Message]) -> str:
    """Return the word that names a message's kind on the wire."""
    return str(message.__struct_config__.tag)
