"""Output of tasks: pieces are added by the logkeeper, read by `headway logs`, and removed by age.

No decision reads or writes any of it. A piece is stored once, by its attempt and its place in the log, and only if its
token is that of the attempt: so no worker can write what another's task is said to have written.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine, delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from headway.protocol.log_chunk import LogChunk
from headway.protocol.names import first_token

from . import tables as t
from .engine import WRITES, translated
from .reads import to

CHUNKS_READ_MAX: Final = 50
"""Pieces read at a time: a few megabytes."""

ROWS_REMOVED_MAX: Final = 1_000
"""Rows that one statement removes (P6): it must not hold up those who write."""


class AttemptId(msgspec.Struct, frozen=True, kw_only=True):
    """Which attempt; the fields are those of the tables."""

    run_id: str
    task_id: str
    map_index: int
    try_number: int


class StoredChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A stored piece of output: of which poll of its attempt, and from where on."""

    poll: int
    offset: int
    size: int
    data: str
    eof: bool


class AttemptProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an attempt is. `tail` are its last lines, once it has ended."""

    try_number: int
    polls: int
    state: str
    tail: str


def add_chunks(engine: Engine, chunks: Sequence[LogChunk], now: datetime) -> list[LogChunk]:
    """Store pieces, in one transaction; return those that no attempt with their token has written."""
    with translated(engine), engine.execution_options(**{WRITES: True}).begin() as connection:
        tokens = _tokens(connection, chunks)
        rows = [_row(chunk, now) for chunk in chunks if tokens.get(_key(chunk)) == first_token(chunk.token)]
        if rows:
            insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
            connection.execute(insert(t.log_chunks).on_conflict_do_nothing(), rows)
    return [chunk for chunk in chunks if tokens.get(_key(chunk)) != first_token(chunk.token)]


def read_chunks(engine: Engine, attempt: AttemptId, *, since: tuple[int, int]) -> list[StoredChunk]:
    """Return the next pieces of an attempt's output, at most CHUNKS_READ_MAX, from a place in what a poll wrote on."""
    c = t.log_chunks.c
    is_later = tuple_(c.poll, c.offset) >= tuple_(*since)
    statement = select(t.log_chunks).where(_of(t.log_chunks, attempt), is_later).order_by(c.poll, c.offset)
    with translated(engine), engine.connect() as connection:
        return [to(StoredChunk, row) for row in connection.execute(statement.limit(CHUNKS_READ_MAX))]


def read_progress(engine: Engine, attempt: AttemptId) -> tuple[str | None, dict[int, AttemptProgress]]:
    """Return the state of a task instance, None if there is none yet, and how far its attempts are, by number."""
    i, a = t.task_instances.c, t.attempts.c
    state = select(i.state).where(
        i.run_id == attempt.run_id, i.task_id == attempt.task_id, i.map_index == attempt.map_index
    )
    attempts = select(t.attempts).where(
        a.run_id == attempt.run_id, a.task_id == attempt.task_id, a.map_index == attempt.map_index
    )
    with translated(engine), engine.connect() as connection:
        rows = [to(AttemptProgress, row) for row in connection.execute(attempts.order_by(a.try_number))]
        return connection.execute(state).scalar(), {row.try_number: row for row in rows}


def remove_chunks(engine: Engine, *, before: datetime) -> Iterator[int]:
    """Remove what was stored before a time, slice by slice; yield the size of each, also of the last one."""
    c = t.log_chunks.c
    key = (c.run_id, c.task_id, c.map_index, c.try_number, c.poll, c.offset)
    oldest = select(*key).where(c.stored_at < before).order_by(c.stored_at).limit(ROWS_REMOVED_MAX)
    removed = ROWS_REMOVED_MAX
    while removed == ROWS_REMOVED_MAX:
        with translated(engine), engine.execution_options(**{WRITES: True}).begin() as connection:
            removed = connection.execute(delete(t.log_chunks).where(tuple_(*key).in_(oldest))).rowcount
        yield removed


def _tokens(connection: Connection, chunks: Sequence[LogChunk]) -> dict[tuple[Any, ...], str]:
    """Return the first tokens of the attempts that the pieces name: an earlier poll's piece may come late."""
    c = t.attempts.c
    key = (c.run_id, c.task_id, c.map_index, c.try_number)
    wanted = {_key(chunk) for chunk in chunks}
    rows = connection.execute(select(*key, c.token).where(tuple_(*key).in_(sorted(wanted))))
    return {tuple(row[:-1]): first_token(row.token) for row in rows}


def _key(chunk: LogChunk) -> tuple[str, str, int, int]:
    return chunk.run_id, chunk.task_id, chunk.map_index, chunk.try_number


def _row(chunk: LogChunk, now: datetime) -> dict[str, object]:
    fields: dict[str, object] = {name: getattr(chunk, name) for name in t.log_chunks.c.keys() if name != "stored_at"}  # noqa: SIM118 - a collection of columns
    return {**fields, "data": chunk.data.replace("\0", "\ufffd"), "stored_at": now}


def _of(table: Any, attempt: AttemptId) -> Any:  # noqa: ANN401 - SQLAlchemy's tables and conditions
    fields = msgspec.structs.asdict(attempt)
    return tuple_(*(table.c[name] for name in fields)) == tuple_(*fields.values())
