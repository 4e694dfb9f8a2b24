"""Runs as a whole: versions, triggers, cancels, and the slices of long work."""

from datetime import timedelta, timezone

import msgspec
import pytest

from headway.protocol.messages import Stop
from headway.protocol.names import DagId, RunId
from world import BOOT, RUN, START, World, cut_slices, dag, running

# --- versions ---------------------------------------------------------------------------------------------------------


def test_each_value_of_a_dag_is_a_version():
    """The same value again is none, an earlier one that comes back is."""
    world = World(dag("a"))
    decisions = [world.tell(world.version(value)) for value in (dag("a"), dag("a >> b"), dag("a"))]
    assert [(one.applied, one.reason) for one in decisions] == [
        (False, "this is version 1 already"),
        (True, "version 2"),
        (True, "version 3"),
    ]


def test_a_file_that_moved_makes_no_version():
    """The row follows the file."""
    world = World(dag("a"))
    assert world.tell(world.version(dag("a"), file="new.py")).reason == "version 1"
    assert [(row.version, row.file, row.task_count) for row in world.db.dags.values()] == [(1, "new.py", 1)]


def test_a_version_without_its_value_is_ignored():
    """The value must be stored before anybody speaks of it."""
    world = World()
    event = world.version(dag("a"))
    world.db.values.clear()
    assert world.tell(event).reason == "the value is not stored under its digest"
    assert world.db.dags == {}


def test_a_run_stays_on_its_version():
    """A new version is for new runs."""
    world = running("a >> b")
    world.tell(world.version(dag("a")))
    world.tell(world.trigger("run-2"))
    world.play("a", "b")
    assert (world.run_state(), world.states()) == ("success", {"a": "success", "b": "success"})
    assert (world.run("run-1").version, world.run("run-2").version) == (1, 2)
    assert world.states("run-2") == {"a": "queued"}


# --- trigger ----------------------------------------------------------------------------------------------------------


def test_a_run_begins_in_the_batch_that_learns_its_version():
    """The graph is loaded once the version is decided."""
    world = World(dag("a"))
    world.tell_all(world.version(dag("a >> b")), world.trigger())
    assert (world.run(RUN).version, world.states()) == (2, {"a": "queued", "b": "waiting"})


def test_a_trigger_makes_the_run_and_readies_its_roots():
    """The dates are kept in UTC, whatever the operator's clock."""
    world = World(dag("a >> c", "b >> c", params={"region": "EU"}))
    event = msgspec.structs.replace(
        world.trigger(region="US"), logical_date=START.astimezone(timezone(timedelta(hours=2)))
    )
    assert world.tell(event).applied
    assert world.states() == {"a": "queued", "c": "waiting", "b": "queued"}
    run = world.run()
    assert (run.state, run.unfinished, run.started_at, run.params) == ("running", 3, world.now, {"region": "US"})
    assert run.logical_date.isoformat() == START.isoformat()


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        ({}, "a run run-1 exists already"),
        ({"dag_id": "other", "run_id": "run-2"}, "DAG other is not known"),
        ({"run_id": "run-2", "params": {"size": 1, "colour": 2}}, "there is no parameter 'colour'"),
        ({"run_id": "../run-2"}, "run id '../run-2' is not a legal name"),
    ],
)
def test_a_trigger_that_cannot_be_obeyed_makes_nothing(forged: dict, reason: str):
    """It is ignored with a reason that the operator reads."""
    world = running("a")
    decision = world.tell(msgspec.structs.replace(world.trigger(), **forged))
    assert decision.reason.startswith(reason)
    assert list(world.db.runs) == [RUN]


# --- cancel -----------------------------------------------------------------------------------------------------------


def test_a_cancelled_run_ends_all_that_does_not_run():
    """The last running task ends the run, and what it comes to is counted."""
    world = running("a >> b >> c", "d, e", e={"queued_timeout": 60.0})
    world.start("a", "d")
    assert world.tell(world.cancel(), user="ann").applied
    assert world.states() == {"a": "running", "b": "cancelled", "c": "cancelled", "d": "running", "e": "cancelled"}
    assert world.task("b").detail == "cancelled by ann"
    assert (world.attempt("e").state, world.attempt("e").reason) == ("withdrawn", "cancelled")
    assert (world.run_state(), world.tell(world.cancel()).reason) == ("running", "the run is being cancelled already")
    world.tell(world.finished("a"))
    world.tell(world.finished("d", 1))
    assert (world.states()["a"], world.states()["d"]) == ("success", "cancelled")
    assert (world.run_state(), world.run().finished_at) == ("cancelled", world.now)
    assert world.db.timers == {}


