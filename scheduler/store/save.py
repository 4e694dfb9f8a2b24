"""What a batch decided, written in one transaction: compare-and-set, records, outbox.

Every update names the state that the decision was made upon. A row that is no longer in it was changed by somebody
else (a former owner of the partition that was frozen and came back): StaleDecision, and the whole batch is decided
again on what is true now.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Connection,
    Delete,
    Insert,
    Integer,
    Table,
    Text,
    Update,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from headway.protocol.errors import StaleDecision
from headway.protocol.names import WORKERS_PARTITION

from ..core.deltas import QueueDelta, RoomDelta
from ..core.snapshot import Changes, Snapshot, Transition
from . import tables as t
from .bulk import encode_guarded, encode_rows, picked, rows_source

Statement = Insert | Update | Delete

_KEYS: Final = {
    table.name: [column.name for column in table.primary_key.columns]
    for table in (t.dags, t.runs, t.task_instances, t.attempts, t.workers, t.timers, t.outputs)
}


_IDLE: Final = "used = 0 AND waiting = 0 AND turn = 0 AND substr(room, 1, 5) <> 'pool/'"
"""RoomRow.is_idle, for the database."""


class Guard(msgspec.Struct, frozen=True):
    """What a row was when it was decided upon; `was_try` counts for task instances."""

    was_state: str
    was_try: int


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded event: a row of `events`. `body` is the event's JSON."""

    partition: int
    seq: int
    at: datetime
    decide_version: int
    kind: str
    message_id: str
    user_id: str
    origin: str
    dag_id: str | None
    run_id: str | None
    task_id: str | None
    map_index: int | None
    try_number: int | None
    body: msgspec.Raw
    verdict: str
    reason: str
    facts: dict[str, str | int | None]
    transitions: tuple[Transition, ...]


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """A message that the transaction owes to the broker."""

    message_id: str
    exchange: str
    routing_key: str
    kind: str
    body: str


class _Write(msgspec.Struct, frozen=True, kw_only=True):
    """One statement with its rows; `expected` is how many it must hit."""

    name: str
    sql: str
    given: str
    expected: int | None


