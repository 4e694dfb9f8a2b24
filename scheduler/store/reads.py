"""What people ask of the database: runs, DAGs, workers, queues and recorded events, as the command line shows them.

Field names are those of the published JSON shapes, to which fields may be added but from which none goes. Every
function is one short transaction that locks nothing; none is used in a decision. What `headway why` asks stands in
evidence.py.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, and_, func, select, tuple_

from headway.protocol.codec import decode_dag
from headway.protocol.dag import Dag
from headway.protocol.errors import UnknownDag, UnknownRun, UnknownTask
from headway.protocol.names import UNMAPPED, DagId, partition_label
from headway.protocol.states import AttemptState, HoldReason, TaskState, WorkerState

from ..core.admission import hold_of
from ..core.limits import hold_of_room, queue_room
from ..core.rows import QueueRow
from . import tables as t
from .engine import translated
from .load import unpack_value

S = TypeVar("S", bound=msgspec.Struct)


class DagSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A DAG and its newest version."""

    dag_id: str
    version: int
    schedule: str | None
    paused: bool
    file: str
    task_count: int
    updated_at: datetime
    digest: str
    next_date: datetime | None
    max_active_runs: int
    active_runs: int
    waiting_runs: int


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A run."""

    run_id: str
    dag_id: str
    state: str
    logical_date: datetime
    started_at: datetime | None
    finished_at: datetime | None
    created_at: datetime
    version: int
    kind: str
    hold: str | None
    data_interval_start: datetime
    data_interval_end: datetime
    deadline: datetime | None
    late: bool


class AttemptDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a task instance, and of one that polls the newest of its `polls`. `host` is known at its end."""

    try_number: int = msgspec.field(name="try")
    state: str
    worker: str | None
    queue: str
    exit_code: int | None
    signal: str | None
    reason: str | None
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    ran_seconds: float | None
    host: str | None
    detail: str
    polls: int


class TaskDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A task instance. `reason` is its hold while it is held, else why it ended, or will be tried again."""

    task_id: str
    map_index: int
    state: str
    reason: str | None
    detail: str
    since: datetime
    attempts: list[AttemptDetail]


class RunDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A run with all its task instances and attempts."""

    run_id: str
    dag_id: str
    state: str
    logical_date: datetime
    started_at: datetime | None
    finished_at: datetime | None
    version: int
    kind: str
    hold: str | None
    data_interval_start: datetime
    data_interval_end: datetime
    deadline: datetime | None
    late: bool
    params: dict[str, Any]
    tasks: list[TaskDetail]


