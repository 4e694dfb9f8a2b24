"""Timers of task instances: a stored one is due, and only the same one, and only once."""

from datetime import timedelta

import msgspec
import pytest

from headway.protocol.messages import TaskTimer
from headway.protocol.names import BootId, WorkerName
from headway.protocol.states import EndReason
from headway.scheduler.core.rows import BootKey, Timer
from world import RUN, START, World, dag, running


@pytest.mark.parametrize("wrong", ["early", "other", "none", "dag", "run"])
def test_a_timer_must_be_stored_and_due(wrong: str):
    """An event that names another time, another DAG, or nothing that is stored is ignored."""
    world = running("a")
    timer = world.timer("a", "queued_deadline")
    event = world.due(timer)
    world.now = timer.due - timedelta(seconds=wrong == "early")
    forged = {
        "early": {},
        "other": {"due": timer.due - timedelta(seconds=1)},
        "none": {"timer": "retry"},
        "dag": {"dag_id": "other"},
        "run": {"run_id": "run-2"},
    }
    assert world.tell(msgspec.structs.replace(event, **forged[wrong])).reason == "no such timer is due"
    assert len(world.published) == 1


def test_a_timer_is_applied_once():
    """What comes of it may be a new one, which is not the same."""
    world = running("a")
    event = world.due(world.timer("a", "queued_deadline"))
    assert world.ring("a", "queued_deadline").reason == "published again"
    assert world.tell(event).reason == "no such timer is due"
    assert [one.publication for one in world.published] == [1, 2]


def leave_timer(world: World, **fields: str) -> TaskTimer:
    """Leave a timer in the database that no rule would, and return its event."""
    timer = Timer(**({"run_id": RUN, "task_id": "a", "timer": "retry", "dag_id": "etl", "due": world.now} | fields))
    world.db.timers[timer.key] = timer
    world.checked = False
    return world.due(timer)


def test_a_timer_that_means_nothing_any_more_is_dropped():
    """Such as one for a retry of a task that is queued."""
    world = running("a")
    assert world.tell(leave_timer(world)).reason == "the timer is dropped: the task is queued"
    assert world.timer("a", "retry") is None


@pytest.mark.parametrize("fields", [{"task_id": "z"}, {"run_id": "run-2"}])
def test_a_timer_of_a_task_that_is_not_there_is_ignored(fields: dict):
    """Its run was removed, or never had such a task."""
    world = running("a")
    assert world.tell(leave_timer(world, **fields)).reason == "no such task instance"


@pytest.mark.parametrize(("online", "reason"), [(True, EndReason.NO_CAPACITY), (False, EndReason.NO_WORKERS)])
def test_patience_that_is_over_fails_the_task(online: bool, reason: EndReason):  # noqa: FBT001
    """The reason says whether anybody served the queue."""
    world = World(dag("a >> b", a={"queued_timeout": 60.0, "on_queued_timeout": "fail"}))
    if online:
        world.tell(world.online())
    world.tell(world.trigger())
    decision = world.ring("a", "queued_timeout")
    assert decision.reason == "nobody took it from queue default for 60 s"
    assert decision.facts["slots"] == int(online)
    assert (world.task("a").reason, world.task("a").detail) == (reason, decision.reason)
    assert (world.attempt("a").state, world.attempt("a").reason) == ("withdrawn", reason)
    assert world.states() == {"a": "failed", "b": "upstream_failed"}
    assert world.now == START + timedelta(seconds=60)


def test_patience_that_is_over_names_a_queue_that_cannot_be_made():
    """Its message is still about to be published again: workers had nothing to do with it."""
    world = running("a", a={"queued_timeout": 60.0, "on_queued_timeout": "fail"})
    world.later(59.5)
    world.tell(world.unroutable("a"))
    world.ring("a", "queued_timeout")
    assert world.task("a").reason is EndReason.UNROUTABLE


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("missing", "lost"), ("delivery_limit", "lost"), ("unroutable", "unroutable"), ("refused", "no_workers")],
)
def test_patience_that_is_over_says_why_the_message_is_not_in_its_queue(kind: str, reason: str):
    """While it waits to be published again, workers may be as free as they like."""
    world = running("a", a={"queued_timeout": 60.0, "on_queued_timeout": "fail"})
    for number in (1, 2):
        world.tell(world.online(BootKey(WorkerName(f"w{number}"), BootId(f"w{number}-1"))))
    if kind == "missing":
        world.tell(world.missing("a"))  # the first time it is published at once
    assert world.tell(getattr(world, kind)("a")).applied
    assert world.timer("a", "republish") is not None
    world.ring("a", "queued_timeout")
    assert (world.task("a").reason, world.attempt("a").reason) == (reason, reason)


