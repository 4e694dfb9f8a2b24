"""The topology on a real RabbitMQ: whatever happens to a task message comes back, on the partition of its DAG.

The scheduler makes events of these reports, so their shape is written down here: which exchange and key they carry,
and what stands in the x-death header.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from brokers import Capability, Listener
from headway.broker.port import Broker, Confirmed, Delivered, Delivery, Outcome, Outgoing, QueueDepth
from headway.protocol.names import event_key, partition_of, task_key
from headway.protocol.topology import DEAD, EVENT_QUEUES, EVENTS, TASKS, Queue, event_queue, task_queue

Join = Callable[[], tuple[Broker, Listener]]

DAG = "nightly_sales"
REPORTS = event_queue(partition_of(DAG))
KEY = task_key("default", DAG)
RETURNS = 30
HANDOVERS = 8
# Clocks of the broker and of the test may be two.
CLOCK_SLACK = timedelta(minutes=5)


def tasks(**arguments: int) -> Queue:
    """Return the queue of tasks with other limits, so that a test need not wait for ten minutes."""
    queue = task_queue("default")
    changed = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    return msgspec.structs.replace(queue, arguments=queue.arguments | changed)


def submit(broker: Broker, *, key: str = KEY) -> None:
    """Publish a task message."""
    broker.publish(Outgoing(message_id="t1", exchange=TASKS, routing_key=key, kind="task", body=b'{"kind":"task"}'))


def dead_by(report: Delivery) -> str:
    """Check a report of RabbitMQ's dead-lettering and return its reason."""
    assert (report.queue, report.exchange, report.routing_key) == (REPORTS.name, DEAD, KEY)
    assert (report.message_id, report.kind, report.body) == ("t1", "task", b'{"kind":"task"}')
    (death,) = report.headers["x-death"]
    assert (death["queue"], death["exchange"], death["routing-keys"]) == ("headway.q.default", TASKS, [KEY])
    assert death["count"] == 1
    assert abs(datetime.now(UTC) - death["time"]) < CLOCK_SLACK
    assert report.headers["x-first-death-reason"] == death["reason"]
    return death["reason"]


@pytest.mark.needs(Capability.TTL)
def test_an_expired_task_comes_back(join: Join):
    """Nobody took it within the queue's TTL: `expired`, with the user that the broker checked when it was published."""
    broker, listener = join()
    broker.declare(REPORTS, tasks(message_ttl=50))
    broker.consume(REPORTS, prefetch=1)
    submit(broker)
    (report,) = listener.deliveries(1)
    assert dead_by(report) == "expired"
    assert report.user_id == broker.user


def test_a_rejected_task_comes_back(join: Join):
    """A worker could not read it: `rejected`."""
    broker, listener = join()
    broker.declare(REPORTS, tasks())
    broker.consume(REPORTS, prefetch=1)
    broker.consume(tasks(), prefetch=1)
    submit(broker)
    broker.settle(listener.deliveries(1, queue="headway.q.default")[0], Outcome.REJECT)
    assert dead_by(listener.deliveries(1, queue=REPORTS.name)[0]) == "rejected"


def test_a_task_that_returns_too_often_comes_back(join: Join):
    """It was handed out once more than the queue's limit allows: `delivery_limit`."""
    broker, listener = join()
    queue = tasks(delivery_limit=2)
    broker.declare(REPORTS, queue)
    broker.consume(REPORTS, prefetch=1)
    broker.consume(queue, prefetch=1)
    submit(broker)
    for times in (1, 2, 3):
        broker.settle(listener.deliveries(times, queue=queue.name)[-1], Outcome.REQUEUE)
    assert dead_by(listener.deliveries(1, queue=REPORTS.name)[0]) == "delivery_limit"
    assert len(listener.deliveries(3, queue=queue.name)) == 3


def test_a_task_without_a_queue_comes_back(join: Join):
    """It went through the alternate exchange, and counts as taken: it still names the exchange it was published to."""
    broker, listener = join()
    broker.declare(REPORTS)
    broker.consume(REPORTS, prefetch=1)
    submit(broker, key=task_key("nowhere", DAG))
    (report,) = listener.deliveries(1)
    assert (report.exchange, report.routing_key) == (TASKS, task_key("nowhere", DAG))
    assert (report.message_id, report.headers) == ("t1", {})
    listener.wait_for(Confirmed)


def test_each_event_reaches_the_queue_of_its_partition(join: Join):
    """Seventeen queues, one event to each, by the last word of its key."""
    broker, listener = join()
    broker.declare(*EVENT_QUEUES)
    for number, queue in enumerate(EVENT_QUEUES):
        broker.consume(queue, prefetch=1)
        key = event_key(broker.user, "started", number)
        broker.publish(Outgoing(message_id=queue.name, exchange=EVENTS, routing_key=key, kind="started", body=b"{}"))
    got = {(delivery.queue, delivery.message_id) for delivery in listener.deliveries(len(EVENT_QUEUES))}
    assert got == {(queue.name, queue.name) for queue in EVENT_QUEUES}


def test_one_scheduler_at_a_time_reads_a_partition(join: Join):
    """The next consumer gets nothing until the one before ends; then all that was not settled, in order, each time."""
    owner, heard = join()
    owner.declare(REPORTS)
    owner.consume(REPORTS, prefetch=100)
    key = event_key(owner.user, "started", partition_of(DAG))
    for number in range(400):
        owner.publish(Outgoing(message_id=f"e{number}", exchange=EVENTS, routing_key=key, kind="started", body=b"{}"))
    heard.wait_for(Delivered, count=100)
    for _ in range(HANDOVERS):
        assert [got.message_id for got in heard.deliveries(100)] == [f"e{number}" for number in range(100)]
        waiting, heard_next = join()
        waiting.consume(REPORTS, prefetch=100)
        waiting.measure(REPORTS.name)
        heard_next.wait_for(QueueDepth)
        assert heard_next.all_of(Delivered) == []
        owner.close(timeout_seconds=5)
        owner, heard = waiting, heard_next


def test_an_event_may_return_any_number_of_times(join: Join):
    """No delivery limit: not RabbitMQ 4's default of 20, nor RabbitMQ 3's reading of -1, which is none at all."""
    broker, listener = join()
    broker.declare(REPORTS)
    broker.consume(REPORTS, prefetch=1)
    key = event_key(broker.user, "started", partition_of(DAG))
    broker.publish(Outgoing(message_id="e", exchange=EVENTS, routing_key=key, kind="started", body=b"{}"))
    for number in range(RETURNS):
        broker.settle(listener.deliveries(number + 1)[-1], Outcome.REQUEUE)
    assert listener.deliveries(RETURNS + 1)[-1].message_id == "e"
