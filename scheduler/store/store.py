"""The store: one transaction for one batch, and the few things around it.

    with store.batch() as batch:          # one `now`, the numbers last recorded
        batch.load(needs)                 # into batch.snapshot, as often as needed
        batch.save(records, outbox)       # compare-and-set, all or nothing
                                          # commit; only after it anything may leave

Everything here is synchronous and belongs to one thread.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Connection,
    Engine,
    Exists,
    Text,
    and_,
    cast,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)

from headway.protocol.codec import address_of
from headway.protocol.dag_events import ScheduleTimer
from headway.protocol.errors import Corrupt
from headway.protocol.messages import LeaseTimer, Missing, RunTimer, TaskTimer
from headway.protocol.names import UNMAPPED, DagId, QueueName
from headway.protocol.states import AttemptState
from headway.protocol.topology import NO_LIMITS, QueueLimits

from ..core.limits import pool_room
from ..core.needs import Needs
from ..core.rows import Attempt, Room, Run, TaskInstance, Timer, TimerKey
from ..core.snapshot import Snapshot
from ..core.timers import NO_TASK
from . import tables as t
from .engine import WRITES, translated
from .load import Loader, pack_value, to_struct
from .save import OutboxRow, Record, Saver, dialect_insert

TimerEvent = TaskTimer | RunTimer | LeaseTimer | ScheduleTimer
"""What the clock says."""

CENSUS_MAX: Final = 2_000
"""Queued attempts that one look of the census reads: windows are smaller, and the next look finds the rest."""

TIMERS_MAX: Final = 500
"""Due timers read at once: as many as one batch of events."""

PUT_OFF: Final = timedelta(hours=1)
"""Until a timer that could not be decided is due again: an operator may have mended the cause, and until then it is in
nobody's way."""

FRESH_SECONDS: Final = 5.0
"""How long batches go on from what the last one left before one asks the database for its clock and numbers again, and
for what other schedulers heard of workers, and lets it plan anew: PostgreSQL plans a prepared statement once, and a
plan made while a table was small reads a large one whole."""


NO_POOLS: Final[Mapping[str, int]] = {}


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be read or decided, kept with the reason."""

    queue: str
    reason: str
    routing_key: str
    user_id: str
    body: str
    headers: str


class _Clock(msgspec.Struct, frozen=True):
    """The database's clock, read once and carried on by the monotonic one."""

    read: datetime
    at: float

    def now(self) -> datetime:
        """Return what the database's clock shows now, unless somebody set it meanwhile."""
        return self.read + timedelta(seconds=time.monotonic() - self.at)


class _Kept(msgspec.Struct, frozen=True):
    """What one batch leaves to the next: the clock, the numbers last recorded, and the rows as they stand."""

    clock: _Clock
    sequences: dict[int, int]
    snapshot: Snapshot

    def is_fresh(self) -> bool:
        """Say whether a batch may begin with it, without asking the database."""
        return time.monotonic() - self.clock.at < FRESH_SECONDS