class Saver:
    """Writes what a batch changed. Statements are built once; `connection` is that of the batch's transaction."""

    def __init__(self, connection: Connection, statements: dict[str, str]) -> None:
        """Write through `connection`; `statements` is a cache of compiled SQL that outlives it."""
        self._connection = connection
        self._statements = statements
        self._writes: list[_Write] = []

    def flush(self) -> None:
        """Send everything to the database; raise StaleDecision."""
        for write, hit in zip(self._writes, self._run(), strict=True):
            if write.expected is not None and hit != write.expected:
                table = write.name.partition("/")[0]
                missed = write.expected - hit
                raise StaleDecision(detail=f"{missed} of {write.expected} rows of {table} changed meanwhile")
        self._writes.clear()

    def save(self, snapshot: Snapshot) -> None:
        """Write every changed row."""
        changes = snapshot.changes
        self._save_rows(t.runs, changes.runs, snapshot.runs.origin)
        self._save_rows(t.attempts, changes.attempts, snapshot.attempts.origin)
        self._save_rows(t.task_instances, changes.tasks, snapshot.tasks.origin)
        self._save_rows(t.workers, changes.workers, snapshot.workers.origin)
        self._upsert(t.outputs, list(changes.outputs.values()))
        self._save_timers(changes)
        self._save_dags(snapshot)
        self._upsert(t.backfills, list(changes.backfills.values()))
        self._add_to_queues(changes.queues)
        self._add_to_rooms(changes.rooms)

    def record(self, records: Sequence[Record], known: dict[int, int]) -> dict[int, int]:
        """Append to the log of events and move the partitions' sequence numbers on from the `known` ones.

        The number of the workers' partition is compared even if it does not move: whoever ends a boot records it there,
        and grants are decided upon what is known of boots.
        """
        if records:
            self._insert(t.events, records)
        moved = {WORKERS_PARTITION: known[WORKERS_PARTITION]} | {one.partition: one.seq for one in records}
        rows = [{"partition": one, "seq": seq, "was_seq": known[one]} for one, seq in sorted(moved.items())]
        self._write("partitions/update", self._move_partitions, encode_rows(rows), expected=len(rows))
        return known | moved

    def post(self, rows: Sequence[OutboxRow]) -> None:
        """Put messages into the outbox."""
        if rows:
            self._insert(t.outbox, rows, skip=("id",))

    def forget_posted(self, message_ids: Sequence[str]) -> None:
        """Remove messages that the broker has confirmed."""
        if message_ids:
            rows = [{"message_id": message_id} for message_id in message_ids]
            self._write("outbox/delete", lambda: self._delete(t.outbox, ["message_id"]), encode_rows(rows))

    def _save_rows(self, table: Table, changed: dict[Any, Any], origin: dict[Any, Any]) -> None:
        # Updates first: a task instance may have one open attempt, so the old one ends before the next is inserted.
        pairs = [(row, _guard(origin[key])) for key, row in changed.items() if origin.get(key) is not None]
        if pairs:
            name = f"{table.name}/update"
            self._write(name, lambda: self._compare_and_set(table), encode_guarded(pairs), expected=len(pairs))
        fresh = [row for key, row in changed.items() if origin.get(key) is None]
        if fresh:
            self._insert(table, fresh)

    def _save_timers(self, changes: Changes) -> None:
        gone = [key._asdict() for key, timer in changes.timers.items() if timer is None]
        if gone:
            keys = _KEYS["timers"]
            self._write("timers/delete", lambda: self._delete(t.timers, keys), encode_rows(gone))
        self._upsert(t.timers, [timer for timer in changes.timers.values() if timer is not None])

    def _save_dags(self, snapshot: Snapshot) -> None:
        rows, origin = snapshot.changes.dags, snapshot.dags.origin
        self._upsert(t.dags, list(rows.values()))
        was = {dag_id: before.version for dag_id in rows if (before := origin[dag_id]) is not None}
        self._upsert(t.dag_versions, [row for dag_id, row in rows.items() if was.get(dag_id) != row.version])

    def _add_to_queues(self, deltas: dict[Any, QueueDelta]) -> None:
        moved = {queue: delta for queue, delta in sorted(deltas.items()) if delta != QueueDelta()}
        if not moved:
            return
        rows = [{"queue": queue, **msgspec.structs.asdict(delta)} for queue, delta in moved.items()]
        self._write("queues/add", self._build_add_to_queues, encode_rows(rows))

    def _add_to_rooms(self, deltas: dict[Any, RoomDelta]) -> None:
        """Move the counters of rooms, on condition that no limit is overrun; rows that say nothing any more go."""
        moved = {room: delta for room, delta in sorted(deltas.items()) if delta != RoomDelta()}
        if not moved:
            return
        rows = [{"room": room, **msgspec.structs.asdict(delta)} for room, delta in moved.items()]
        self._write("rooms/make", self._build_make_rooms, encode_rows(rows))
        self._write("rooms/add", self._build_add_to_rooms, encode_rows(rows), expected=len(rows))
        self._write("rooms/delete", self._build_forget_rooms, encode_rows(rows))

    def _insert(self, table: Table, rows: Iterable[object], *, skip: tuple[str, ...] = ()) -> None:
        self._write(f"{table.name}/insert", lambda: self._build_insert(table, skip), encode_rows(rows))

    def _upsert(self, table: Table, rows: Sequence[object]) -> None:
        if rows:
            self._write(f"{table.name}/upsert", lambda: self._build_upsert(table), encode_rows(rows))

    def _write(self, name: str, build: Callable[[], Statement], given: str, *, expected: int | None = None) -> None:
        sql = self._statements.get(name)
        if sql is None:
            sql = self._statements[name] = str(build().compile(dialect=self._connection.dialect))
        self._writes.append(_Write(name=name, sql=sql, given=given, expected=expected))

    def _run(self) -> list[int]:
        """Run the writes and return how many rows each hit; on PostgreSQL in one round trip (psycopg's pipeline)."""
        raw = self._connection.connection.driver_connection
        if raw is None or self._connection.dialect.name != "postgresql":
            runs = [self._connection.exec_driver_sql(write.sql, (write.given,)) for write in self._writes]
            return [run.rowcount for run in runs]
        with raw.pipeline():
            cursors = [raw.cursor().execute(write.sql, {"given_rows": write.given}) for write in self._writes]
        return [cursor.rowcount for cursor in cursors]

    def _build_insert(self, table: Table, skip: tuple[str, ...]) -> Insert:
        names = [column.name for column in table.columns if column.name not in skip]
        given = rows_source(self._connection.dialect, picked(table, *names))
        return insert(table).from_select(names, select(*(given.c[name] for name in names)))

    def _build_upsert(self, table: Table) -> Insert:
        names = [column.name for column in table.columns]
        keys = [column.name for column in table.primary_key.columns]
        given = rows_source(self._connection.dialect, picked(table, *names))
        # SQLite cannot tell ON CONFLICT from a join's ON without a WHERE.
        source = select(*(given.c[name] for name in names)).where(given.c[names[0]].is_not(None))
        statement = dialect_insert(self._connection, table).from_select(names, source)
        others = {name: statement.excluded[name] for name in names if name not in keys}
        if not others:
            return statement.on_conflict_do_nothing()  # type: ignore[no-any-return]
        return statement.on_conflict_do_update(index_elements=keys, set_=others)  # type: ignore[no-any-return]

    def _build_add_to_queues(self) -> Insert:
        names = ["queue", *QueueDelta.__struct_fields__]
        given = rows_source(self._connection.dialect, picked(t.queues, *names))
        source = select(*(given.c[name] for name in names)).where(given.c.queue.is_not(None)).order_by(given.c.queue)
        statement = dialect_insert(self._connection, t.queues).from_select(names, source)
        added = {name: t.queues.c[name] + statement.excluded[name] for name in names[1:]}
        return statement.on_conflict_do_update(index_elements=["queue"], set_=added)  # type: ignore[no-any-return]

    def _build_make_rooms(self) -> Insert:
        given = rows_source(self._connection.dialect, [t.rooms.c.room])
        source = select(given.c.room).where(given.c.room.is_not(None)).order_by(given.c.room)
        statement = dialect_insert(self._connection, t.rooms).from_select(["room"], source)
        return statement.on_conflict_do_nothing()  # type: ignore[no-any-return]

    def _build_add_to_rooms(self) -> Update:
        given = rows_source(self._connection.dialect, picked(t.rooms, "room", *RoomDelta.__struct_fields__))
        c, new = t.rooms.c, given.c
        slots = func.coalesce(new.slots, c.slots)
        fits = or_(new.used <= text("0"), slots.is_(None), c.used + new.used <= slots)
        values = {name: c[name] + new[name] for name in ("used", "waiting", "turn")}
        values |= {"slots": slots, "lacks": func.coalesce(new.lacks, c.lacks)}
        return update(t.rooms).values(values).where(c.room == new.room, fits)

    def _build_forget_rooms(self) -> Delete:
        c = t.rooms.c
        given = rows_source(self._connection.dialect, [c.room])
        return delete(t.rooms).where(text(_IDLE), c.room.in_(select(given.c.room)))

    def _compare_and_set(self, table: Table) -> Update:
        keys = _KEYS[table.name]
        extra: dict[str, Any] = {"was_state": Text(), "was_try": Integer()}
        given = rows_source(self._connection.dialect, list(table.columns), extra=extra)
        conditions = [table.c[key] == given.c[key] for key in keys] + [table.c.state == given.c.was_state]
        if table is t.task_instances:
            conditions.append(table.c.try_number == given.c.was_try)
        values = {column.name: given.c[column.name] for column in table.columns if column.name not in keys}
        return update(table).values(values).where(and_(*conditions))

    def _move_partitions(self) -> Update:
        columns = picked(t.partitions, "partition", "seq")
        given = rows_source(self._connection.dialect, columns, extra={"was_seq": t.partitions.c.seq.type})
        c = t.partitions.c
        return (
            update(t.partitions)
            .values(seq=given.c.seq)
            .where(c.partition == given.c.partition, c.seq == given.c.was_seq)
        )

    def _delete(self, table: Table, keys: list[str]) -> Delete:
        given = rows_source(self._connection.dialect, picked(table, *keys))
        return delete(table).where(tuple_(*picked(table, *keys)).in_(select(*(given.c[key] for key in keys))))


def dialect_insert(connection: Connection, table: Table) -> Any:  # noqa: ANN401 - one of two unrelated Insert classes
    """Return the kind of INSERT that knows ON CONFLICT."""
    kind = postgresql if connection.dialect.name == "postgresql" else sqlite
    return kind.insert(table)


def _guard(row: Any) -> Guard:  # noqa: ANN401 - a row with a state
    return Guard(row.state, getattr(row, "try_number", 0))
