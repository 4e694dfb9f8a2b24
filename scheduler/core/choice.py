"""Who goes on: asked at the end of a batch, upon what its decisions changed, and again until nobody is left to choose.

Only rooms that something changed in are looked at: a queue that got room or a ready task, a limit that was given back,
a line that somebody came to or left. A freed limit wakes the lines that lack it, in any partition, for its row is
shared; of them the first in order goes, and one that cannot keeps what there is of it from those behind. The choice is
made of `capacity` events (see admission.py); nothing else is changed here but turns, and what each line lacks.

The store is asked for a few rows by their index, whatever the number of those who wait.
"""

from collections.abc import Iterable
from typing import Final, Literal, Protocol

from headway.protocol.errors import Corrupt
from headway.protocol.limits import ROWS_PER_DECISION_MAX
from headway.protocol.messages import Capacity, Instance
from headway.protocol.names import DagId, QueueName, RunId
from headway.protocol.states import TaskState

from .admission import free_in_window, touched_queues
from .deltas import QueueDelta, RoomDelta
from .limits import is_line, limits_of, parts_of, pool_fault, queue_room
from .needs import Needs, missing
from .rows import Room, Run, TaskInstance, VersionKey
from .snapshot import Snapshot
from .turns import give_turns, order_of, rooms_of_turns, serve

To = Literal["queue", "window", "limits", "paused", "failed"]

READ_MAX: Final = ROWS_PER_DECISION_MAX
"""Task instances of a line that are read at a time, where there are places for more, or none will ever be."""


class Source(Protocol):
    """What the store answers while a batch chooses, as the database holds it: not as the batch has changed it."""

    def load(self, needs: Needs) -> None:
        """Fill these rows into the snapshot."""
        ...

    def waiting(self, room: Room, limit: int) -> list[TaskInstance]:
        """Return the first who wait in a room."""
        ...

    def lacking(self, rooms: Iterable[Room]) -> list[Room]:
        """Return the lines with somebody in them that lack one of these limits."""
        ...


class _Choice:
    """One look: what is left of each resource, and what was chosen."""

    def __init__(self, snapshot: Snapshot, source: Source) -> None:
        self.snapshot = snapshot
        self.source = source
        self.ready: dict[Room, list[TaskInstance]] = {}
        self._left: dict[Room, int] = {}
        self._chosen: dict[tuple[DagId, RunId, QueueName, To, str], list[Instance]] = {}

    def fill(self, wanted: Needs) -> None:
        """Load rows that are not there yet."""
        needs = missing(wanted, self.snapshot)
        if needs.any():
            self.source.load(needs)

    def left(self, room: Room) -> int:
        """Return how many places a limit or a queue's window has left."""
        if room not in self._left:
            if is_line(room):
                self._left[room] = self.snapshot.room(room).free
            else:
                queue = QueueName(room.partition("/")[2])
                delta = self.snapshot.changes.queues.get(queue, QueueDelta())
                self._left[room] = free_in_window(self.snapshot.queues[queue], delta)
        return self._left[room]

    def take(self, room: Room, places: int) -> None:
        """Take places."""
        self._left[room] = self.left(room) - places

    def close(self, room: Room) -> None:
        """Keep what is left for one who needs more than that and comes before all others."""
        self._left[room] = min(0, self.left(room))

    def first(self, room: Room, limit: int) -> list[TaskInstance]:
        """Return the first who wait in a room, those of the batch among them, all with their runs loaded."""
        decided = self.snapshot.tasks.origin
        stale = sum(row is not None and row.room == room for row in decided.values())
        stored = self.source.waiting(room, limit + stale) if limit else []
        for task in stored:
            self.snapshot.tasks.fill(task.key, task)
        ready = self.ready.get(room, []) + [task for task in stored if task.key not in decided]
        found = sorted(ready, key=order_of)[:limit]
        self.fill(Needs(runs={task.run_id for task in found}, dags={task.dag_id for task in found}))
        runs = map(self.run, found)
        self.fill(Needs(versions={VersionKey(run.dag_id, run.version) for run in runs}))
        return found

    def run(self, task: TaskInstance) -> Run:
        """Return the run of a task instance; raise Corrupt where it has none."""
        run = self.snapshot.runs.rows[task.run_id]
        if run is None:
            raise Corrupt(detail=f"task instance {task.task_id} has no run {task.run_id}")
        return run

    def is_paused(self, task: TaskInstance) -> bool:
        """Say whether nothing of its DAG may go on."""
        dag = self.snapshot.dags.rows[task.dag_id]
        return dag is not None and dag.paused

    def choose(self, task: TaskInstance, to: To, detail: str = "") -> None:
        """Let a task instance go on."""
        if to in ("queue", "window"):
            serve(self.snapshot, task)
        instance = Instance(task_id=task.task_id, map_index=task.map_index)
        self._chosen.setdefault((task.dag_id, task.run_id, task.queue, to, detail), []).append(instance)

    def events(self) -> list[Capacity]:
        """Return the choice, in slices that one decision may touch."""
        return [
            Capacity(
                dag_id=dag_id,
                run_id=run_id,
                queue=queue,
                instances=tuple(instances[start : start + ROWS_PER_DECISION_MAX]),
                to=to,
                detail=detail,
            )
            for (dag_id, run_id, queue, to, detail), instances in self._chosen.items()
            for start in range(0, len(instances), ROWS_PER_DECISION_MAX)
        ]