class EventLine(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded event, with what was decided of it."""

    at: datetime
    kind: str
    task_id: str | None
    map_index: int | None
    try_number: int | None = msgspec.field(name="try")
    origin: str
    verdict: str
    reason: str
    user: str
    ref: str


class WorkerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One boot of a worker."""

    worker: str
    boot: str
    queues: list[str]
    slots: int
    running: int
    last_heartbeat: datetime
    state: str
    host: str
    pid: int
    headway_version: str
    lease_seconds: float


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an operator's event."""

    applied: bool
    reason: str


def list_dags(engine: Engine) -> list[DagSummary]:
    """Return every DAG by its id."""
    with translated(engine), engine.connect() as connection:
        rows = connection.execute(select(t.dags).order_by(t.dags.c.dag_id))
        return [_dag(row) for row in rows]


def known_dags(engine: Engine) -> dict[DagId, tuple[str, str]]:
    """Return digest and file of every DAG's newest version."""
    with translated(engine), engine.connect() as connection:
        rows = connection.execute(select(t.dags.c.dag_id, t.dags.c.digest, t.dags.c.file))
        return {dag_id: (digest, file) for dag_id, digest, file in rows}


def find_dag(engine: Engine, dag_id: str) -> tuple[DagSummary, Dag]:
    """Return a DAG and the value of its newest version; raise UnknownDag."""
    statement = select(t.dags, t.dag_values.c.value).join(t.dag_values, t.dag_values.c.digest == t.dags.c.digest)
    with translated(engine), engine.connect() as connection:
        row = connection.execute(statement.where(t.dags.c.dag_id == dag_id)).one_or_none()
    if row is None:
        raise UnknownDag(dag_id=dag_id)
    return _dag(row), decode_dag(unpack_value(row.value))


def list_runs(
    engine: Engine, *, dag_id: str | None, state: str | None, backfill_id: str | None = None, limit: int
) -> list[RunSummary]:
    """Return runs, the newest first."""
    statement = select(t.runs).order_by(t.runs.c.created_at.desc(), t.runs.c.run_id).limit(limit)
    if dag_id is not None:
        statement = statement.where(t.runs.c.dag_id == dag_id)
    if state is not None:
        statement = statement.where(t.runs.c.state == state)
    if backfill_id is not None:
        statement = statement.where(t.runs.c.backfill_id == backfill_id)
    with translated(engine), engine.connect() as connection:
        return [to_run(RunSummary, row) for row in connection.execute(statement)]


def find_run(engine: Engine, run_id: str) -> RunSummary:
    """Return a run; raise UnknownRun."""
    with translated(engine), engine.connect() as connection:
        row = connection.execute(select(t.runs).where(t.runs.c.run_id == run_id)).one_or_none()
    if row is None:
        raise UnknownRun(run_id=run_id)
    return to_run(RunSummary, row)


def find_task(engine: Engine, run_id: str, task_id: str, map_index: int = UNMAPPED) -> None:
    """Raise UnknownRun or UnknownTask unless a run has a task instance."""
    find_run(engine, run_id)
    c = t.task_instances.c
    with translated(engine), engine.connect() as connection:
        of_task = and_(c.run_id == run_id, c.task_id == task_id, c.map_index == map_index)
        found = connection.execute(select(c.task_id).where(of_task)).scalar()
    if found is None:
        index = "" if map_index == UNMAPPED else f"[{map_index}]"
        raise UnknownTask(run_id=run_id, task_id=f"{task_id}{index}")


def show_run(engine: Engine, run_id: str) -> RunDetail:
    """Return a run with its tasks in the DAG's order and their attempts, all as of one moment; raise UnknownRun."""
    c = t.task_instances.c
    with translated(engine), one_moment(engine) as connection:
        run = connection.execute(select(t.runs).where(t.runs.c.run_id == run_id)).one_or_none()
        if run is None:
            raise UnknownRun(run_id=run_id)
        tasks = connection.execute(select(t.task_instances).where(c.run_id == run_id).order_by(c.position, c.map_index))
        attempts = attempts_of(connection, t.attempts.c.run_id == run_id)
        holds = _holds(connection)
        details = [_task(row, attempts.get((row.task_id, row.map_index), []), holds) for row in tasks]
    return to_run(RunDetail, run, tasks=details)


def attempts_of(connection: Connection, condition: ColumnElement[bool]) -> dict[tuple[str, int], list[AttemptDetail]]:
    """Return attempts by task and map index, the first one first."""
    found: dict[tuple[str, int], list[AttemptDetail]] = {}
    for row in connection.execute(select(t.attempts).where(condition).order_by(t.attempts.c.try_number)):
        found.setdefault((row.task_id, row.map_index), []).append(to(AttemptDetail, row))
    return found


def list_events(engine: Engine, run_id: str) -> list[EventLine]:
    """Return the recorded events of a run, in the order of deciding; raise UnknownRun."""
    find_run(engine, run_id)
    c = t.events.c
    statement = select(t.events, c.user_id.label("user")).where(c.run_id == run_id).order_by(c.seq)
    with translated(engine), engine.connect() as connection:
        rows = connection.execute(statement)
        return [to(EventLine, row, ref=f"{partition_label(row.partition)}/{row.seq}") for row in rows]


def list_workers(engine: Engine, *, everything: bool = False) -> list[WorkerLine]:
    """Return the newest boot of each worker and all that are not ended, or with `everything` every boot."""
    w, a = t.workers.c, t.attempts.c
    held = select(func.count()).where(a.worker == w.worker, a.boot == w.boot, a.state == AttemptState.RUNNING)
    newest = select(w.worker, func.max(w.online_at)).group_by(w.worker)
    statement = select(t.workers, held.scalar_subquery().label("running")).order_by(w.worker, w.online_at)
    if not everything:
        statement = statement.where((w.state != WorkerState.ENDED) | tuple_(w.worker, w.online_at).in_(newest))
    with translated(engine), engine.connect() as connection:
        return [to(WorkerLine, row) for row in connection.execute(statement)]


def find_verdict(engine: Engine, message_id: str) -> Verdict | None:
    """Return what became of an operator's event, or None while it is not decided."""
    c = t.events.c
    statement = select(c.verdict, c.reason).where(c.message_id == message_id, c.origin == "operator")
    with translated(engine), engine.connect() as connection:
        row = connection.execute(statement).one_or_none()
    return None if row is None else Verdict(applied=row.verdict == "applied", reason=row.reason)


def count_tasks(engine: Engine, run_id: str) -> dict[str, int]:
    """Return how many task instances of a run are in each state, without states that none is in."""
    c = t.task_instances.c
    statement = select(c.state, func.count().label("tasks")).where(c.run_id == run_id).group_by(c.state)
    with translated(engine), engine.connect() as connection:
        counts = {row.state: row.tasks for row in connection.execute(statement)}
    return {state: counts[state] for state in TaskState if state in counts}


def one_moment(engine: Engine) -> Connection:
    """Open a connection whose statements all see the same state of the database."""
    connection = engine.connect()
    if engine.dialect.name == "postgresql":
        return connection.execution_options(isolation_level="REPEATABLE READ")
    return connection  # each transaction of SQLite is one


def _holds(connection: Connection) -> dict[str, HoldReason]:
    """Return what holds those back who wait, by room, now."""
    now, c = datetime.now(UTC), t.rooms.c
    rows = [to(QueueRow, row) for row in connection.execute(select(t.queues))]
    lines = connection.execute(select(c.room, c.lacks).where(c.lacks.is_not(None), c.waiting > 0))
    held = {str(queue_room(row.queue)): hold_of(row, now) for row in rows}
    return held | {line: hold_of_room(lacks) for line, lacks in lines}


def _task(row: Any, attempts: list[AttemptDetail], holds: Mapping[str, HoldReason]) -> TaskDetail:  # noqa: ANN401 - SQLAlchemy's Row
    match row.state:
        case TaskState.SCHEDULED:
            reason = holds.get(row.room, row.hold)
        case TaskState.WAITING | TaskState.QUEUED | TaskState.RUNNING | TaskState.MAPPED:
            reason = None  # what is stored says how an earlier attempt ended
        case _:
            reason = row.reason
    detail = row.detail if reason == row.reason else ""
    return TaskDetail(
        task_id=row.task_id,
        map_index=row.map_index,
        state=row.state,
        reason=reason,
        detail=detail,
        since=row.since,
        attempts=attempts,
    )


def to_run(kind: type[S], row: Any, **more: Any) -> S:  # noqa: ANN401 - SQLAlchemy's Row
    """Return a row of runs; it is late if it missed its deadline."""
    is_late = row.deadline is not None and (row.finished_at or datetime.now(UTC)) > row.deadline
    return to(kind, row, late=is_late, **more)


def _dag(row: Any) -> DagSummary:  # noqa: ANN401 - SQLAlchemy's Row
    return to(DagSummary, row, schedule=row.schedule["text"] if row.schedule else None)


def to(kind: type[S], row: Any, **more: Any) -> S:  # noqa: ANN401 - SQLAlchemy's Row
    """Return a row as the Struct whose fields are its columns."""
    fields: Sequence[str] = kind.__struct_fields__
    mapping = row._mapping  # noqa: SLF001 - the documented accessor
    return kind(**{name: mapping[name] for name in fields if name in mapping} | more)