def test_a_run_of_which_nothing_runs_is_cancelled_at_once():
    """Also what rests between two tries."""
    world = running("a >> b", a={"retries": 1})
    world.play("a", exit_code=1)
    world.tell(world.cancel())
    assert (world.states(), world.run_state()) == ({"a": "cancelled", "b": "cancelled"}, "cancelled")
    assert world.tell(world.cancel()).reason == "the run ended as cancelled before"


def test_a_running_child_is_told_to_stop_until_it_has():
    """The order may be lost, so it is repeated."""
    world = running("a")
    world.start("a")
    world.tell(world.cancel("a"), user="ann")
    world.tell(world.cancel("a"), user="bob")
    assert world.ring("a", "stop").reason == "the order to stop is repeated"
    stops = [one.order for one in world.orders if isinstance(one.order, Stop)]
    assert len(stops) == 3
    assert (stops[0].boot, stops[0].token, stops[0].reason) == (BOOT.boot, world.attempt("a").token, "cancelled")
    assert world.timer("a", "stop").due == world.now + timedelta(seconds=15)
    assert world.task("a").detail == "cancelled by ann"


def test_a_cancel_is_not_taken_for_the_failure_before_it():
    """What an earlier attempt failed of is forgotten when the next one is cancelled."""
    world = running("a", a={"retries": 1})
    world.start("a")
    world.tell(world.finished("a", 1, detail="no such table"))
    world.ring("a", "retry")
    world.start("a")
    world.tell(world.cancel("a"), user="ann")
    assert world.task("a").detail == "cancelled by ann"


def test_one_cancelled_task_takes_its_downstreams_with_it():
    """The rest of the run goes on, and the run fails."""
    world = running("a >> b >> c >> d", "x")
    world.tell(world.cancel("b"))
    assert world.states() == {
        "a": "queued",
        "b": "cancelled",
        "c": "upstream_failed",
        "d": "upstream_failed",
        "x": "queued",
    }
    world.play("a", "x")
    assert (world.task("b").up_success, world.run_state()) == (1, "failed")


@pytest.mark.parametrize(
    ("name", "dag_id", "reason"),
    [
        (None, "other", "there is no run run-1 of DAG other"),
        ("z", "etl", "the run has no task z"),
        ("a", "etl", "the task ended as success before"),
    ],
)
def test_a_cancel_of_nothing_is_ignored(name: str | None, dag_id: str, reason: str):
    """There must be something left to cancel."""
    world = running("a >> b")
    world.play("a")
    assert world.tell(world.cancel(name, dag_id=dag_id)).reason == reason


def test_a_cancel_of_a_run_that_is_not_there_is_ignored():
    """Neither the run nor the task is known."""
    world = World(dag("a"))
    assert world.tell(world.cancel()).reason == "there is no run run-1 of DAG etl"
    assert world.tell(world.cancel("a")).reason == "there is no run run-1 of DAG etl"


@pytest.mark.parametrize(
    ("name", "states"), [("b", {"a": "queued", "b": "cancelled"}), (None, {"a": "cancelled", "b": "cancelled"})]
)
def test_a_run_can_be_cancelled_in_the_batch_that_makes_it(name: str | None, states: dict):
    """Nothing of it was in the database when the batch began."""
    world = World(dag("a >> b"))
    world.tell_all(world.trigger(), world.cancel(name), world.cancel("z"))
    assert world.states() == states


# --- slices -----------------------------------------------------------------------------------------------------------


def sliced(monkeypatch: pytest.MonkeyPatch, *chains: str, rows: int = 2) -> World:
    """Return a world that decides about two rows at a time and has every slice in its hand."""
    cut_slices(monkeypatch, rows)
    world = World(dag(*chains), settling=False, rounds_max=0)
    world.tell(world.online())
    world.tell(world.trigger())
    return world


def steps(world: World) -> list[tuple[str, int]]:
    """Return the slices that are owed."""
    return [(event.step, event.cursor) for event in world.owed]


def test_nothing_is_released_before_all_is_created(monkeypatch: pytest.MonkeyPatch):
    """Each slice is an event that names where it begins, and one that comes twice does nothing."""
    world = sliced(monkeypatch, "a, b, c, d, e")
    seen = []
    while world.owed:
        event = world.owed.pop()
        seen.append((event.step, event.cursor, sorted(world.states())))
        assert world.tell(event).applied
        assert world.tell(event).reason == "this slice was done before"
    assert [(step, cursor, len(names)) for step, cursor, names in seen] == [
        ("create", 2, 2),
        ("create", 4, 4),
        ("release", 0, 5),
        ("release", 2, 5),
        ("release", 4, 5),
    ]
    assert set(world.states().values()) == {"queued"}


