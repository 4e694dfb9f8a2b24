"""Backfills: which runs are made of the dates of a schedule that are over."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from headway.protocol.dag_events import BackfillStep
from headway.protocol.names import DagId, scheduled_run_id
from world import World, dag
from world.audit import audit
from world.clockwork import at, dates, end, known, learn, look

HOURLY = {"schedule": "@hourly"}


def backfilled(hours: int = 5, *, exit_code: int = 0, **fields: Any) -> World:
    """Return a world at 14:30 in which a backfill was played to its end; two runs of it go on at a time."""
    world = known(**HOURLY)
    world.now = at("2026-01-01 14:30")
    assert world.tell(world.backfill(hours, **({"max_active": 2} | fields))).applied
    play_backfill(world, exit_code)
    return world


def play_backfill(world: World, exit_code: int = 0) -> None:
    """Let the runs of the backfill end in the order of being made."""
    while going := [run.run_id for run in world.db.runs.values() if run.state == "running"]:
        end(world, going[0], "a", exit_code=exit_code)


@pytest.mark.parametrize(("reverse", "made"), [(False, "11:00 12:00 13:00 14:00"), (True, "14:00 13:00 12:00 11:00")])
def test_a_backfill_makes_the_runs_of_past_dates(reverse: bool, made: str):  # noqa: FBT001 - of the table
    """In order, as many at a time as was said; each with the interval that ends at its date."""
    world = backfilled(5, begin=at("2026-01-01 11:00"), reverse=reverse)
    (row,) = world.db.backfills.values()
    assert dates(world) == made
    assert (row.made, row.skipped, row.active, row.failed, row.finished_at) == (4, 0, 0, 0, world.now)
    for run in world.db.runs.values():
        assert (run.kind, run.state, run.run_id) == ("backfill", "success", scheduled_run_id("etl", run.logical_date))
        assert run.data_interval_start == run.logical_date - timedelta(hours=1)
        assert audit(world, run.run_id) == []


def test_a_backfill_has_no_more_runs_at_a_time_than_was_said():
    """The DAG's own limit is for others."""
    world = known(**HOURLY, max_active_runs=1)
    world.now = at("2026-01-01 14:30")
    world.tell(world.backfill(5, max_active=2))
    assert [run.state for run in world.db.runs.values()] == ["running", "running"]
    world.tell(world.trigger("r"))
    assert world.run_state("r") == "running"
    step = BackfillStep(dag_id=DagId("etl"), backfill_id="etl__backfill", cursor=at("2026-01-01 12:00"))
    assert world.tell(step).reason == "this step was done before"
    full = msgspec.structs.replace(step, cursor=at("2026-01-01 13:00"))
    assert world.tell(full).reason == "2 of its runs go on, as many as may"


REPROCESS = {
    # which dates are run again: 11:00 had succeeded, 12:00 had failed, 13:00 goes on, 14:00 is new
    "none": "14:00",
    "failed": "12:00 14:00",
    "completed": "11:00 12:00 14:00",
}


@pytest.mark.parametrize("reprocess", REPROCESS)
def test_a_date_that_has_a_run_is_left_out_unless_it_shall_not(reprocess: str):
    """What is run again has a name of its own."""
    world = known(**HOURLY)
    for clock, code in (("11:00", 0), ("12:00", 1), ("13:00", None)):
        look(world, clock, end=False)
        if code is not None:
            end(world, f"etl__2026-01-01T{clock}:00Z", "a", exit_code=code)
    world.now = at("2026-01-01 14:30")
    world.tell(world.backfill(9, begin=at("2026-01-01 11:00"), reprocess=reprocess))
    made = [run for run in world.db.runs.values() if run.kind == "backfill"]
    assert " ".join(f"{run.logical_date:%H:%M}" for run in made) == REPROCESS[reprocess]
    (row,) = world.db.backfills.values()
    assert (row.made, row.made + row.skipped) == (len(made), 4)
    play_backfill(world)
    assert world.db.backfills["etl__backfill"].finished_at is not None