class Batch:
    """One transaction: load, decide, save. `now` is the database's clock, `sequences` what was recorded last."""

    def __init__(self, connection: Connection, loader: Loader, saver: Saver, begun: _Kept) -> None:
        """Begin; made by `Store.batch`."""
        self._connection = connection
        self._loader = loader
        self._saver = saver
        self.now = begun.clock.now()
        self.sequences = begun.sequences
        self.snapshot = begun.snapshot

    def load(self, needs: Needs) -> None:
        """Fill in the rows that `needs` names."""
        self._loader.load(self.snapshot, needs)

    def waiting(self, room: Room, limit: int) -> list[TaskInstance]:
        """Return the first task instances that wait in a room."""
        return self._loader.waiting(room, limit)

    def lacking(self, rooms: Iterable[Room]) -> list[Room]:
        """Return the lines with somebody in them that lack one of these limits."""
        return self._loader.lacking(rooms)

    def held_runs(self, dag_id: DagId, limit: int) -> list[Run]:
        """Return the next runs of a DAG that wait until fewer of its runs go on."""
        return self._loader.held_runs(dag_id, limit)

    def save(self, records: Sequence[Record], outbox: Sequence[OutboxRow]) -> None:
        """Write what was decided; raise StaleDecision."""
        self._saver.save(self.snapshot)
        self.sequences = self._saver.record(records, self.sequences)
        self._saver.post(outbox)
        self._saver.flush()

    def forget_posted(self, message_ids: Sequence[str]) -> None:
        """Remove outbox rows that the broker has confirmed, with the next `save`."""
        self._saver.forget_posted(message_ids)

    def quarantine(self, messages: Sequence[Quarantined]) -> None:
        """Keep messages that cannot be decided."""
        for message in messages:
            self._connection.execute(insert(t.quarantine).values(at=self.now, **msgspec.structs.asdict(message)))

    def put_off(self, timer: TaskTimer | RunTimer) -> None:
        """Let a stored timer be due later: each time that it cannot be decided leaves a message in the quarantine."""
        c = t.timers.c
        of_run = {"task_id": NO_TASK, "map_index": UNMAPPED}
        key = {name: getattr(timer, name, of_run.get(name)) for name in TimerKey._fields}
        stored = and_(*(c[name] == value for name, value in key.items()), c.due == timer.due)
        self._connection.execute(update(t.timers).where(stored).values(due=self.now + PUT_OFF))


