"""What `headway why` looks at: everything stored that bears on one task instance, as of one moment."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, and_, func, literal, or_, select, text, tuple_

from headway.protocol.dag import Task
from headway.protocol.errors import UnknownRun, UnknownTask
from headway.protocol.names import UNMAPPED, QueueName
from headway.protocol.states import FINAL_TASK_STATES, AttemptState, RunState, TaskState, WorkerState

from ..core.limits import is_line
from ..core.rows import Attempt, QueueRow, RoomRow, Run, TaskInstance, VersionKey, Worker
from . import tables as t
from .bulk import encode_rows, rows_source
from .engine import translated
from .load import read_dag, to_struct
from .reads import one_moment

SHOWN_MAX: Final = 5
"""Instances without success that are named; more are counted."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """An online worker that serves the task's queue."""

    worker: str
    slots: int
    running: int


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """A task instance and what it depends on. `ahead` counts those that go before it, of who waits where it waits.

    `lacks` is the limit that keeps the first of its line waiting, if it stands in one.
    `unsent` says that the newest message of its attempt is not with the broker yet. `task` is None while the run's task
    instances are being created and this one is not there yet. `node` is the mapped task that an instance belongs to,
    `instances` counts those of a mapped task by state, and `shown` names some that are not well. `past` is the state of
    the same task in the run before, if it depends on that, or of that run while its tasks are not there yet.
    """

    run: Run
    spec: Task
    task: TaskInstance | None
    attempts: list[Attempt]
    timers: dict[str, datetime]
    upstream: dict[str, TaskState]
    queue: QueueRow
    servers: list[Server]
    ahead: int = 0
    lacks: RoomRow | None = None
    unsent: bool = False
    node: TaskInstance | None = None
    instances: dict[TaskState, int] = {}
    shown: dict[str, TaskState] = {}
    holder: Worker | None = None
    past: TaskState | RunState | None = None

    @property
    def attempt(self) -> Attempt | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None


def collect_evidence(engine: Engine, run_id: str, task_id: str, map_index: int) -> Evidence:
    """Return everything that bears on a task instance; raise UnknownRun or UnknownTask."""
    with translated(engine), one_moment(engine) as connection:
        found = connection.execute(select(t.runs).where(t.runs.c.run_id == run_id)).one_or_none()
        if found is None:
            raise UnknownRun(run_id=run_id)
        run = to_struct(Run, found)
        spec = _spec(connection, run, task_id)
        task = _task(connection, run_id, task_id, map_index)
        if spec is None or (task is None and run.state is not RunState.QUEUED):
            index = "" if map_index == UNMAPPED else f"[{map_index}]"
            raise UnknownTask(run_id=run_id, task_id=f"{task_id}{index}")
        attempts = _attempts(connection, run_id, task_id, map_index)
        return Evidence(
            run=run,
            spec=spec,
            task=task,
            attempts=attempts,
            timers=_timers(connection, run_id, task_id, map_index),
            upstream=_states(connection, run_id, spec.upstream),
            queue=_queue(connection, spec.queue),
            servers=_servers(connection, spec.queue),
            ahead=_ahead(connection, task) if task is not None and task.state is TaskState.SCHEDULED else 0,
            lacks=_lacks(connection, task) if task is not None and task.room and is_line(task.room) else None,
            unsent=bool(attempts) and _is_unsent(connection, attempts[-1]),
            node=None if map_index == UNMAPPED else _task(connection, run_id, task_id, UNMAPPED),
            instances=_count_instances(connection, task),
            shown=_show_instances(connection, task),
            holder=_holder(connection, attempts[-1]) if attempts else None,
            past=_past(connection, run, task) if spec.depends_on_past and task is not None else None,
        )


def _spec(connection: Connection, run: Run, task_id: str) -> Task | None:
    dag = read_dag(connection, VersionKey(run.dag_id, run.version))
    return next((task for task in dag.tasks if task.task_id == task_id), None) if dag is not None else None


def _task(connection: Connection, run_id: str, task_id: str, map_index: int) -> TaskInstance | None:
    c = t.task_instances.c
    condition = and_(c.run_id == run_id, c.task_id == task_id, c.map_index == map_index)
    row = connection.execute(select(t.task_instances).where(condition)).one_or_none()
    return None if row is None else to_struct(TaskInstance, row)


def _count_instances(connection: Connection, task: TaskInstance | None) -> dict[TaskState, int]:
    if task is None or task.mapped is None:
        return {}
    c = t.task_instances.c
    statement = select(c.state, func.count()).where(_of_node(task)).group_by(c.state)
    return {TaskState(state): count for state, count in connection.execute(statement)}