def test_the_newest_run_of_a_date_says_whether_it_is_run_again():
    """It had failed, and a backfill has mended that."""
    world = known(**HOURLY)
    look(world, "11:00", end=False)
    end(world, "etl__2026-01-01T11:00:00Z", "a", exit_code=1)
    for number in (1, 2):
        world.tell(world.backfill(1, begin=at("2026-01-01 11:00"), reprocess="failed", backfill_id=f"b{number}"))
        play_backfill(world)
    assert [(row.made, row.skipped) for row in world.db.backfills.values()] == [(1, 0), (0, 1)]
    for run_id in world.db.runs:
        assert audit(world, run_id) == []


def test_a_backfill_counts_what_failed():
    """And goes on all the same."""
    (row,) = backfilled(4, exit_code=1).db.backfills.values()
    assert (row.made, row.failed, row.active) == (3, 3, 0)


def test_a_long_backfill_goes_on_by_steps(monkeypatch: pytest.MonkeyPatch):
    """Where most of its dates have runs, too."""
    monkeypatch.setattr("headway.scheduler.core.backfills.STEP_DATES_MAX", 2)
    world = backfilled(5)
    world.tell(world.backfill(10, backfill_id="again"))
    play_backfill(world)
    row = world.db.backfills["again"]
    assert (row.made, row.skipped) == (5, 4)


def test_a_run_that_came_between_is_left_out():
    """Somebody made one of this name after the backfill had asked for it; told twice, it counts once."""
    world = World(rounds_max=0, settling=False)
    world.now = at("2026-01-01 10:30")
    world.tell(world.online())
    learn(world, HOURLY)
    world.now = at("2026-01-01 12:30")
    world.tell(world.backfill(3, max_active=1))
    world.process([world.envelope(world.owed.pop(0))])
    (due,) = world.owed
    world.tell(world.trigger(due.run_id))
    world.owed.remove(due)
    assert world.tell(due).reason == f"left out: a run {due.run_id} exists already"
    assert world.tell(due).reason == "backfill etl__backfill does not wait for this run"
    world.settling = True
    world.settle()
    play_backfill(world)
    (row,) = world.db.backfills.values()
    assert (row.made, row.skipped, row.finished_at is not None) == (1, 1, True)
    for run_id in world.db.runs:
        assert audit(world, run_id) == []


def test_a_backfill_heeds_the_past():
    """Each run waits for the one before it; in reverse that cannot be."""
    world = World()
    world.now = at("2026-01-01 10:30")
    world.tell(world.online())
    past = dag("a >> b", b={"depends_on_past": True})
    world.tell(world.version(msgspec.structs.replace(past, schedule="@hourly")))
    world.tell(world.backfill(3))
    first, second = world.db.runs.values()
    assert (first.previous, second.previous) == (None, first.run_id)
    end(world, second.run_id, "a")
    assert world.states(second.run_id)["b"] == "waiting"
    end(world, first.run_id, "a", "b")
    assert world.states(second.run_id)["b"] == "queued"
    assert world.tell(world.backfill(4, backfill_id="x", reverse=True)).reason.endswith("cannot be run in reverse")


@pytest.mark.parametrize(
    ("keywords", "fields", "why"),
    [
        ({}, {}, "the schedule of DAG etl has no date in that time that is over"),
        ({"schedule": "@once"}, {}, "the schedule of DAG etl has no date in that time that is over"),
        (HOURLY, {"begin": at("2026-01-02 00:00"), "end": at("2026-01-03 00:00")}, "the schedule of DAG etl has no"),
        (HOURLY, {"end": at("2025-01-01 00:00")}, "its end is before its begin"),
        (HOURLY, {"max_active": 0}, "max_active is 0, and may be from 1 to 1000"),
        (HOURLY, {"backfill_id": "a/b"}, "backfill id 'a/b' is not a legal name"),
        (HOURLY, {"params": {"x": 1}}, "there is no parameter 'x'"),
        (HOURLY, {"dag_id": "other"}, "DAG other is not known"),
    ],
)
def test_a_backfill_that_cannot_be_is_not_begun(keywords: dict[str, Any], fields: dict[str, Any], why: str):
    """The operator reads why."""
    world = known(**keywords)
    decision = world.tell(msgspec.structs.replace(world.backfill(3), **fields))
    assert (decision.applied, world.db.backfills) == (False, {})
    assert decision.reason.startswith(why)


def test_a_backfill_is_begun_once():
    """Its id is its own."""
    world = backfilled(2)
    assert world.tell(world.backfill(2)).reason == "a backfill etl__backfill exists already"