class Store:
    """What the scheduler keeps. Made once per process from an engine with a current schema.

    Rows that one batch wrote are kept for the next. They are true as long as nobody else recorded an event: each batch
    compares the partitions' sequence numbers with those that it was decided upon when it moves them on, and whoever
    loses begins again with nothing kept.
    """

    def __init__(
        self,
        engine: Engine,
        limits: Mapping[QueueName, QueueLimits] = NO_LIMITS,
        *,
        pools: Mapping[str, int] = NO_POOLS,
    ) -> None:
        """Use `engine`; nothing is read yet. `limits` are what decisions take for those of queues.

        `pools` are the slots of each, which `set_pools` stores.
        """
        self.limits = limits
        self._pools = pools
        self._reads = engine
        self._engine = engine.execution_options(**{WRITES: True})
        self._selects: dict[str, Any] = {}
        self._writes: dict[str, str] = {}
        self._kept: _Kept | None = None

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """Open one transaction; it is committed at the end of the block, or rolled back by any error."""
        kept, self._kept = self._kept, None
        with translated(self._engine), self._engine.begin() as connection:
            begun = kept if kept is not None and kept.is_fresh() else _begin(connection, kept, self.limits)
            loader, saver = Loader(connection, self._selects), Saver(connection, self._writes)
            batch = Batch(connection, loader, saver, begun)
            yield batch
        batch.snapshot.settle()
        self._kept = _Kept(begun.clock, batch.sequences, batch.snapshot)

    def unsent(self) -> list[OutboxRow]:
        """Return the outbox, oldest first."""
        columns = [t.outbox.c[name] for name in OutboxRow.__struct_fields__]
        with translated(self._reads), self._reads.connect() as connection:
            rows = connection.execute(select(*columns).order_by(t.outbox.c.id))
            return [msgspec.convert(row._mapping, OutboxRow) for row in rows]  # noqa: SLF001 - the documented accessor

    def queued(self) -> list[Missing]:
        """Return, for every queued attempt, the event that says its message is missing; queues' windows bound them."""
        c = t.attempts.c
        statement = select(t.attempts).where(c.state == AttemptState.QUEUED).order_by(c.queued_at)
        with translated(self._reads), self._reads.connect() as connection:
            return [_missing(to_struct(Attempt, row)) for row in connection.execute(statement)]

    def long_queued(self, age: timedelta) -> dict[QueueName, list[Missing]]:
        """Return by queue, oldest first, the events that would miss each message which the broker has had for so long.

        Not those whose message stands in the outbox or waits to be published again: the broker need not have them.
        """
        c, o = t.attempts.c, t.timers.c
        republish = exists().where(
            o.run_id == c.run_id, o.task_id == c.task_id, o.map_index == c.map_index, o.timer == "republish"
        )
        with translated(self._reads), self._reads.connect() as connection:
            old = and_(text("attempts.state = 'queued'"), c.published_at < _now(connection) - age)  # as its index says
            statement = select(t.attempts).where(old, ~republish, ~_unsent()).order_by(c.published_at).limit(CENSUS_MAX)
            found: dict[QueueName, list[Missing]] = {}
            for attempt in (to_struct(Attempt, row) for row in connection.execute(statement)):
                found.setdefault(attempt.queue, []).append(_missing(attempt))
            return found

    def note_full(self, queues: Iterable[QueueName]) -> None:
        """Note that the broker refuses messages of these queues because they are full, for whoever asks why."""
        for queue in sorted(queues):
            self._note(queue, full_at=self.now())

    def note_fault(self, queue: QueueName, fault: str) -> None:
        """Note why the broker could not make a queue."""
        self._note(queue, fault=fault)

    def forget_faults(self) -> None:
        """Forget why queues could not be made: a scheduler that starts finds out anew."""
        with translated(self._engine), self._engine.begin() as connection:
            connection.execute(update(t.queues).where(t.queues.c.fault != "").values(fault=""))

    def set_pools(self) -> list[Room]:
        """Store how many slots each pool has, and return the rooms of all pools that there ever were.

        One that is not among them any more has none: nobody is let into it, and who has places there keeps them.
        """
        c = t.rooms.c
        is_pool = c.room.startswith(pool_room(""))
        with translated(self._engine), self._engine.begin() as connection:
            connection.execute(update(t.rooms).where(is_pool).values(slots=None))
            for pool, slots in sorted(self._pools.items()):
                statement = dialect_insert(connection, t.rooms).values(room=pool_room(pool), slots=slots)
                connection.execute(statement.on_conflict_do_update(index_elements=["room"], set_={"slots": slots}))
            return [Room(room) for room in connection.execute(select(c.room).where(is_pool)).scalars()]

    def _note(self, queue: QueueName, **seen: object) -> None:
        with translated(self._engine), self._engine.begin() as connection:
            statement = dialect_insert(connection, t.queues).values(queue=queue, **seen)
            connection.execute(statement.on_conflict_do_update(index_elements=["queue"], set_=seen))

    def now(self) -> datetime:
        """Return what the database's clock shows."""
        with translated(self._reads), self._reads.connect() as connection:
            return _now(connection)

    def due_timers(
        self, now: datetime, *, listening_since: datetime, schedules: bool = True
    ) -> tuple[list[TimerEvent], datetime | None]:
        """Return timer events that are due at `now`, and when the next one will be; schedules of DAGs if wanted."""
        with translated(self._reads), self._reads.connect() as connection:
            events: list[TimerEvent] = [
                *_due_timers(connection, now, listening_since),
                *_due_leases(connection, now, listening_since),
                *(_due_schedules(connection, now) if schedules else ()),
            ]
            return events, _next_due(connection, now, schedules=schedules)

    def add_dag_value(self, digest: str, encoded: bytes) -> None:
        """Store a DAG value under its digest; it is never changed, so doing it twice is harmless."""
        with translated(self._engine), self._engine.begin() as connection:
            statement = dialect_insert(connection, t.dag_values).on_conflict_do_nothing()
            connection.execute(statement.values(digest=digest, value=pack_value(encoded)))


def _missing(attempt: Attempt) -> Missing:
    return Missing(**address_of(attempt), publication=attempt.publications)


def _begin(connection: Connection, kept: _Kept | None, limits: Mapping[QueueName, QueueLimits]) -> _Kept:
    """Lock the partitions, read the clock, and look whether what was kept is still true, but for workers."""
    now, sequences = _lock_partitions(connection)
    true = kept is not None and kept.sequences == sequences
    snapshot = kept.snapshot if kept is not None and true else Snapshot(limits)
    snapshot.forget_workers()
    return _Kept(_Clock(now, time.monotonic()), sequences, snapshot)