def choose(snapshot: Snapshot, source: Source) -> list[Capacity]:
    """Choose who goes on; to be asked again once that is decided, until it is nobody."""
    choice = _Choice(snapshot, source)
    looks, snapshot.changes.looks = snapshot.changes.looks, set()
    _seat(choice)
    queues = [queue_room(queue) for queue in touched_queues(snapshot)]
    # A queue's counters stand where they stood if one came to it and another left: who came is there all the same.
    for room in sorted({*queues, *(room for room in (*looks, *choice.ready) if room.startswith("queue/"))}):
        _choose_for_queue(choice, room)
    _choose_from_lines(choice, {room for room in looks if is_line(room)})
    for room in sorted(room for room in looks if room.startswith("paused/")):
        _choose_of_paused(choice, room)
    return choice.events()


def looks_left(snapshot: Snapshot) -> set[Room]:
    """Return the rooms that a batch leaves before it has looked at them."""
    return snapshot.changes.looks | {queue_room(queue) for queue in touched_queues(snapshot)}


def _seat(choice: _Choice) -> None:
    """Give turns to those whom the batch made ready, and sort all such by room."""
    snapshot = choice.snapshot
    ready = [task for task in snapshot.changes.tasks.values() if task.state is TaskState.SCHEDULED]
    fresh = [task for task in ready if not task.turn]
    if fresh:
        choice.fill(Needs(rooms=rooms_of_turns(fresh)))
        ready = [task for task in ready if task.turn] + give_turns(snapshot, fresh)
    for task in ready:
        choice.ready.setdefault(task.room, []).append(task)


def _choose_for_queue(choice: _Choice, room: Room) -> None:
    """Fill a queue's window."""
    queue = QueueName(room.partition("/")[2])
    choice.fill(Needs(queues={queue}, rooms={room}))
    if not choice.snapshot.queues[queue].waiting and room not in choice.ready:
        return
    for task in choice.first(room, choice.left(room)):
        if choice.is_paused(task):
            choice.choose(task, "paused")
        else:
            choice.choose(task, "queue")
            choice.take(room, 1)


def _choose_from_lines(choice: _Choice, looks: set[Room]) -> None:
    """Give the places of limits that something changed in to the first who need them."""
    if not looks:
        return
    snapshot = choice.snapshot
    limits = {part for line in looks for part in parts_of(line)}
    known = snapshot.changes.rooms.keys() & snapshot.rooms.keys()
    decided = {room for room in known if snapshot.room(room).lacks in limits}
    lines = looks | decided | set(choice.source.lacking(sorted(limits)))
    choice.fill(Needs(rooms=lines | {part for line in lines for part in parts_of(line)}))
    heads = {line: _heads(choice, line) for line in sorted(lines) if snapshot.room(line).waiting}
    stuck: set[Room] = set()
    for task in sorted((task for tasks in heads.values() for task in tasks), key=order_of):
        if task.room not in stuck and not _choose_of_line(choice, task):
            stuck.add(task.room)
    for line, tasks in heads.items():
        _note_lack(choice, line, len(tasks))


def _heads(choice: _Choice, line: Room) -> list[TaskInstance]:
    """Return as many of a line as could go at most."""
    rows = [choice.snapshot.room(part) for part in parts_of(line)]
    if any(row.slots is None for row in rows):
        return choice.first(line, READ_MAX)
    return choice.first(line, max(0, min(READ_MAX, *(row.free for row in rows))))


def _choose_of_line(choice: _Choice, task: TaskInstance) -> bool:
    """Let the first of a line go on if all its limits have places for it; say whether the next may be looked at."""
    run = choice.run(task)
    graph = choice.snapshot.graph_of(run)
    limits = limits_of(graph, run, graph.task(task.task_id))
    fault = next((fault for limit in limits if (fault := pool_fault(limit, choice.snapshot.room(limit.room)))), None)
    if fault is not None or choice.is_paused(task):
        choice.snapshot.changes.looks.add(task.room)  # there may be more behind it than were read
        choice.choose(task, "paused" if fault is None else "failed", fault or "")
        return True
    short = [limit.room for limit in limits if choice.left(limit.room) < limit.places]
    for room in short:
        choice.close(room)
    if short:
        return False
    for limit in limits:
        choice.take(limit.room, limit.places)
    window = queue_room(task.queue)
    choice.fill(Needs(queues={task.queue}))
    if choice.left(window):
        choice.take(window, 1)
        choice.choose(task, "queue")
    else:
        choice.choose(task, "window")
    return True


def _note_lack(choice: _Choice, line: Room, read: int) -> None:
    """Store which limit it is that those who stay in a line wait for, of whom so many were read."""
    lacks = next((part for part in parts_of(line) if choice.left(part) <= 0), None)
    if lacks is None and read == READ_MAX:
        choice.snapshot.changes.looks.add(line)
    elif lacks is not None and lacks != choice.snapshot.room(line).lacks:
        choice.snapshot.changes.rooms.setdefault(line, RoomDelta()).lacks = lacks


def _choose_of_paused(choice: _Choice, room: Room) -> None:
    """Let those go on whose DAG is no longer paused."""
    dag_id = DagId(room.partition("/")[2])
    choice.fill(Needs(dags={dag_id}))
    dag = choice.snapshot.dags.rows[dag_id]
    if dag is not None and not dag.paused:
        found = choice.first(room, ROWS_PER_DECISION_MAX)
        for task in found:
            choice.choose(task, "limits")
        if len(found) == ROWS_PER_DECISION_MAX:
            choice.snapshot.changes.looks.add(room)
