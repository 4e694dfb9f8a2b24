"""Rooms in a database: pools that are shared, lines that are woken, and what people are told of them."""

from typing import Any

import pytest
from sqlalchemy import event, update

from headway.protocol.errors import StaleDecision
from headway.scheduler.core.deltas import RoomDelta
from headway.scheduler.core.limits import pool_room
from headway.scheduler.core.rows import Room
from headway.scheduler.store import tables as t
from headway.scheduler.store.capacity import PoolLine, list_pools
from headway.scheduler.store.evidence import collect_evidence
from headway.scheduler.store.reads import show_run
from stage import Stage, dag, plan_of, task, tasks_in


def pool_of(stage: Stage) -> tuple[int | None, int, int]:
    """Return slots, used and waiting of the pool."""
    [line] = list_pools(stage.engine)
    return line.slots, line.used, line.waiting


def limited(name: str, *, most: int | None = None) -> Any:
    """Return a DAG of three tasks of the pool, of which so many may be active."""
    return dag(*(task(f"{name}{number}", pool="db") for number in range(3)), name=name, max_active_tasks=most)


def test_a_pool_is_kept_to_over_dags_and_restarts(stage: Stage):
    """What one DAG gives back another one takes, whoever decides it."""
    stage.set_pools(db=2)
    stage.online()
    first = tasks_in(stage.run(limited("a"), "run-a"))
    assert (list(first), pool_of(stage)) == (["a0", "a1"], (2, 2, 1))
    assert tasks_in(stage.run(limited("b", most=1), "run-b")) == {}
    stage.restart()
    assert list(tasks_in(stage.work(first["a0"]))) == ["b0"]  # whose DAG's turn it is
    stage.restart()
    assert list(tasks_in(stage.work(first["a1"]))) == ["a2"]  # since b has as many active as it may
    assert pool_of(stage) == (2, 2, 2)
    reasons = {one.task_id: one.reason for one in show_run(stage.engine, "run-b").tasks}
    assert reasons == {"b0": None, "b1": "dag_limit", "b2": "dag_limit"}


def test_pools_follow_headway_toml(stage: Stage):
    """More slots let more in at the start of a scheduler; without any, who waits fails, and who is in is left alone."""
    stage.set_pools(db=1)
    stage.run(limited("a"), "run-a")
    assert pool_of(stage) == (1, 1, 2)
    stage.set_pools(db=2)
    assert pool_of(stage) == (2, 2, 1)
    stage.set_pools()
    assert list_pools(stage.engine) == [PoolLine(pool="db", slots=None, used=2, free=0, waiting=0)]
    assert stage.states("run-a") == {"a0": "queued", "a1": "queued", "a2": "failed"}


def test_rooms_that_say_nothing_leave_no_row(stage: Stage):
    """A run that is over leaves none of its limits behind; a pool and the lanes of turns stay."""
    stage.set_pools(db=1)
    stage.online()
    messages = tasks_in(stage.run(limited("a", most=2), "run-a"))
    assert {"run/run-a", "run/run-a&pool/db"} <= {row["room"] for row in stage.rows(t.rooms)}
    while messages:
        messages = tasks_in(stage.work(*messages.values()))
    assert stage.run_state("run-a") == "success"
    assert [row["room"] for row in stage.rows(t.rooms)] == ["lane/pool/db/a", "pool/db"]


def test_no_pool_is_overrun_by_who_thinks_it_has_room(stage: Stage):
    """The row of a pool is taken by an update on condition: who decided upon something else decides again."""
    stage.set_pools(db=2)
    room = pool_room("db")

    def use(places: int) -> None:
        with stage.store.batch() as batch:
            batch.snapshot.changes.rooms[room] = RoomDelta(used=places)
            batch.save([], [])

    with pytest.raises(StaleDecision, match="rooms"):
        use(3)
    use(2)
    with stage.engine.begin() as connection:
        connection.execute(update(t.rooms).where(t.rooms.c.room == room).values(slots=1))
    use(-1)  # what is given back is taken, even if it is still too full
    assert pool_of(stage) == (1, 1, 0)


def test_evidence_says_what_a_line_lacks(stage: Stage):
    """And how many of it go first, whatever their run."""
    stage.set_pools(db=1)
    stage.run(limited("a"), "run-a")
    evidence = collect_evidence(stage.engine, "run-a", "a2", -1)
    assert evidence.lacks is not None
    assert (evidence.lacks.room, evidence.lacks.used, evidence.ahead) == ("pool/db", 1, 1)
    assert collect_evidence(stage.engine, "run-a", "a0", -1).lacks is None


def test_lines_that_lack_a_limit_are_found_by_an_index(stage: Stage):
    """However many lines there are."""
    asked: list[tuple[str, Any]] = []
    event.listen(stage.engine, "before_cursor_execute", lambda *given: asked.append((given[2], given[3])))
    with stage.store.batch() as batch:
        batch.lacking([Room("pool/db")])
    statement, parameters = next(one for one in asked if "rooms.lacks IN" in one[0])
    assert "ix_rooms_lacks" in plan_of(stage, statement, parameters)
