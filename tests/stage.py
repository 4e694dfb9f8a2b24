"""The decider on a database, and everybody else played by the test: the broker, a worker, an operator, the clock."""

import itertools
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Engine, select, text

from headway.protocol.codec import decode_task, encode
from headway.protocol.dag import Dag, Shell, Task
from headway.protocol.dag_events import DagVersion
from headway.protocol.kinds import ROLE_OF_KIND, Event
from headway.protocol.messages import Finished, Message, Online, Started, Trigger
from headway.protocol.messages import Task as TaskMessage
from headway.protocol.names import BootId, DagId, QueueName, RunId, TaskId, WorkerName
from headway.protocol.topology import NO_LIMITS, QueueLimits
from headway.scheduler.decider import Committed, Decider
from headway.scheduler.intake import Arrival, partition_of_event
from headway.scheduler.store import tables as t
from headway.scheduler.store.engine import make_engine
from headway.scheduler.store.store import Store

WORKER, BOOT = WorkerName("w1"), BootId("boot-1")
Row = dict[str, Any]


def task(name: str, *upstream: str, **keywords: Any) -> Task:
    """Return a task that waits for the others named."""
    return Task(task_id=TaskId(name), command=Shell(script="true"), upstream=upstream, **keywords)


def dag(*tasks: Task, name: str = "d", **keywords: Any) -> Dag:
    """Return a DAG of these tasks."""
    return Dag(dag_id=DagId(name), tasks=tasks, **keywords)


