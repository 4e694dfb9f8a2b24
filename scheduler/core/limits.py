"""What a ready task instance must be allowed before it may go into its queue: pools, and the limits of DAG and task.

A *limit* is a room with so many places: `pool/db`, `run/RUN` (the DAG's max_active_tasks), `task/DAG/TASK`
(max_active), `each/RUN/TASK` (max_active_per_run). A task instance takes its places in all of its limits at once, or in
none, and keeps them from then until it is neither held for its queue's window, nor queued, nor running. Until then it
stands in the *line* of all that need the same limits: its name is theirs, with `&` between. So a line moves as one:
what it lacks is stored once, however many stand in it. What needs no limit stands in the room of its queue at once.
Who goes first in a room is said in turns.py, and who goes now in admission.py.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from headway.protocol.dag import Task
from headway.protocol.names import DagId, QueueName
from headway.protocol.states import HoldReason, TaskState

from .graph import Graph
from .rows import Room, RoomRow, Run, TaskInstance
from .snapshot import Draft

JOIN: Final = "&"
"""Between the limits of a line: no name may hold it."""

HOLD_OF_KIND: Final = {
    "run": HoldReason.DAG_LIMIT,
    "task": HoldReason.TASK_LIMIT,
    "each": HoldReason.TASK_LIMIT,
    "pool": HoldReason.POOL,
    "paused": HoldReason.PAUSED,
    "queue": HoldReason.WINDOW,
}
"""What holds a task instance that waits for a room, by the first word of the room's name."""


class Limit(msgspec.Struct, frozen=True):
    """Places that a task instance needs. `slots` is how many there are, or None where headway.toml says it."""

    room: Room
    places: int = 1
    slots: int | None = None


def pool_room(pool: str) -> Room:
    """Return the room of a pool."""
    return Room(f"pool/{pool}")


def queue_room(queue: QueueName) -> Room:
    """Return the room of what waits for a queue's window only."""
    return Room(f"queue/{queue}")


def paused_room(dag_id: DagId) -> Room:
    """Return the room of what waits for its DAG to go on."""
    return Room(f"paused/{dag_id}")


def limits_of(graph: Graph, run: Run, spec: Task) -> tuple[Limit, ...]:
    """Return the limits of a task, in the order in which they are looked at; most tasks have none."""
    found = []
    if graph.dag.max_active_tasks is not None:
        found.append(Limit(Room(f"run/{run.run_id}"), slots=graph.dag.max_active_tasks))
    if spec.max_active is not None:
        found.append(Limit(Room(f"task/{run.dag_id}/{spec.task_id}"), slots=spec.max_active))
    if spec.max_active_per_run is not None:
        found.append(Limit(Room(f"each/{run.run_id}/{spec.task_id}"), slots=spec.max_active_per_run))
    if spec.pool is not None:
        found.append(Limit(pool_room(spec.pool), places=spec.pool_slots))
    return tuple(found)


def line_of(limits: Iterable[Limit]) -> Room:
    """Return the line of what has these limits."""
    return Room(JOIN.join(limit.room for limit in limits))


def parts_of(line: Room) -> tuple[Room, ...]:
    """Return the limits that a line stands before."""
    return tuple(Room(part) for part in line.split(JOIN))


def is_line(room: Room) -> bool:
    """Say whether a room is a line before limits, or a limit."""
    return not room.startswith(("queue/", "paused/"))


def hold_of_room(room: Room) -> HoldReason:
    """Return what holds those who wait for a room."""
    return HOLD_OF_KIND[room.partition("/")[0]]


def keeps_places(task: TaskInstance) -> bool:
    """Say whether a task instance has its places: from when only its queue may keep it waiting, until it has run."""
    match task.state:
        case TaskState.QUEUED | TaskState.RUNNING:
            return True
        case TaskState.SCHEDULED:
            return task.hold is HoldReason.WINDOW
        case _:
            return False


def pool_fault(limit: Limit, row: RoomRow) -> str | None:
    """Say why a limit will never have the places that are asked for, or None."""
    pool = limit.room.partition("/")[2]
    if row.slots is None:
        return f"there is no pool {pool!r}: write [pools.{pool}] with its slots into the headway.toml of the scheduler"
    if limit.places > row.slots:
        return f"it takes {limit.places} slots of pool {pool!r}, which has {row.slots}: lower its pool_slots"
    return None


def first_room(draft: Draft, task: TaskInstance) -> Room:
    """Return where a task instance waits first; its limits learn how many places they have."""
    run = draft.run_of(task)
    graph = draft.graph(run)
    limits = limits_of(graph, run, graph.task(task.task_id))
    for limit in limits:
        if limit.slots is not None:
            draft.room(limit.room).slots = limit.slots
    return line_of(limits) if limits else queue_room(task.queue)


def count_in_rooms(draft: Draft, before: TaskInstance, after: TaskInstance) -> None:
    """Take places or give them back, and count who waits; whoever may go on because of it is looked at."""
    for room, step in ((before.room, -1), (after.room, 1)):
        if room and is_line(room):
            for part in {room, *parts_of(room)}:
                draft.room(part).waiting += step
            draft.changes.looks.add(room)
    step = keeps_places(after) - keeps_places(before)
    if step:
        run = draft.run_of(after)
        graph = draft.graph(run)
        for limit in limits_of(graph, run, graph.task(after.task_id)):
            draft.room(limit.room).used += step * limit.places
            if step < 0:
                draft.changes.looks.add(limit.room)
