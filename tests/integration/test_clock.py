"""The clock on each database: what is due is published, whatever fails or whoever sets a clock meanwhile."""

import queue
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from headway.broker.port import Outgoing
from headway.protocol.codec import decode_event
from headway.protocol.messages import LeaseTimer, TaskTimer
from headway.scheduler.clock import Clock
from headway.scheduler.store import tables as t
from headway.scheduler.store.store import Store
from stage import Stage, dag, task

SECONDS_MAX = 60.0
PAST = datetime(2026, 1, 1, tzinfo=UTC)


class SetStore(Store):
    """A store on a database whose clock differs from this host's, and may be set."""

    ahead = timedelta(0)

    def now(self) -> datetime:
        """Return what the database's clock shows."""
        return super().now() + self.ahead


class Wall:
    """A clock that runs, and what it publishes; `fault` is raised by the next publish."""

    def __init__(self, store: Store) -> None:
        self.published: queue.SimpleQueue[Outgoing] = queue.SimpleQueue()
        self.fault: Exception | None = None
        self.clock = Clock(store, user="scheduler", publish=self._publish)
        self.clock.start()

    def next(self) -> TaskTimer | LeaseTimer:
        """Wait for the next event."""
        event = decode_event(self.published.get(timeout=SECONDS_MAX).body)
        assert isinstance(event, TaskTimer | LeaseTimer)
        return event

    def _publish(self, message: Outgoing) -> None:
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault
        self.published.put(message)


Hang = Callable[[Store], Wall]


@pytest.fixture
def hang() -> Iterator[Hang]:
    """Give a function that makes a clock run."""
    walls: list[Wall] = []

    def hang(store: Store) -> Wall:
        walls.append(Wall(store))
        return walls[-1]

    yield hang
    for wall in walls:
        wall.clock.stop()


def test_an_error_does_not_stop_the_clock(stage: Stage, hang: Hang):
    """Whatever it is: the timer is published at the next look."""
    stage.run(dag(task("a")))
    with stage.engine.begin() as connection:
        connection.execute(update(t.timers).values(due=PAST))
    wall = hang(stage.store)
    wall.fault = ValueError("a mistake of ours")
    wall.clock.listen(connected=True)
    assert wall.next().due == PAST


def test_silence_is_counted_by_the_databases_clock(stage: Stage, hang: Hang):
    """However far it is from this host's: what began to listen now has heard no silence yet."""
    lease_runs_out(stage)
    store = SetStore(stage.engine)
    store.ahead = timedelta(hours=-1)
    wall = hang(store)
    wall.clock.listen(connected=True)
    timer = wall.next()
    assert isinstance(timer, LeaseTimer)
    assert abs(timer.listening_since - store.now()) < timedelta(minutes=1)
    wall.clock.listen(connected=False)
    assert wall.clock.listening_since() > timer.listening_since, "an absence that goes on has no end yet"


def test_a_clock_that_was_set_begins_all_leases_anew(stage: Stage, hang: Hang):
    """Nobody knows how long a worker was silent: that we listened before does not count."""
    stage.online()
    store = SetStore(stage.engine)
    wall = hang(store)
    wall.clock.listen(connected=True)
    lease_runs_out(stage)
    wall.next()
    moment = store.now()
    store.ahead = timedelta(hours=1)
    timer = wall.next()
    assert isinstance(timer, LeaseTimer)
    assert timer.listening_since >= moment + store.ahead


def lease_runs_out(stage: Stage) -> None:
    """Let the lease of a worker have run out long ago."""
    if not stage.rows(t.workers):
        stage.online()
    with stage.engine.begin() as connection:
        connection.execute(update(t.workers).values(lease_due=PAST))