def _lock_partitions(connection: Connection) -> tuple[datetime, dict[int, int]]:
    c = t.partitions.c
    raw = connection.connection.driver_connection
    if connection.dialect.name == "postgresql" and raw is not None:
        statement = select(c.partition, c.seq, func.clock_timestamp()).order_by(c.partition).with_for_update()
        with raw.pipeline():  # BEGIN and both statements share a round trip
            raw.execute("DISCARD PLANS")
            cursor = raw.execute(str(statement.compile(dialect=connection.dialect)))
        rows = cursor.fetchall()
    else:
        rows = connection.execute(select(c.partition, c.seq, literal(None)).order_by(c.partition)).all()
    if not rows:
        raise Corrupt(detail="the table of partitions is empty")
    now = rows[-1][2]
    return now.astimezone(UTC) if now is not None else datetime.now(UTC), {row[0]: row[1] for row in rows}


def _now(connection: Connection) -> datetime:
    if connection.dialect.name == "postgresql":
        now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return now.astimezone(UTC)
    return datetime.now(UTC)


def _due_timers(connection: Connection, now: datetime, listening_since: datetime) -> list[TaskTimer | RunTimer]:
    """Return the timers that are due; the deadline of a message counts once the broker has it."""
    c, a = t.timers.c, t.attempts.c
    mine = and_(a.run_id == c.run_id, a.task_id == c.task_id, a.map_index == c.map_index)
    at_home = exists().where(mine, a.state == AttemptState.QUEUED, _unsent())
    due = and_(c.due <= now, or_(c.timer != "queued_deadline", ~at_home))
    statement = select(t.timers).where(due).order_by(c.due).limit(TIMERS_MAX)
    rows = [to_struct(Timer, row) for row in connection.execute(statement)]
    return [_timer_event(row, listening_since) for row in rows]


def _timer_event(row: Timer, listening_since: datetime) -> TaskTimer | RunTimer:
    fields = msgspec.structs.asdict(row)
    if row.task_id != NO_TASK:
        return TaskTimer(**fields, listening_since=listening_since)
    return RunTimer(**{name: value for name, value in fields.items() if name not in ("task_id", "map_index")})


def _unsent() -> Exists:
    """Whether the newest message of an attempt stands in the outbox."""
    c = t.attempts.c
    return exists().where(t.outbox.c.message_id == c.token + "." + cast(c.publications, Text)).correlate(t.attempts)


def _due_leases(connection: Connection, now: datetime, listening_since: datetime) -> list[LeaseTimer]:
    c = t.workers.c
    statement = select(c.worker, c.boot, c.lease_due).where(c.state == "online", c.lease_due <= now).limit(TIMERS_MAX)
    return [
        LeaseTimer(worker=worker, boot=boot, due=due, listening_since=listening_since)
        for worker, boot, due in connection.execute(statement)
    ]


def _due_schedules(connection: Connection, now: datetime) -> list[ScheduleTimer]:
    c = t.dags.c
    due = and_(text(t.MAY_BE_DUE), c.next_date <= now)
    found = connection.execute(select(c.dag_id, c.next_date).where(due).order_by(c.next_date).limit(TIMERS_MAX))
    return [ScheduleTimer(dag_id=dag_id, due=date) for dag_id, date in found]


def _next_due(connection: Connection, now: datetime, *, schedules: bool) -> datetime | None:
    timer = connection.execute(select(func.min(t.timers.c.due)).where(t.timers.c.due > now)).scalar()
    lease = connection.execute(
        select(func.min(t.workers.c.lease_due)).where(t.workers.c.state == "online", t.workers.c.lease_due > now)
    ).scalar()
    date = None
    if schedules:
        c = t.dags.c
        date = connection.execute(select(func.min(c.next_date)).where(text(t.MAY_BE_DUE), c.next_date > now)).scalar()
    return min((due for due in (timer, lease, date) if due is not None), default=None)
