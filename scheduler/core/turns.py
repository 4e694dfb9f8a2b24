"""Fair turns between DAGs: start-time fair queuing, at a constant cost for each task instance.

In a room that several DAGs share, whoever comes gets a turn: one more than the last of its own DAG there, but never
less than the turn that was served last. The lowest goes first. So the turns of a DAG that fills a room with 100,000
stand in a row, and one that comes with ten stands where the room is just being served: both are served alternately from
then on. Priority goes before turns. Nothing of a run's record depends on them: what goes first is recorded as it is
chosen.
"""

from collections.abc import Iterable

import msgspec

from headway.protocol.names import DagId

from .deltas import RoomDelta
from .limits import parts_of
from .rows import Room, TaskInstance
from .snapshot import Snapshot

Order = tuple[int, int, object, str, int, int]


def order_of(task: TaskInstance) -> Order:
    """Return what task instances of a room are sorted by; the index of the database is the same."""
    return (-task.priority, task.turn, task.since, task.run_id, task.position, task.map_index)


def scope_of(room: Room) -> Room | None:
    """Return the room in which turns are counted: the pool or queue, or None where one DAG is alone."""
    last = parts_of(room)[-1]
    return last if last.startswith(("queue/", "pool/")) else None


def rooms_of_turns(tasks: Iterable[TaskInstance]) -> set[Room]:
    """Return the rooms and lanes that must be loaded to give these their turns."""
    found: set[Room] = set()
    for task in tasks:
        scope = scope_of(task.room)
        if scope is not None:
            found |= {scope, _lane(scope, task.dag_id)}
    return found


def give_turns(snapshot: Snapshot, tasks: Iterable[TaskInstance]) -> list[TaskInstance]:
    """Give each its turn, in the order of priority and becoming ready, and return them with it."""
    given = []
    for task in sorted(tasks, key=order_of):
        scope = scope_of(task.room)
        turn = 1
        if scope is not None:
            lane = snapshot.room(_lane(scope, task.dag_id))
            turn = max(snapshot.room(scope).turn, lane.turn + 1, 1)
            _advance(snapshot, lane.room, turn - lane.turn)
        moved = msgspec.structs.replace(task, turn=turn)
        snapshot.tasks.rows[task.key] = snapshot.changes.tasks[task.key] = moved
        given.append(moved)
    return given


def serve(snapshot: Snapshot, task: TaskInstance) -> None:
    """Remember that a room has come to this turn."""
    scope = scope_of(task.room)
    if scope is not None:
        _advance(snapshot, scope, max(0, task.turn - snapshot.room(scope).turn))


def _advance(snapshot: Snapshot, room: Room, turns: int) -> None:
    if turns:
        snapshot.changes.rooms.setdefault(room, RoomDelta()).turn += turns


def _lane(scope: Room, dag_id: DagId) -> Room:
    """Return the lane of a DAG in a room: a row of its own, in which nobody waits."""
    return Room(f"lane/{scope}/{dag_id}")
