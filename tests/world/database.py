"""A database of dictionaries, one for each table, which takes no row that was not loaded before it was changed."""

from collections.abc import Iterable
from typing import Any, Final

from headway.protocol.dag import Dag
from headway.protocol.names import UNMAPPED, DagId, QueueName, RunId
from headway.protocol.states import AttemptState, TaskState
from headway.scheduler.core.deltas import moved, room_after
from headway.scheduler.core.graph import Graph, compile_graph
from headway.scheduler.core.loaded import Loaded
from headway.scheduler.core.needs import Needs
from headway.scheduler.core.rows import (
    Attempt,
    AttemptKey,
    BackfillRow,
    BootKey,
    DagRow,
    Output,
    QueueRow,
    Room,
    RoomRow,
    Run,
    TaskInstance,
    TaskKey,
    Timer,
    TimerKey,
    VersionKey,
    Worker,
)
from headway.scheduler.core.snapshot import Snapshot
from headway.scheduler.core.turns import order_of

TABLES: Final = (
    *("dags", "backfills", "runs", "tasks", "attempts", "timers", "workers", "outputs", "queues", "rooms", "versions"),
)


class Database:
    """Tables by key."""

    def __init__(self) -> None:
        self.dags: dict[DagId, DagRow] = {}
        self.backfills: dict[str, BackfillRow] = {}
        self.runs: dict[RunId, Run] = {}
        self.tasks: dict[TaskKey, TaskInstance] = {}
        self.attempts: dict[AttemptKey, Attempt] = {}
        self.timers: dict[TimerKey, Timer] = {}
        self.workers: dict[BootKey, Worker] = {}
        self.outputs: dict[TaskKey, Output] = {}
        self.queues: dict[QueueName, QueueRow] = {}
        self.rooms: dict[Room, RoomRow] = {}
        self.values: dict[str, Dag] = {}
        self.versions: dict[VersionKey, str] = {}
        self.messages: set[str] = set()
        self._graphs: dict[VersionKey, Graph] = {}

    def graph(self, version: VersionKey) -> Graph:
        """Return a stored version, compiled."""
        if version not in self._graphs:
            self._graphs[version] = compile_graph(self.values[self.versions[version]], version.version)
        return self._graphs[version]

    def copy(self) -> dict[str, dict[Any, Any]]:
        """Return all rows as they are."""
        return {name: dict(getattr(self, name)) for name in TABLES}

    def load(self, snapshot: Snapshot, needs: Needs) -> None:
        """Fill in everything that `needs` names; what is not there is None."""
        for name in ("dags", "backfills", "runs", "tasks", "attempts", "timers", "outputs"):
            loaded, table = getattr(snapshot, name), getattr(self, name)
            for key in getattr(needs, name):
                loaded.fill(key, table.get(key))
        self._gather(snapshot, needs)
        for version in needs.versions:
            decided = snapshot.changes.dags.get(version.dag_id)
            if decided is not None and decided.version == version.version:
                self.versions[version] = decided.digest
            snapshot.graphs[version] = self.graph(version)
        snapshot.digests.update({digest: digest in self.values for digest in needs.digests})
        snapshot.messages.update({message: message in self.messages for message in needs.messages})
        for worker in needs.workers:
            boots = {key for key in self.workers if key.worker == worker}
            for key in boots:
                snapshot.workers.fill(key, self.workers[key])
            snapshot.boots.setdefault(worker, set()).update(boots)
        for boot in needs.held:
            held = [row for row in self.attempts.values() if _is_held(row, boot)]
            for row in held:
                snapshot.attempts.fill(row.key, row)
            snapshot.held[boot] = {row.key for row in held}
        self._load_shared(snapshot, needs)

    def _gather(self, snapshot: Snapshot, needs: Needs) -> None:
        for key, output in self.outputs.items():
            if key._replace(map_index=UNMAPPED) in needs.gathered:
                snapshot.outputs.fill(key, output)
        snapshot.gathered |= needs.gathered

    def _load_shared(self, snapshot: Snapshot, needs: Needs) -> None:
        for queue in needs.queues:
            snapshot.queues.setdefault(queue, self.queues.get(queue, QueueRow(queue=queue)))
        for room in needs.rooms:
            snapshot.rooms.setdefault(room, self.rooms.get(room, RoomRow(room=room)))

    def waiting(self, room: Room, limit: int) -> list[TaskInstance]:
        """Return the first task instances that wait in a room."""
        ready = [row for row in self.tasks.values() if row.room == room and row.state is TaskState.SCHEDULED]
        return sorted(ready, key=order_of)[:limit]

    def lacking(self, rooms: Iterable[Room]) -> list[Room]:
        """Return the lines with somebody in them that lack one of these limits."""
        wanted = set(rooms)
        return [row.room for row in self.rooms.values() if row.lacks in wanted and row.waiting]

    def held_runs(self, dag_id: DagId) -> list[Run]:
        """Return the runs of a DAG that wait until fewer of its runs go on."""
        return [row for row in self.runs.values() if row.dag_id == dag_id and row.hold is not None]

    def save(self, snapshot: Snapshot) -> None:
        """Take over what a batch changed."""
        changes = snapshot.changes
        for name in ("dags", "backfills", "runs", "tasks", "attempts", "workers"):
            self._save_rows(name, getattr(changes, name), getattr(snapshot, name))
        self.outputs.update(changes.outputs)
        for key, timer in changes.timers.items():
            if timer is None:
                self.timers.pop(key, None)
            else:
                self.timers[key] = timer
        for row in changes.dags.values():
            self.versions[VersionKey(row.dag_id, row.version)] = row.digest
        for queue, delta in changes.queues.items():
            row = self.queues.get(queue, QueueRow(queue=queue))
            self.queues[queue] = moved(row, delta)
        for room, room_delta in changes.rooms.items():
            after = room_after(self.rooms.get(room, RoomRow(room=room)), room_delta)
            assert min(after.used, after.waiting) >= 0, after
            assert room_delta.used <= 0 or after.slots is None or after.free >= 0, f"{after} is overrun"
            self.rooms[room] = after
            if after.is_idle:
                del self.rooms[room]

    def _save_rows(self, name: str, changed: dict[Any, Any], loaded: Loaded[Any, Any]) -> None:
        table = getattr(self, name)
        for key, row in changed.items():
            assert loaded.origin[key] == table.get(key), f"{name} {key} was changed without being loaded"
            table[key] = row


def _is_held(row: Attempt, boot: BootKey) -> bool:
    return row.state is AttemptState.RUNNING and (row.worker, row.boot) == boot
