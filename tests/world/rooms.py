"""What must hold of rooms after every batch: true counters, no limit overrun, nobody who could go on stands still."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from headway.protocol.states import HoldReason, TaskState
from headway.scheduler.core.admission import free_in_window
from headway.scheduler.core.deltas import QueueDelta
from headway.scheduler.core.limits import hold_of_room, is_line, keeps_places, limits_of, line_of, parts_of
from headway.scheduler.core.rows import Room, RoomRow, VersionKey
from headway.scheduler.core.turns import order_of

if TYPE_CHECKING:
    from headway.scheduler.core.limits import Limit
    from headway.scheduler.core.rows import TaskInstance

    from .database import Database


def check_rooms(db: Database) -> None:
    """Fail if a room says anything but what the task instances say."""
    used: Counter[Room] = Counter()
    waiting: Counter[Room] = Counter()
    for task in db.tasks.values():
        if keeps_places(task):
            used.update({limit.room: limit.places for limit in _limits(db, task)})
        if task.room and is_line(task.room):
            waiting.update({task.room, *parts_of(task.room)})
    for room in {*used, *waiting, *db.rooms}:
        row = db.rooms.get(room, RoomRow(room=room))
        assert (row.used, row.waiting) == (used[room], waiting[room]), row
    _nobody_who_could_go_on_stands_still(db)


def is_held_truly(db: Database, task: TaskInstance) -> bool:
    """Say whether what is stored about a held task instance is why it is held."""
    if not task.turn or task.hold is not hold_of_room(task.room):
        return False
    match task.hold:
        case HoldReason.WINDOW:
            return free_in_window(db.queues[task.queue], QueueDelta()) == 0
        case HoldReason.PAUSED:
            return db.dags[task.dag_id].paused
        case _:
            lacks = db.rooms[task.room].lacks
            return task.room == line_of(_limits(db, task)) and lacks in parts_of(task.room)


def _nobody_who_could_go_on_stands_still(db: Database) -> None:
    """The first of each line lacks something, or somebody before it needs more of it than there is."""
    held = [task for task in db.tasks.values() if task.state is TaskState.SCHEDULED and is_line(task.room)]
    first: dict[Room, TaskInstance] = {}
    for task in sorted(held, key=order_of):
        first.setdefault(task.room, task)
    kept: set[Room] = set()
    for task in first.values():
        short = {one.room for one in _limits(db, task) if one.room in kept or db.rooms[one.room].free < one.places}
        assert short, f"{task} could go on"
        assert db.rooms[task.room].lacks in short, f"{task} lacks {short}, and not {db.rooms[task.room].lacks}"
        kept |= short


def _limits(db: Database, task: TaskInstance) -> tuple[Limit, ...]:
    run = db.runs[task.run_id]
    graph = db.graph(VersionKey(run.dag_id, run.version))
    return limits_of(graph, run, graph.task(task.task_id))