def test_patience_that_is_over_says_nothing_of_what_was_mended():
    """A message that stands in its queue again waits for a worker, and for nothing else."""
    world = running("a", a={"queued_timeout": 60.0, "on_queued_timeout": "fail"})
    world.tell(world.unroutable("a"))
    world.ring("a", "republish")
    world.ring("a", "queued_timeout")
    assert world.task("a").reason is EndReason.NO_CAPACITY


@pytest.mark.parametrize("patience", [60.0, 90_000.0])
def test_patience_begins_anew_when_the_scheduler_is_there_again(patience: float):
    """Or when somebody has set the clock: nobody could take it meanwhile. Of a day, no more than an hour."""
    world = running("a", a={"queued_timeout": patience, "on_queued_timeout": "fail"})
    timer = world.timer("a", "queued_timeout")
    world.now = timer.due + timedelta(hours=1)
    decision = world.tell(world.due(timer, listening_since=world.now - timedelta(seconds=2)))
    assert decision.reason == "its patience begins anew: we were not listening all the time"
    again = world.timer("a", "queued_timeout")
    assert again.due == world.now + timedelta(seconds=min(patience, 3600.0) - 2)
    world.now = again.due
    assert world.tell(world.due(again, listening_since=again.due - timedelta(seconds=min(patience, 3600.0)))).applied
    assert world.states() == {"a": "failed"}


def test_patience_may_go_on():
    """With on_queued_timeout="requeue" the task stays where it is while no other waits for room."""
    world = running("a", a={"queued_timeout": 60.0})
    assert world.ring("a", "queued_timeout").reason == "goes on waiting: no capacity on queue default"
    assert world.states() == {"a": "queued"}
    assert world.timer("a", "queued_timeout").due == START + timedelta(seconds=120)


@pytest.mark.usefixtures("narrow")
def test_patience_that_goes_on_lets_others_go_first():
    """While workers are busy a task goes to the end of its line, whether it was published or held; nothing is spent."""
    world = running("a, b, c", each={"queued_timeout": 60.0}, c={"queued_timeout": 90.0})
    assert list(world.states().values()) == ["queued", "scheduled", "scheduled"]
    world.ring("b", "queued_timeout")
    world.later(1)
    reason = "goes to the end of the line: no capacity on queue default"
    assert world.ring("a", "queued_timeout").reason == reason
    assert world.states() == {"a": "scheduled", "b": "scheduled", "c": "queued"}
    assert world.task("a").hold == "window"
    assert (world.attempt("a").state, world.attempt("a").reason) == ("withdrawn", "no_capacity")
    assert world.timer("a", "queued_timeout").due == world.now + timedelta(seconds=60)
    world.start("c")
    assert world.states() == {"a": "scheduled", "b": "queued", "c": "running"}
    world.start("b")
    world.start("a")
    assert (world.task("a").try_number, world.task("a").retries_used, world.task("a").infra_used) == (2, 0, 0)


@pytest.mark.usefixtures("narrow")
def test_patience_moves_nobody_where_nobody_serves():
    """It would help none of them, and leave a message behind each time."""
    world = World(dag("a, b", each={"queued_timeout": 60.0}))
    world.tell(world.trigger())
    for task in ("a", "b"):
        assert world.ring(task, "queued_timeout").reason == "goes on waiting: no workers on queue default"
    assert world.states() == {"a": "queued", "b": "scheduled"}


def test_patience_begins_anew_with_each_try():
    """A retry waits for its queue like a first try, and so does a rerun."""
    world = running("a", a={"queued_timeout": 60.0, "retries": 1, "retry_delay": 0.0})
    world.start("a")
    assert world.timer("a", "queued_timeout") is None
    world.later(1000)
    world.tell(world.finished("a", 1))
    world.ring("a", "retry")
    assert world.timer("a", "queued_timeout").due == world.now + timedelta(seconds=60)
    world.start("a")
    world.tell(world.worker_lost("a"))
    assert world.timer("a", "queued_timeout").due == world.now + timedelta(seconds=60)


@pytest.mark.usefixtures("narrow")
def test_a_held_task_loses_its_patience_too():
    """It has no attempt yet; its queue was full all the time."""
    world = running("a, b", each={"queued_timeout": 60.0, "on_queued_timeout": "fail"})
    assert world.states() == {"a": "queued", "b": "scheduled"}
    world.ring("b", "queued_timeout")
    assert (world.states()["b"], world.task("b").try_number) == ("failed", 0)
