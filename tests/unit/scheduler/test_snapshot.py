"""Rows as loaded, as decided in the batch, and as kept for the next one."""

import msgspec
import pytest

from headway.protocol.errors import Corrupt
from headway.protocol.names import DagId, RunId, TaskId
from headway.scheduler.core.deltas import QueueDelta
from headway.scheduler.core.loaded import Loaded
from headway.scheduler.core.rows import TaskKey, TimerKey, VersionKey
from headway.scheduler.core.snapshot import Changes, Draft, Snapshot
from world import BOOT, START, World, running

A, B = (TaskKey(RunId("run-1"), TaskId(name)) for name in "ab")


def kept(world: World) -> Snapshot:
    """Return what a world kept after its last batch."""
    return world._kept  # noqa: SLF001


def test_what_was_not_found_is_known_to_be_absent():
    """A key that nobody asked for is not the same as one without a row."""
    loaded: Loaded[str, object] = Loaded()
    assert loaded.lacks("x")
    loaded.fill("x", None)
    assert not loaded.lacks("x")
    assert loaded.rows == {"x": None}


def test_what_is_known_stands_against_what_is_loaded_later():
    """The batch has decided upon it, or cleared it, since the database was read."""
    world = running("a")
    row = world.task("a")
    loaded: Loaded[TaskKey, object] = Loaded()
    loaded.fill(A, row)
    changed = msgspec.structs.replace(row, priority=7)
    loaded.overlay({A: changed})
    loaded.fill(A, row)
    assert (loaded.rows[A], loaded.origin[A]) == (changed, row)
    loaded.overlay({A: row})
    assert loaded.origin[A] == row
    snapshot = Snapshot()
    timer = world.timer("a", "queued_deadline")
    snapshot.apply(cleared(timer.key))
    snapshot.timers.fill(timer.key, timer)
    assert snapshot.timers.rows[timer.key] is None


def cleared(key: TimerKey) -> Changes:
    """Return the change that clears a timer."""
    changes = Changes()
    changes.timers[key] = None
    return changes


def test_a_new_row_has_no_origin():
    """So it is inserted, not updated."""
    loaded: Loaded[str, object] = Loaded()
    loaded.overlay({"x": 1})
    assert loaded.origin == {"x": None}


def test_what_goes_on_is_kept_for_the_next_batch():
    """What ended is dropped, as is what was not there: another batch may make it."""
    world = running("a >> b, c")
    world.play("a", "b")
    snapshot = kept(world)
    assert {row.task_id for row in snapshot.tasks.rows.values()} == {"c"}
    assert {row.task_id for row in snapshot.attempts.rows.values()} == {"c"}
    assert (len(snapshot.runs.rows), len(snapshot.workers.rows), len(snapshot.dags.rows)) == (1, 1, 1)
    assert (snapshot.timers.rows, snapshot.outputs.rows, snapshot.held, snapshot.messages) == ({}, {}, {}, {})
    world.tell(world.started("c", try_number=1, task_id="z"))
    assert {row.task_id for row in snapshot.tasks.rows.values()} == {"c"}
    world.play("c")
    assert (snapshot.tasks.rows, snapshot.attempts.rows, snapshot.runs.rows) == ({}, {}, {})


def test_what_was_absent_may_come():
    """A DAG that was not known when somebody triggered it may be known in the next batch."""
    world = World()
    assert world.tell(world.trigger()).reason == "DAG etl is not known"
    world.tell(world.version(running("a").db.graph(VersionKey(DagId("etl"), 1)).dag))
    assert world.tell(world.trigger()).applied


def test_the_changes_of_a_batch_are_over_with_it():
    """Nothing is written twice."""
    world = running("a")
    snapshot = kept(world)
    assert not any(getattr(snapshot.changes, name) for name in Changes.__slots__)
    assert (snapshot.tasks.origin, snapshot.runs.origin) == ({}, {})


