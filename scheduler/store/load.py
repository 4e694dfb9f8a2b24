"""Rows for a snapshot, by key: one statement for each table, whatever the number of keys."""

import base64
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Column, Connection, ScalarSelect, Select, Table, and_, select, text

from headway.protocol.codec import decode_dag
from headway.protocol.dag import Dag
from headway.protocol.errors import Corrupt
from headway.protocol.names import UNMAPPED, DagId, QueueName

from ..core.graph import Graph, compile_graph
from ..core.needs import Needs
from ..core.rows import (
    Attempt,
    AttemptKey,
    BackfillRow,
    BootKey,
    DagRow,
    Output,
    QueueRow,
    Room,
    RoomRow,
    Row,
    Run,
    TaskInstance,
    TaskKey,
    Timer,
    VersionKey,
    Worker,
)
from ..core.snapshot import Snapshot
from . import tables as t
from .bulk import encode_rows, picked, rows_source

R = TypeVar("R", bound=Row)


def pack_value(encoded: bytes) -> str:
    """Return an encoded DAG value as it stands in the database."""
    return base64.b64encode(zlib.compress(encoded)).decode()


def unpack_value(stored: str) -> bytes:
    """Return the encoded DAG value that `pack_value` packed; raise Corrupt."""
    try:
        return zlib.decompress(base64.b64decode(stored))
    except (zlib.error, ValueError) as error:
        raise Corrupt(detail=f"a stored DAG value cannot be unpacked: {error}") from error


