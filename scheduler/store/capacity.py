"""What people ask of queues and pools: how much they hold, and how much more they could; as reads.py."""

from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection, Engine, func, or_, select

from headway.protocol.names import QueueName
from headway.protocol.states import AttemptState, WorkerState
from headway.protocol.topology import NO_LIMITS, QueueLimits

from ..core.admission import window_of
from ..core.limits import pool_room
from ..core.rows import QueueRow, RoomRow
from . import tables as t
from .engine import translated
from .reads import one_moment, to


class QueueLine(msgspec.Struct, frozen=True, kw_only=True):
    """A queue as the database sees it: published and not granted, held back, and what its workers could take.

    `mended` counts what was found missing there, ever. `fault` says why the broker could not make it, if it could not.
    """

    queue: str
    queued: int
    unpublished: int
    slots: int
    free_slots: int
    window: int
    mended: int
    fault: str


class PoolLine(msgspec.Struct, frozen=True, kw_only=True):
    """A pool: its slots, or None where headway.toml has it no more; how many are taken, and how many tasks wait."""

    pool: str
    slots: int | None
    used: int
    free: int
    waiting: int


def list_queues(engine: Engine, limits: Mapping[QueueName, QueueLimits] = NO_LIMITS) -> list[QueueLine]:
    """Return every queue that was ever used or served, with the database's side of it."""
    with translated(engine), one_moment(engine) as connection:
        rows = connection.execute(select(t.queues).order_by(t.queues.c.queue)).all()
        free = free_slots(connection)
    return [_queue_line(to(QueueRow, row).limited(limits), free.get(row.queue, 0)) for row in rows]


def list_pools(engine: Engine) -> list[PoolLine]:
    """Return every pool that the scheduler knows of, or that tasks still have places in or wait for."""
    c, prefix = t.rooms.c, pool_room("")
    with translated(engine), engine.connect() as connection:
        of_use = or_(c.slots.is_not(None), c.used > 0, c.waiting > 0)
        statement = select(t.rooms).where(c.room.startswith(prefix), of_use)
        rows = [to(RoomRow, row) for row in connection.execute(statement.order_by(c.room))]
    return [
        PoolLine(
            pool=row.room.removeprefix(prefix),
            slots=row.slots,
            used=row.used,
            free=max(0, row.free),
            waiting=row.waiting,
        )
        for row in rows
    ]


def free_slots(connection: Connection) -> dict[str, int]:
    """Return how many slots of online workers are free, for each queue that they serve."""
    w, a = t.workers.c, t.attempts.c
    held = select(func.count()).where(a.worker == w.worker, a.boot == w.boot, a.state == AttemptState.RUNNING)
    statement = select(w.queues, w.slots, held.scalar_subquery()).where(w.state == WorkerState.ONLINE)
    free: dict[str, int] = {}
    for queues, slots, running in connection.execute(statement):
        for queue in queues:
            free[queue] = free.get(queue, 0) + max(0, slots - running)
    return free


def _queue_line(row: QueueRow, free: int) -> QueueLine:
    return QueueLine(
        queue=row.queue,
        queued=row.queued,
        unpublished=row.waiting,
        slots=row.slots,
        free_slots=free,
        window=window_of(row),
        mended=row.mended,
        fault=row.fault,
    )