def _show_instances(connection: Connection, task: TaskInstance | None) -> dict[str, TaskState]:
    """Return the first instances that ended without success, and the first that is under way."""
    if task is None or task.mapped is None:
        return {}
    c = t.task_instances.c
    statement = select(c.map_index, c.state).where(_of_node(task)).order_by(c.map_index)
    unwell = connection.execute(statement.where(c.state.in_(("failed", "cancelled"))).limit(SHOWN_MAX)).all()
    is_open = connection.execute(statement.where(c.state.not_in(sorted(FINAL_TASK_STATES))).limit(1)).all()
    return {f"{task.task_id}[{index}]": TaskState(state) for index, state in (*unwell, *is_open)}


def _of_node(task: TaskInstance) -> ColumnElement[bool]:
    c = t.task_instances.c
    return and_(c.run_id == task.run_id, c.task_id == task.task_id, c.map_index != UNMAPPED)


def _attempts(connection: Connection, run_id: str, task_id: str, map_index: int) -> list[Attempt]:
    c = t.attempts.c
    condition = and_(c.run_id == run_id, c.task_id == task_id, c.map_index == map_index)
    rows = connection.execute(select(t.attempts).where(condition).order_by(c.try_number))
    return [to_struct(Attempt, row) for row in rows]


def _timers(connection: Connection, run_id: str, task_id: str, map_index: int) -> dict[str, datetime]:
    c = t.timers.c
    condition = and_(c.run_id == run_id, c.task_id == task_id, c.map_index == map_index)
    return {row.timer: row.due for row in connection.execute(select(c.timer, c.due).where(condition))}


def _states(connection: Connection, run_id: str, task_ids: Sequence[str]) -> dict[str, TaskState]:
    """Return the states of tasks, in the order given: as many as a DAG may have, by one parameter."""
    c = t.task_instances.c
    given = rows_source(connection.dialect, [c.task_id])
    of_run = and_(c.run_id == run_id, c.map_index == UNMAPPED)
    statement = select(c.task_id, c.state).join(given, given.c.task_id == c.task_id).where(of_run)
    rows = connection.execute(statement, {"given_rows": encode_rows([{"task_id": one} for one in task_ids])})
    states = {task_id: TaskState(state) for task_id, state in rows}
    return {task_id: states[task_id] for task_id in task_ids if task_id in states}


def _queue(connection: Connection, queue: str) -> QueueRow:
    row = connection.execute(select(t.queues).where(t.queues.c.queue == queue)).one_or_none()
    return QueueRow(queue=QueueName(queue)) if row is None else to_struct(QueueRow, row)


def _servers(connection: Connection, queue: str) -> list[Server]:
    w, a = t.workers.c, t.attempts.c
    held = select(func.count()).where(a.worker == w.worker, a.boot == w.boot, a.state == AttemptState.RUNNING)
    statement = select(w.worker, w.slots, w.queues, held.scalar_subquery().label("running"))
    rows = connection.execute(statement.where(w.state == WorkerState.ONLINE).order_by(w.worker))
    return [Server(worker=row.worker, slots=row.slots, running=row.running) for row in rows if queue in row.queues]


def _ahead(connection: Connection, task: TaskInstance) -> int:
    """Count who goes first: higher priority, then an earlier turn, then longer ready, then in the DAG's order."""
    c = t.task_instances.c
    order = (c.turn, c.since, c.run_id, c.position, c.map_index)
    own = tuple_(*(literal(getattr(task, column.name), column.type) for column in order))
    first = or_(c.priority > task.priority, and_(c.priority == task.priority, tuple_(*order) < own))
    statement = select(func.count()).where(c.room == task.room, text("state = 'scheduled'"), first)
    return connection.execute(statement).scalar_one()


def _past(connection: Connection, run: Run, task: TaskInstance) -> TaskState | RunState | None:
    if run.previous is None:
        return None
    before = _task(connection, run.previous, task.task_id, task.map_index)
    if before is not None:
        return before.state
    state = connection.execute(select(t.runs.c.state).where(t.runs.c.run_id == run.previous)).scalar()
    return RunState.QUEUED if state == RunState.QUEUED else None


def _lacks(connection: Connection, task: TaskInstance) -> RoomRow | None:
    """Return the limit that the task's line lacks."""
    line = select(t.rooms.c.lacks).where(t.rooms.c.room == task.room).scalar_subquery()
    row = connection.execute(select(t.rooms).where(t.rooms.c.room == line)).one_or_none()
    return None if row is None else to_struct(RoomRow, row)


def _is_unsent(connection: Connection, attempt: Attempt) -> bool:
    message_id = f"{attempt.token}.{attempt.publications}"
    return connection.execute(select(t.outbox.c.id).where(t.outbox.c.message_id == message_id)).first() is not None


def _holder(connection: Connection, attempt: Attempt) -> Worker | None:
    c = t.workers.c
    condition = and_(c.worker == attempt.worker, c.boot == attempt.boot)
    row = connection.execute(select(t.workers).where(condition)).one_or_none()
    return None if row is None else to_struct(Worker, row)