class Loader:
    """Fills snapshots. Statements are built once; `connection` is that of the batch's transaction."""

    def __init__(self, connection: Connection, statements: dict[str, Select[Any]]) -> None:
        """Read through `connection`; `statements` is a cache that outlives it."""
        self._connection = connection
        self._statements = statements

    def load(self, snapshot: Snapshot, needs: Needs) -> None:
        """Fill in everything that `needs` names; what is not there is None."""
        self._fill(snapshot.dags, needs.dags, t.dags, DagRow, ("dag_id",))
        self._fill(snapshot.backfills, needs.backfills, t.backfills, BackfillRow, ("backfill_id",))
        self._fill(snapshot.runs, needs.runs, t.runs, Run, ("run_id",))
        self._fill(snapshot.tasks, needs.tasks, t.task_instances, TaskInstance, TaskKey._fields)
        self._fill(snapshot.attempts, needs.attempts, t.attempts, Attempt, AttemptKey._fields)
        self._fill(snapshot.timers, needs.timers, t.timers, Timer, ("run_id", "task_id", "map_index", "timer"))
        self._fill(snapshot.outputs, needs.outputs, t.outputs, Output, TaskKey._fields)
        self._gather(snapshot, needs.gathered)
        for version in needs.versions:
            snapshot.graphs[version] = self._graph(snapshot, version)
        self._load_known(snapshot, needs)
        self._load_workers(snapshot, needs)
        self.load_queues(snapshot, needs.queues)
        self.load_rooms(snapshot, needs.rooms)

    def load_queues(self, snapshot: Snapshot, queues: Iterable[QueueName]) -> None:
        """Fill in the counters of queues; a queue that nobody used yet has none."""
        missing = [queue for queue in queues if queue not in snapshot.queues]
        found = {
            row.queue: row for row in self._by_key(t.queues, QueueRow, ("queue",), [(queue,) for queue in missing])
        }
        for queue in missing:
            snapshot.queues[queue] = found.get(queue, QueueRow(queue=queue)).limited(snapshot.limits)

    def load_rooms(self, snapshot: Snapshot, rooms: Iterable[Room]) -> None:
        """Fill in rooms; one that nobody waits for has no row."""
        keys = list(rooms)
        found = {row.room: row for row in self._by_key(t.rooms, RoomRow, ("room",), [(room,) for room in keys])}
        snapshot.rooms.update({room: found.get(room, RoomRow(room=room)) for room in keys})

    def waiting(self, room: Room, limit: int) -> list[TaskInstance]:
        """Return the first task instances that wait in a room, in the order of `core.turns.order_of`."""
        c = t.task_instances.c
        statement = (
            select(t.task_instances)
            .where(c.room == room, text("state = 'scheduled'"))  # as its index says
            .order_by(c.priority.desc(), c.turn, c.since, c.run_id, c.position, c.map_index)
            .limit(limit)
        )
        return [to_struct(TaskInstance, row) for row in self._connection.execute(statement)]

    def held_runs(self, dag_id: DagId, limit: int) -> list[Run]:
        """Return the next runs of a DAG that wait until fewer of its runs go on."""
        c = t.runs.c
        order = (c.created_at, c.logical_date, c.run_id)
        held = select(t.runs).where(c.dag_id == dag_id, c.hold.is_not(None)).order_by(*order).limit(limit)
        return [to_struct(Run, row) for row in self._connection.execute(held)]

    def lacking(self, rooms: Iterable[Room]) -> list[Room]:
        """Return the lines with somebody in them that lack one of these limits."""
        c = t.rooms.c
        statement = select(c.room).where(c.lacks.in_(list(rooms)), c.waiting > 0)
        return [Room(room) for room in self._connection.execute(statement).scalars()]

    def _gather(self, snapshot: Snapshot, nodes: Iterable[TaskKey]) -> None:
        """Fill in the outputs of all instances of mapped tasks; of one that wrote none there is nothing to fill in."""
        c = t.outputs.c
        for node in nodes:
            run_id, task_id, _ = node
            of_node = and_(c.run_id == run_id, c.task_id == task_id, c.map_index != UNMAPPED)
            for index, value in self._connection.execute(select(c.map_index, c.value).where(of_node)):
                output = Output(run_id=run_id, task_id=task_id, map_index=index, value=value)
                snapshot.outputs.fill(TaskKey(run_id, task_id, index), output)
            snapshot.gathered.add(node)

    def _graph(self, snapshot: Snapshot, version: VersionKey) -> Graph:
        decided = snapshot.changes.dags.get(version.dag_id)
        if decided is not None and decided.version == version.version:  # by this batch: only its value is stored yet
            dag = _read_value(self._connection, decided.digest)
        else:
            dag = read_dag(self._connection, version)
        if dag is None:
            raise Corrupt(detail=f"version {version.version} of DAG {version.dag_id} is not stored")
        return compile_graph(dag, version.version)

    def _load_known(self, snapshot: Snapshot, needs: Needs) -> None:
        for wanted, known, column in (
            (needs.digests, snapshot.digests, t.dag_values.c.digest),
            (needs.messages, snapshot.messages, t.events.c.message_id),
        ):
            if not wanted:
                continue
            statement = select(column).where(column.in_(sorted(wanted)))
            if column.table is t.events:
                statement = statement.where(t.events.c.origin == "operator")
            found = set(self._connection.execute(statement).scalars())
            known.update({key: key in found for key in wanted})

    def _load_workers(self, snapshot: Snapshot, needs: Needs) -> None:
        for row in self._by_key(t.workers, Worker, ("worker",), [(worker,) for worker in needs.workers]):
            snapshot.workers.fill(row.key, row)
            snapshot.boots.setdefault(row.worker, set()).add(row.key)
        for worker in needs.workers:
            snapshot.boots.setdefault(worker, set())
        if not needs.held:
            return
        held = self._by_key(t.attempts, Attempt, ("worker", "boot"), list(needs.held), only_running=True)
        found: dict[tuple[Any, Any], set[AttemptKey]] = {(boot.worker, boot.boot): set() for boot in needs.held}
        for attempt in held:
            snapshot.attempts.fill(attempt.key, attempt)
            found[attempt.worker, attempt.boot].add(attempt.key)
        snapshot.held.update((BootKey(*boot), keys) for boot, keys in found.items())

    def _fill(self, loaded: Any, keys: set[Any], table: Table, kind: type[R], columns: Sequence[str]) -> None:  # noqa: ANN401
        if not keys:
            return
        single = len(columns) == 1
        for row in self._by_key(table, kind, columns, [(key,) if single else key for key in keys]):
            loaded.fill(getattr(row, columns[0]) if single else row_key(row, columns), row)
        for key in keys:
            loaded.fill(key, None)

    def _by_key(
        self,
        table: Table,
        kind: type[R],
        columns: Sequence[str],
        keys: Sequence[Sequence[Any]],
        *,
        only_running: bool = False,
    ) -> list[R]:
        if not keys:
            return []
        name = f"{table.name}/{','.join(columns)}"
        statement = self._statements.get(name)
        if statement is None:
            statement = self._statements[name] = self._build(table, picked(table, *columns), only_running=only_running)
        given = encode_rows([dict(zip(columns, key, strict=True)) for key in keys])
        return [to_struct(kind, row) for row in self._connection.execute(statement, {"given_rows": given})]

    def _build(self, table: Table, columns: list[Column[Any]], *, only_running: bool) -> Select[Any]:
        given = rows_source(self._connection.dialect, columns)
        joined = and_(*(column == given.c[column.name] for column in columns))
        statement = select(table).join(given, joined)
        return statement.where(table.c.state == "running") if only_running else statement


def row_key(row: Row, columns: Sequence[str]) -> tuple[Any, ...]:
    """Return a row's key as a plain tuple, which equals the named one."""
    return tuple(getattr(row, column) for column in columns)


def to_struct(kind: type[R], row: Any) -> R:  # noqa: ANN401 - SQLAlchemy's Row
    """Return a database row as its Struct; enumerations and lists take their types."""
    return msgspec.convert(row._mapping, kind, str_keys=False)  # noqa: SLF001 - the documented accessor


def read_dag(connection: Connection, key: VersionKey) -> Dag | None:
    """Return a DAG version; None where there is none."""
    c = t.dag_versions.c
    digest = select(c.digest).where(c.dag_id == key.dag_id, c.version == key.version)
    return _read_value(connection, digest.scalar_subquery())


def _read_value(connection: Connection, digest: str | ScalarSelect[str]) -> Dag | None:
    stored = connection.execute(select(t.dag_values.c.value).where(t.dag_values.c.digest == digest)).scalar()
    return None if stored is None else decode_dag(unpack_value(stored))