def test_a_slice_that_comes_early_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch):
    """A cursor ahead of the stored one is as wrong as one behind it."""
    world = sliced(monkeypatch, "a, b, c, d, e")
    for step in ("create", "release", "cancel", "downstream"):
        assert world.tell(world.go_on(step, 4)).reason == "this slice was done before"
    assert world.tell(world.go_on("downstream", 0, "z")).reason == "this slice was done before"
    assert world.tell(world.go_on("downstream", 0, "a")).reason == "this slice was done before"
    assert len(world.states()) == 2


def test_a_slice_of_no_run_is_ignored():
    """As is one that names another DAG."""
    world = running("a")
    event = world.go_on("cancel", 0)
    for forged in ({"run_id": RunId("run-2")}, {"dag_id": DagId("other")}):
        assert world.tell(msgspec.structs.replace(event, **forged)).reason == "no such run"


def test_a_run_that_is_cancelled_while_it_is_made_never_begins(monkeypatch: pytest.MonkeyPatch):
    """Its tasks are made, and cancelled before any is ready."""
    world = sliced(monkeypatch, "a, b, c")
    assert world.tell(world.cancel(), user="ann").applied
    assert world.run_state() == "queued"
    world.settle()
    assert (set(world.states().values()), world.run_state(), world.published) == ({"cancelled"}, "cancelled", [])


def test_one_task_cannot_be_cancelled_while_its_run_is_made(monkeypatch: pytest.MonkeyPatch):
    """Its downstreams may not be there yet to hear of it."""
    world = sliced(monkeypatch, "a >> b >> c")
    for name in "ac":
        assert world.tell(world.cancel(name)).reason.startswith("the run's tasks are still being made")
    world.settle()
    assert world.tell(world.cancel("a")).applied
    world.settle()
    assert world.run_state() == "failed"


def test_a_cancel_goes_on_in_slices(monkeypatch: pytest.MonkeyPatch):
    """What is released or ends in between is cancelled too, or stays as it ended."""
    world = sliced(monkeypatch, "a, b, c, d, e")
    while steps(world) != [("release", 2)]:
        world.tell(world.owed.pop())
    world.start("a")
    world.tell(world.cancel())
    assert sorted(steps(world)) == [("cancel", 2), ("release", 2)]
    assert world.states() == {"a": "running", "b": "cancelled", "c": "waiting", "d": "waiting", "e": "waiting"}
    world.tell(world.finished("a", 1))
    release = next(event for event in world.owed if event.step == "release")
    world.tell(release)
    assert world.states()["c"] == "queued"
    world.settle()
    assert (set(world.states().values()), world.run_state()) == ({"cancelled"}, "cancelled")


def test_a_task_that_ended_before_its_release_stays_ended(monkeypatch: pytest.MonkeyPatch):
    """A cancelled root is not made ready."""
    world = sliced(monkeypatch, "a, b, c")
    while steps(world) != [("release", 2)]:
        world.tell(world.owed.pop())
    world.tell(world.cancel("c"))
    world.settle()
    assert world.states() == {"a": "queued", "b": "queued", "c": "cancelled"}


def test_a_success_is_told_in_slices(monkeypatch: pytest.MonkeyPatch):
    """Each downstream task hears of it once, however often its slice comes."""
    world = sliced(monkeypatch, "a >> b, c, d, e, f")
    world.settle()
    world.play("a")
    assert (steps(world), world.task("a").propagated) == ([("downstream", 2)], 2)
    for _ in range(2):
        event = world.owed[0]
        world.tell(world.owed.pop())
        world.tell(event)
    assert [world.task(name).up_success for name in "bcdef"] == [1] * 5
    assert (world.owed, world.task("a").propagated) == ([], 5)


def test_a_failure_falls_through_in_decisions_of_their_own(monkeypatch: pytest.MonkeyPatch):
    """The run ends with the last that hears of it."""
    world = sliced(monkeypatch, "a >> b, c, d >> e")
    world.settle()
    world.play("a", exit_code=1)
    assert world.states() == {"a": "failed", "b": "upstream_failed", "c": "upstream_failed"} | dict.fromkeys(
        "de", "waiting"
    )
    world.settle()
    assert (world.states()["e"], world.run_state()) == ("upstream_failed", "failed")
    counters = world.task("e")
    assert (counters.up_success, counters.up_failed, counters.up_upstream_failed) == (0, 0, 3)


def test_a_cascade_stops_where_its_run_is_cancelled(monkeypatch: pytest.MonkeyPatch):
    """A cancelled run ends all its tasks by itself."""
    world = sliced(monkeypatch, "a >> b >> c, d")
    world.settle()
    world.play("a", exit_code=1)
    assert steps(world) == [("downstream", 0)]
    world.tell(world.cancel())
    world.settle()
    assert world.states() == {"a": "failed", "b": "upstream_failed", "c": "cancelled", "d": "cancelled"}
    assert world.run_state() == "cancelled"