class Stage:
    """A decider on a database, with a worker's and an operator's part played by the test."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = make_engine(url)
        self.limits: Mapping[QueueName, QueueLimits] = NO_LIMITS
        self.pools: Mapping[str, int] = {}
        self._seq = itertools.count(1)
        self._ids = itertools.count(1)
        self.restart()

    def restart(self) -> None:
        """Begin with nothing remembered, as after a crash."""
        self.store = Store(self.engine, self.limits, pools=self.pools)
        self.decider = Decider(self.store, user="scheduler")

    def set_pools(self, **pools: int) -> None:
        """Begin anew as a scheduler whose headway.toml has these pools."""
        self.pools = pools
        self.restart()
        self.decider.look(self.store.set_pools())

    def arrival(self, event: Event, *, message_id: str | None = None) -> Arrival:
        """Return an event as the intake would hand it over."""
        return Arrival(
            event=event,
            partition=partition_of_event(event),
            message_id=message_id or f"m{next(self._ids)}",
            user_id="tester",
            origin=ROLE_OF_KIND[type(event)],
        )

    def give(self, *events: Event) -> Committed:
        """Decide events as one batch, and let the broker confirm at once what came of them."""
        committed = self.decider.process([self.arrival(event) for event in events])
        self.decider.process([], confirmed=[row.message_id for row in committed.outbox])
        return committed

    def learn(self, dag_: Dag, *, file: str = "d.py") -> Committed:
        """Store a DAG value and say so."""
        return self.give(self.version(dag_, file=file))

    def version(self, dag_: Dag, *, file: str = "d.py") -> DagVersion:
        """Store a DAG value and return what says so."""
        encoded = encode(dag_)
        digest = sha256(encoded).hexdigest()
        self.store.add_dag_value(digest, encoded)
        return DagVersion(
            dag_id=dag_.dag_id,
            digest=digest,
            file=file,
            task_count=len(dag_.tasks),
            schedule=dag_.plan,
            max_active_runs=dag_.max_active_runs,
        )

    def run(self, dag_: Dag, run_id: str = "r") -> Committed:
        """Learn a DAG and start a run of it."""
        self.learn(dag_)
        return self.give(self.trigger(run_id, dag_.dag_id))

    def trigger(self, run_id: str = "r", dag_id: str = "d", **keywords: Any) -> Trigger:
        """Return the order to start a run."""
        date = datetime(2026, 1, 2, tzinfo=UTC)
        return Trigger(dag_id=DagId(dag_id), run_id=RunId(run_id), logical_date=date, **keywords)

    def online(self, worker: str = WORKER, boot: str = BOOT, *, queues: tuple[str, ...] = ("default",)) -> Committed:
        """Let a worker boot say that it is there."""
        return self.give(self.words(worker, boot, queues=queues))

    def words(self, worker: str = WORKER, boot: str = BOOT, *, queues: tuple[str, ...] = ("default",)) -> Online:
        """Return what a worker boot says when it begins."""
        return Online(
            worker=WorkerName(worker),
            boot=BootId(boot),
            seq=next(self._seq),
            host="host1",
            pid=7,
            queues=tuple(map(QueueName, queues)),
            slots=2,
            lease_seconds=300.0,
            heartbeat_seconds=5.0,
            headway_version="0.1.0",
        )

    def started(self, message: TaskMessage, worker: str = WORKER, boot: str = BOOT) -> Started:
        """Return what a worker asks when it was handed a task message."""
        return Started(**address(message), worker=WorkerName(worker), boot=BootId(boot), seq=next(self._seq))

    def finished(self, message: TaskMessage, exit_code: int = 0, **fields: Any) -> Finished:
        """Return what a worker reports of a child that ended."""
        return Finished(
            **address(message),
            worker=WORKER,
            boot=BOOT,
            seq=next(self._seq),
            exit_code=exit_code,
            host="host1",
            **fields,
        )

    def work(self, message: TaskMessage, exit_code: int = 0, **fields: Any) -> Committed:
        """Let a worker run a task to its end."""
        self.give(self.started(message))
        return self.give(self.finished(message, exit_code, **fields))

    def rows(self, table: Any, **where: Any) -> list[Row]:
        """Return rows of a table, in the order of its key."""
        statement = select(table).order_by(*table.primary_key.columns)
        for name, value in where.items():
            statement = statement.where(table.c[name] == value)
        with self.engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(statement)]  # noqa: SLF001 - documented

    def states(self, run_id: str = "r") -> dict[str, str]:
        """Return the state of each task instance of a run."""
        return {row["task_id"]: row["state"] for row in self.rows(t.task_instances, run_id=run_id)}

    def run_state(self, run_id: str = "r") -> str:
        """Return the state of a run."""
        return str(self.rows(t.runs, run_id=run_id)[0]["state"])

    def verdicts(self, kind: str) -> list[tuple[str, str]]:
        """Return verdict and reason of the recorded events of a kind."""
        return [(row["verdict"], row["reason"]) for row in self.rows(t.events, kind=kind)]

    def ring(self) -> Committed:
        """Let every timer that is due by now come as the clock would send it."""
        now = self.store.now()
        events, _ = self.store.due_timers(now, listening_since=now)
        return self.give(*events)


def plan_of(stage: Stage, statement: str, parameters: Any) -> str:
    """Return how the database goes about a statement."""
    explain = "EXPLAIN QUERY PLAN " if stage.engine.dialect.name == "sqlite" else "EXPLAIN "
    with stage.engine.connect() as connection:
        if stage.engine.dialect.name == "postgresql":  # which reads a small table whole
            connection.execute(text("SET enable_seqscan = off"))
            connection.execute(text("SET enable_bitmapscan = off"))
        return str(connection.exec_driver_sql(explain + statement, parameters).all())


def address(message: TaskMessage) -> Row:
    """Return the fields by which an attempt is addressed."""
    names = ("dag_id", "run_id", "task_id", "map_index", "try_number", "token")
    return {name: getattr(message, name) for name in names}


def tasks_in(committed: Committed) -> dict[str, TaskMessage]:
    """Return the task messages of an outbox by task id."""
    messages = [decode_task(row.body.encode()) for row in committed.outbox if row.kind == "task"]
    return {message.task_id: message for message in messages}


def orders_in(committed: Committed) -> list[str]:
    """Return the kinds of orders that leave for workers."""
    return [str(kind(one.order)) for one in committed.orders]


def kind(message: Message) -> str:
    """Return a message's kind."""
    return str(json.loads(encode(message))["kind"])
