"""A scheduler on a real broker and database, beside faults that nobody tells it of."""

import logging
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest

from brokers import Listener
from headway.broker.connecting import connect
from headway.broker.port import Broker, Delivered, Delivery, Outgoing
from headway.protocol.codec import encode
from headway.protocol.errors import DatabaseUnavailable
from headway.protocol.kinds import Event, kind_of
from headway.protocol.names import event_key
from headway.protocol.topology import EVENT_QUEUES, EVENTS, Queue, task_queue
from headway.scheduler.intake import partition_of_event
from headway.scheduler.service import Scheduler
from headway.scheduler.store import capacity
from headway.scheduler.store import tables as t
from headway.scheduler.store.store import Batch, Store
from stage import Stage, dag, task

SECONDS_MAX = 60.0


class ForgetfulStore(Store):
    """A store whose next commit, once it is told so, is not answered, as where the network is cut in that moment."""

    is_cut = False

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """Open one transaction, commit it, and then perhaps say that it failed."""
        with super().batch() as batch:
            yield batch
        if self.is_cut:
            self.is_cut = False
            raise DatabaseUnavailable(url="it", detail="cut after COMMIT")


class Bystander:
    """Somebody who publishes events and takes what the task queues get."""

    def __init__(self, url: str) -> None:
        self.listener = Listener()
        self.broker: Broker = connect(url, name="bystander", sink=self.listener)

    def say(self, event: Event) -> None:
        """Publish an event."""
        kind = kind_of(event)
        key = event_key(self.broker.user, kind, partition_of_event(event))
        self.broker.publish(
            Outgoing(message_id=f"id of {event}", exchange=EVENTS, routing_key=key, kind=kind, body=encode(event))
        )

    def take(self, name: str, count: int) -> list[Delivery]:
        """Wait until a task queue gave this many messages."""
        wanted = task_queue(name).name
        found = self.listener.wait_for(
            Delivered, count=count, where=lambda one: one.delivery.queue == wanted, timeout_seconds=SECONDS_MAX
        )
        return [signal.delivery for signal in found]


@pytest.fixture
def bystander(fresh_vhost: str) -> Iterator[Bystander]:
    """Give somebody on an empty broker."""
    made = Bystander(fresh_vhost)
    made.broker.open()
    made.listener.connected()
    made.broker.declare(*EVENT_QUEUES)
    yield made
    made.broker.close(timeout_seconds=5)


@pytest.fixture
def serve(fresh_vhost: str) -> Iterator[Callable[[Store], None]]:
    """Give a function that lets a scheduler run beside the test; at its end it must stop in good order."""
    running: list[tuple[Scheduler, Future[None]]] = []
    with ThreadPoolExecutor() as beside:

        def serve(store: Store) -> None:
            scheduler = Scheduler(store, lambda sink: connect(fresh_vhost, name="headway scheduler", sink=sink))
            running.append((scheduler, beside.submit(scheduler.run)))

        yield serve
        for scheduler, ran in running:
            scheduler.stop()
            ran.result(SECONDS_MAX)


def test_what_a_scheduler_left_when_it_died_is_published_by_another(
    stage: Stage, bystander: Bystander, serve: Callable[[Store], None]
):
    """It committed, and did not live to publish; the other one runs all the while."""
    bystander.broker.consume(task_queue("default"), prefetch=10)
    stage.learn(dag(task("a")))
    serve(Store(stage.engine))
    bystander.say(stage.trigger("r1"))
    bystander.take("default", 1)
    (left,) = stage.decider.process([stage.arrival(stage.trigger("r2"))]).outbox
    assert bystander.take("default", 2)[1].message_id == left.message_id


def test_what_was_committed_without_an_answer_is_published(
    stage: Stage, bystander: Bystander, serve: Callable[[Store], None]
):
    """Tried again, the batch comes to nothing; what it left is in the outbox."""
    bystander.broker.consume(task_queue("default"), prefetch=10)
    stage.learn(dag(task("a")))
    store = ForgetfulStore(stage.engine)
    store.is_cut = True
    serve(store)
    bystander.say(stage.trigger())
    bystander.take("default", 1)
    assert stage.verdicts("trigger") == [("applied", "")]


def test_a_message_that_the_broker_has_lost_is_published_again_by_the_census(
    stage: Stage, bystander: Bystander, serve: Callable[[Store], None], monkeypatch: pytest.MonkeyPatch
):
    """Somebody takes it and says nothing: two looks later it is missed, and the queue counts that."""
    monkeypatch.setattr("headway.scheduler.census.AGE", timedelta(seconds=0.2))
    monkeypatch.setattr("headway.scheduler.census.LOOK_SECONDS", 0.2)
    bystander.broker.consume(task_queue("default"), prefetch=10)
    stage.learn(dag(task("a")))
    serve(Store(stage.engine))
    bystander.say(stage.trigger())
    first, second = bystander.take("default", 2)
    assert (str(first.message_id)[:-2], second.message_id) == (str(second.message_id)[:-2], f"{first.message_id[:-1]}2")
    (queue_row,) = stage.rows(t.queues)
    assert queue_row["mended"] >= 1
    assert ("applied", "published again") in stage.verdicts("missing")


class Sayings(logging.Handler):
    """What a scheduler says in its log."""

    def __init__(self) -> None:
        super().__init__()
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line."""
        self._said.put(record.getMessage())

    def wait_for(self, part: str) -> None:
        """Wait for a line that has this in it."""
        while part not in self._said.get(timeout=SECONDS_MAX):
            pass


@pytest.fixture
def sayings() -> Iterator[Sayings]:
    """Give what the scheduler's log says."""
    made = Sayings()
    logging.getLogger("headway.scheduler.service").addHandler(made)
    yield made
    logging.getLogger("headway.scheduler.service").removeHandler(made)


def test_a_queue_that_somebody_else_made_stops_no_other(
    stage: Stage, bystander: Bystander, serve: Callable[[Store], None], sayings: Sayings
):
    """Its arguments cannot be changed from here: that is said, and tasks of other queues are published."""
    alien = task_queue("alien").name
    bystander.broker.declare(Queue(name=alien, arguments={"x-queue-type": "classic"}))
    bystander.broker.consume(task_queue("default"), prefetch=10)
    stage.learn(dag(task("a", queue="alien"), name="stuck"))
    stage.learn(dag(task("a")))
    serve(Store(stage.engine))
    bystander.say(stage.trigger("r1", "stuck"))
    sayings.wait_for(f"Queue {alien!r} exists on the broker with other arguments")
    bystander.say(stage.trigger("r2"))
    bystander.take("default", 1)
    faults = {row.queue: row.fault for row in capacity.list_queues(stage.engine)}
    assert "exists on the broker with other arguments" in faults["alien"]
    assert faults["default"] == ""