def test_what_is_kept_has_a_limit(monkeypatch: pytest.MonkeyPatch):
    """Past it nothing of that table is kept; the boots are forgotten with the workers."""
    monkeypatch.setattr("headway.scheduler.core.loaded.ROWS_KEPT_MAX", 1)
    monkeypatch.setattr("headway.scheduler.core.snapshot.GRAPHS_KEPT_MAX", 0)
    world = running("a, b")
    world.tell(world.online(BOOT._replace(worker="x")))
    snapshot = kept(world)
    assert (snapshot.tasks.rows, snapshot.workers.rows, snapshot.boots, snapshot.graphs) == ({}, {}, {}, {})
    world.play("a", "b")
    assert world.tell(world.online()).reason == "this boot is known already"
    assert world.run_state() == "success"


def test_changes_are_laid_over_each_other():
    """The later row counts, and what is added to a queue is added up."""
    world = running("a")
    first, second = Changes(), Changes()
    first.tasks[A] = world.task("a")
    second.tasks[A] = msgspec.structs.replace(world.task("a"), priority=9)
    first.queues["q"], second.queues["q"] = QueueDelta(queued=1, slots=2), QueueDelta(queued=-1, waiting=3)
    first.merge(second)
    assert first.tasks[A].priority == 9
    assert first.queues == {"q": QueueDelta(queued=0, waiting=3, slots=2)}


def drafted(snapshot: Snapshot) -> Draft:
    """Return a decision in the making."""
    world = World()
    return Draft(snapshot, world.envelope(world.trigger()), START)


def test_looking_at_what_was_not_asked_for_is_a_mistake():
    """`needs.py` must name every row that a rule looks at."""
    draft = drafted(Snapshot())
    for look in (draft.task, draft.attempt):
        with pytest.raises(KeyError):
            look(A)
    with pytest.raises(KeyError):
        draft.run(RunId("run-1"))
    with pytest.raises(KeyError):
        draft.outputs_of(A, 2)


def test_a_decision_sees_its_own_changes():
    """And leaves no trace in the snapshot until it is applied."""
    world = running("a")
    snapshot = Snapshot()
    snapshot.tasks.fill(A, world.task("a"))
    draft = drafted(snapshot)
    draft.changes.tasks[A] = msgspec.structs.replace(world.task("a"), priority=9)
    assert (draft.task(A).priority, snapshot.tasks.rows[A].priority) == (9, 1)


def test_a_task_instance_without_a_run_is_corrupt():
    """Nothing is guessed about it."""
    world = running("a")
    snapshot = Snapshot()
    snapshot.runs.fill(RunId("run-1"), None)
    with pytest.raises(Corrupt, match="task instance a has no run run-1"):
        drafted(snapshot).run_of(world.task("a"))


def test_a_fact_is_looked_at_once_and_recorded():
    """An audit reads the record and looks at nothing."""
    draft = drafted(Snapshot())
    assert draft.fact("slots", lambda: 4) == 4
    assert draft.facts == {"slots": 4}
    draft.snapshot.replayed = {"slots": 3}
    assert draft.fact("slots", lambda: 4) == 3
    assert draft.fact("boot", lambda: "online") is None


def test_a_boot_holds_what_it_was_granted_and_has_not_ended():
    """Stored, or of this batch."""
    world = running("a, b, c")
    world.start("a", "b")
    snapshot = Snapshot()
    for name in "abc":
        snapshot.attempts.fill(world.attempt(name).key, world.attempt(name))
    snapshot.held[BOOT] = {world.attempt("a").key, world.attempt("b").key}
    changes = Changes()
    changes.attempts[world.attempt("b").key] = msgspec.structs.replace(world.attempt("b"), state="success")
    granted = {"state": world.attempt("a").state, **BOOT._asdict()}
    changes.attempts[world.attempt("c").key] = msgspec.structs.replace(world.attempt("c"), **granted)
    snapshot.apply(changes)
    assert [attempt.task_id for attempt in snapshot.held_by(BOOT)] == ["a", "c"]
    assert list(snapshot.held_by(BOOT._replace(boot="w-2"))) == []
