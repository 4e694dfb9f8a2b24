"""Exchanges and queues of DESIGN 4, as data; `broker/` turns them into declarations.

    headway.tasks  --task.<queue>.pNN-->  headway.q.<queue>        returned, expired, rejected: headway.dead
    headway.events --event.<user>.<kind>.pNN-->  headway.events.pNN, headway.events.workers
    headway.dead   --(the key is kept)-->  headway.events.pNN: so a report reaches the partition of its DAG by itself

    headway.logs   --log.<user>-->  headway.logs        output of tasks: the one thing that may be dropped

Task queues and event queues are quorum queues. An argument of an existing queue cannot be changed by declaring it
again, so what an operator may want to change belongs into a RabbitMQ policy.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from .limits import PARTITIONS
from .names import WORKERS_PARTITION, QueueName, partition_label

TASKS: Final = "headway.tasks"
EVENTS: Final = "headway.events"
DEAD: Final = "headway.dead"

LOGS: Final = "headway.logs"

TASK_TTL_SECONDS: Final = 600.0
"""How long a task message stands in its queue before the broker hands it back as `expired`; Airflow's queue timeout."""

TTL_SECONDS_MAX: Final = 49 * 24 * 3600.0
"""What RabbitMQ takes: 32 bits of milliseconds."""

DELIVERY_LIMIT: Final = 5
"""Returns of a task message by dying workers before the broker hands it back as `delivery_limit`."""


LOGS_BYTES_MAX: Final = 256 * 1024 * 1024
"""Output that waits for a logkeeper; beyond it the oldest is dropped, and stays on the machine that wrote it."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """A durable topic exchange."""

    name: str
    alternate: str | None = None


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """Messages of `exchange` whose key matches `pattern` reach the queue."""

    exchange: str
    pattern: str


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue with its arguments (RabbitMQ's x-arguments) and bindings."""

    name: str
    arguments: dict[str, str | int | bool] = {}
    bindings: tuple[Binding, ...] = ()
    exclusive: bool = False


class QueueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may say of a queue of tasks: its TTL, and how many messages are published at a time.

    Without a window, the scheduler reckons one from the slots that serve the queue.
    """

    ttl_seconds: float = TASK_TTL_SECONDS
    window: int | None = None


ANY_QUEUE: Final = QueueLimits()
"""Limits of a queue that nobody says anything of."""

NO_LIMITS: Final[Mapping[QueueName, QueueLimits]] = {}
"""Where nobody says anything of any queue."""

EXCHANGES: Final = (
    Exchange(name=DEAD),
    Exchange(name=TASKS, alternate=DEAD),
    Exchange(name=EVENTS),
    Exchange(name=LOGS),
)


def event_queue(partition: int) -> Queue:
    """Return the queue of one partition's events, or of the events about workers (partition 16).

    One consumer at a time, in order; no length or delivery limit, for an event may never be dropped.
    """
    label = partition_label(partition)
    exchanges = (EVENTS,) if partition == WORKERS_PARTITION else (EVENTS, DEAD)
    return Queue(
        name=f"{EVENTS}.{label}",
        arguments={"x-queue-type": "quorum", "x-single-active-consumer": True, "x-delivery-limit": -1},
        bindings=tuple(Binding(exchange=name, pattern=f"#.{label}") for name in exchanges),
    )


EVENT_QUEUES: Final = tuple(event_queue(partition) for partition in range(PARTITIONS + 1))


def task_queue_name(queue: str) -> str:
    """Return the broker's name of a queue of tasks."""
    return f"headway.q.{queue}"


def task_queue(queue: str, limits: QueueLimits = ANY_QUEUE) -> Queue:
    """Return a queue of tasks: whatever is not taken from it comes back as an event, at least once."""
    return Queue(
        name=task_queue_name(queue),
        arguments={
            "x-queue-type": "quorum",
            "x-message-ttl": int(limits.ttl_seconds * 1000),
            "x-dead-letter-exchange": DEAD,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-delivery-limit": DELIVERY_LIMIT,
        },
        bindings=(Binding(exchange=TASKS, pattern=f"task.{queue}.*"),),
    )


LOG_QUEUE: Final = Queue(
    name=LOGS,
    arguments={
        "x-queue-type": "classic",
        "x-single-active-consumer": True,
        "x-max-length-bytes": LOGS_BYTES_MAX,
        "x-overflow": "drop-head",
    },
    bindings=(Binding(exchange=LOGS, pattern="log.*"),),
)
"""Output of tasks. Classic: quorum queues of a node share one journal, and a flood of output must not make events wait
for it. One consumer at a time, so that pieces are stored in order and a missing one is known to be missing."""


def control_queue_name(worker: str) -> str:
    """Return the broker's name of a worker's own queue, which the default exchange reaches."""
    return f"headway.control.{worker}"


def control_queue(worker: str) -> Queue:
    """Return a worker's own queue: exclusive to its connection, so it is also the lock on the worker's name."""
    return Queue(name=control_queue_name(worker), exclusive=True)
