"""The topology: which queue a message reaches, and how it comes back."""

import pytest

from headway.protocol.limits import PARTITIONS
from headway.protocol.names import WORKERS_PARTITION
from headway.protocol.topology import (
    DEAD,
    EVENT_QUEUES,
    EVENTS,
    EXCHANGES,
    LOG_QUEUE,
    LOGS,
    TASKS,
    QueueLimits,
    control_queue,
    event_queue,
    task_queue,
)


def test_what_no_queue_takes_goes_to_the_dead():
    """Exchanges are declared after the one that they fall back to."""
    assert [(exchange.name, exchange.alternate) for exchange in EXCHANGES] == [
        (DEAD, None),
        (TASKS, DEAD),
        (EVENTS, None),
        (LOGS, None),
    ]


@pytest.mark.parametrize("partition", range(PARTITIONS))
def test_a_partition_hears_events_and_what_came_back(partition):
    """Each partition has one queue, bound by the last word of the key to both exchanges."""
    queue = event_queue(partition)
    assert queue.name == f"headway.events.p{partition:02d}"
    assert [(b.exchange, b.pattern) for b in queue.bindings] == [
        (EVENTS, f"#.p{partition:02d}"),
        (DEAD, f"#.p{partition:02d}"),
    ]


def test_events_about_workers_have_a_queue_of_their_own():
    """No task message comes back to it."""
    queue = event_queue(WORKERS_PARTITION)
    assert queue.name == "headway.events.workers"
    assert [(b.exchange, b.pattern) for b in queue.bindings] == [(EVENTS, "#.workers")]
    assert EVENT_QUEUES[-1] == queue
    assert len(EVENT_QUEUES) == PARTITIONS + 1


def test_no_event_is_ever_dropped():
    """Event queues have one consumer at a time and no limit of length or deliveries."""
    for queue in EVENT_QUEUES:
        assert queue.arguments == {
            "x-queue-type": "quorum",
            "x-single-active-consumer": True,
            "x-delivery-limit": -1,
        }


def test_a_task_that_is_not_taken_comes_back():
    """Expired, rejected and too often returned messages go to headway.dead, at least once."""
    queue = task_queue("io")
    assert queue.name == "headway.q.io"
    assert [(b.exchange, b.pattern) for b in queue.bindings] == [(TASKS, "task.io.*")]
    assert queue.arguments == {
        "x-queue-type": "quorum",
        "x-message-ttl": 600_000,
        "x-dead-letter-exchange": DEAD,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-delivery-limit": 5,
    }


def test_a_queue_may_have_a_ttl_of_its_own():
    """And is else as all others."""
    queue = task_queue("io", QueueLimits(ttl_seconds=1.5))
    assert queue.arguments == task_queue("io").arguments | {"x-message-ttl": 1_500}


def test_a_control_queue_belongs_to_one_connection():
    """So it is the lock on the worker's name, too."""
    queue = control_queue("db1-1")
    assert (queue.name, queue.exclusive, queue.bindings) == ("headway.control.db1-1", True, ())


def test_output_may_be_dropped_and_nothing_else():
    """The oldest goes first, and no journal is shared with events, whose queues are quorum queues."""
    assert [(b.exchange, b.pattern) for b in LOG_QUEUE.bindings] == [(LOGS, "log.*")]
    assert LOG_QUEUE.arguments == {
        "x-queue-type": "classic",
        "x-single-active-consumer": True,
        "x-max-length-bytes": 256 << 20,
        "x-overflow": "drop-head",
    }
