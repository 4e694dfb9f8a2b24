"""The record of a run, asked what it makes of it: folded, and decided again (P1)."""

from datetime import datetime

import msgspec

from headway.protocol.codec import encode
from headway.protocol.states import TaskState
from headway.scheduler.core.graph import Graph
from headway.scheduler.core.replay import Recorded, Subject, decide_again, fold
from headway.scheduler.core.rows import VersionKey
from headway.scheduler.core.snapshot import Decision, Envelope, Transition

from .world import RUN, World


def audit(world: World, run_id: str = RUN) -> list[str]:
    """Return every difference between what is recorded of a run and what is stored."""
    records = records_of(world, run_id)
    folded, faults = fold(records)
    faults += decide_again(records, graph_of(world, run_id))
    stored = _states(world, run_id)
    differences = [f"{subject} is not as recorded" for subject in stored if folded.get(subject) != stored[subject]]
    differences += [f"{subject} is recorded and not stored" for subject in folded.keys() - stored.keys()]
    return differences + [fault.detail for fault in faults]


def records_of(world: World, run_id: str | None = RUN) -> list[Recorded]:
    """Return what is recorded of a run, or without a `run_id` of what belongs to none, in order."""
    return [
        _recorded(envelope, decision, at)
        for (envelope, decision), at in zip(world.records, world.times, strict=True)
        if decision.recorded and getattr(envelope.event, "run_id", None) == run_id
    ]


def graph_of(world: World, run_id: str = RUN) -> Graph:
    """Return the compiled version that a run stays on."""
    run = world.run(run_id)
    return world.db.graph(VersionKey(run.dag_id, run.version))


def _states(world: World, run_id: str) -> dict[Subject, str]:
    """Return the states of a run and of all that belongs to it and has moved."""
    states: dict[Subject, str] = {("run", "", 0, 0): world.run_state(run_id)}
    for task in world.db.tasks.values():
        if task.run_id == run_id and task.state is not TaskState.WAITING:
            states["task", task.task_id, task.map_index, 0] = task.state
    for row in world.db.attempts.values():
        if row.run_id == run_id:
            states["attempt", row.task_id, row.map_index, row.try_number] = row.state
    return states


def _recorded(envelope: Envelope, decision: Decision, at: datetime) -> Recorded:
    names = ("partition", "ref", "message_id", "user_id", "origin")
    said = {name: getattr(envelope, name) for name in names} | {"body": encode(envelope.event)}
    decided = {name: getattr(decision, name) for name in ("applied", "reason", "facts")}
    plain = msgspec.convert(msgspec.to_builtins(decision.transitions), tuple[Transition, ...])
    return Recorded(seq=0, at=at, transitions=plain, **said, **decided)
