"""A DAG of one task, known since 10:30 of the first of January, and somebody who looks at the clock."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from headway.protocol.keywords import make_dag
from headway.protocol.names import DagId

from .dags import dag
from .world import World


def at(text: str) -> datetime:
    """Read a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def learn(world: World, keywords: dict[str, Any]) -> None:
    """Let the scheduler know a DAG of one task of which this is said."""
    said = make_dag("etl", keywords)
    value = msgspec.structs.replace(said, tasks=dag("a").tasks)
    assert world.tell(world.version(value)).applied


def known(**keywords: Any) -> World:
    """Return a world with a worker, that knows a DAG since 10:30."""
    world = World()
    world.now = at("2026-01-01 10:30")
    world.tell(world.online())
    learn(world, keywords)
    return world


def look(world: World, clock: str, *, end: bool = True) -> None:
    """Let a scheduler look at the clock, as often as there is something to do, and the runs end at once."""
    world.now = at(f"2026-01-01 {clock}")
    while is_due(world):
        world.ring_schedule()
        if end:
            finish(world)


def is_due(world: World) -> bool:
    """Say whether a clock would tell that the DAG is due."""
    row = world.db.dags[DagId("etl")]
    has_room = not row.paused and row.active_runs < row.max_active_runs
    return has_room and row.next_date is not None and row.next_date <= world.now


def finish(world: World) -> None:
    """Let every run succeed that goes on."""
    for run_id in [run.run_id for run in world.db.runs.values() if run.state == "running"]:
        world.tell(world.started("a", run_id=run_id))
        world.tell(world.finished("a", run_id=run_id))


def dates(world: World) -> str:
    """Return the logical dates of all runs, in the order of being made."""
    return " ".join(f"{run.logical_date:%H:%M}" for run in world.db.runs.values())


def end(world: World, run_id: str, *names: str, exit_code: int = 0) -> None:
    """Let tasks of a run run to their end."""
    for name in names:
        world.tell(world.started(name, run_id=run_id))
        assert world.tell(world.finished(name, exit_code, run_id=run_id)).applied
