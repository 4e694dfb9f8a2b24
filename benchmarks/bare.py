"""The bare loop: what the same messages and commits cost without a scheduler around them.

    python benchmarks/bare.py BROKER_URL DATABASE_URL wide|chain TASKS

Prints the seconds from the first publish to the last commit. Every event is committed with a state and a log row before
its answer leaves, in batches of what is there; every task is granted. No DAG, no counters, no outbox, no retries.
"""

import queue
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg

from headway.broker.connecting import connect
from headway.broker.port import Connected, Delivered, Delivery, Outgoing, Signal
from headway.protocol.codec import decode_event, encode
from headway.protocol.dag import Argv
from headway.protocol.kinds import Event, kind_of
from headway.protocol.messages import Finished, Grant, RunContext, Started, Task
from headway.protocol.names import DagId, QueueName, RunId, TaskId, Token, partition_of, task_key
from headway.protocol.topology import TASKS, control_queue_name, event_queue

WINDOW = 200
BATCH_MAX = 500
DAG = DagId("bare")
QUEUE = QueueName("default")
SCHEMA = """
DROP TABLE IF EXISTS bare_tasks, bare_log;
CREATE TABLE bare_tasks (token text PRIMARY KEY, state text NOT NULL);
CREATE TABLE bare_log (id bigserial PRIMARY KEY, kind text NOT NULL, body text NOT NULL);
"""


class BareLoop:
    """A loop that publishes tasks, grants what asks, and counts what finished."""

    def __init__(self, broker_url: str, database_url: str) -> None:
        """Connect to both and make two tables."""
        self._inbox: queue.SimpleQueue[Signal] = queue.SimpleQueue()
        self._database = psycopg.connect(database_url.replace("postgresql+psycopg://", "postgresql://"))
        self._database.execute(SCHEMA)
        self._database.commit()
        self._broker = connect(broker_url, name="bare loop", sink=self._inbox.put)
        self._broker.consume(event_queue(partition_of(DAG)), prefetch=1000)
        self._broker.open()
        while not isinstance(self._inbox.get(), Connected):
            pass

    def run(self, tasks: int, *, at_once: int) -> float:
        """Return the seconds that `tasks` take with at most `at_once` published and not finished."""
        began, published, finished = time.perf_counter(), 0, 0
        while finished < tasks:
            fresh = [self._task() for _ in range(min(tasks - published, at_once - (published - finished)))]
            published += len(fresh)
            self._commit([(task.token, "queued") for task in fresh], [])
            for task in fresh:
                self._publish(TASKS, task_key(QUEUE, DAG), task)
            deliveries, events = self._batch()
            self._commit([(event.token, kind_of(event)) for event in events], events)
            for event in events:
                if isinstance(event, Started):
                    self._grant(event)
            finished += sum(isinstance(event, Finished) for event in events)
            if deliveries:
                self._broker.ack_through(deliveries[-1])
        seconds = time.perf_counter() - began
        self._broker.close(timeout_seconds=5)
        return seconds

    def _batch(self) -> tuple[list[Delivery], list[Started | Finished]]:
        deliveries = list(self._deliveries())
        events: list[Event] = [decode_event(delivery.body) for delivery in deliveries]
        return deliveries, [event for event in events if isinstance(event, Started | Finished)]

    def _deliveries(self) -> Iterator[Delivery]:
        taken = 0
        while taken < BATCH_MAX and (not taken or not self._inbox.empty()):
            signal = self._inbox.get()
            if isinstance(signal, Delivered):
                taken += 1
                yield signal.delivery

    def _commit(self, states: list[tuple[str, str]], events: list[Started | Finished]) -> None:
        if not states:
            return
        tokens, names = [token for token, _ in states], [name for _, name in states]
        with self._database.pipeline():
            self._database.execute(
                "INSERT INTO bare_tasks SELECT DISTINCT ON (1) * FROM unnest(%s::text[], %s::text[])"
                " ON CONFLICT (token) DO UPDATE SET state = excluded.state",
                (tokens, names),
            )
            if events:
                self._database.execute(
                    "INSERT INTO bare_log (kind, body) SELECT * FROM unnest(%s::text[], %s::text[])",
                    ([kind_of(event) for event in events], [encode(event).decode() for event in events]),
                )
            self._database.commit()

    def _grant(self, event: Started) -> None:
        order = Grant(
            dag_id=event.dag_id,
            run_id=event.run_id,
            task_id=event.task_id,
            try_number=event.try_number,
            token=event.token,
            boot=event.boot,
            heard=event.seq,
        )
        self._publish("", control_queue_name(event.worker), order, transient=True)

    def _publish(self, exchange: str, key: str, message: Task | Grant, *, transient: bool = False) -> None:
        self._broker.publish(
            Outgoing(
                message_id=uuid.uuid4().hex,
                exchange=exchange,
                routing_key=key,
                kind=kind_of(message),
                body=encode(message),
                transient=transient,
            )
        )

    @staticmethod
    def _task() -> Task:
        now = datetime.now(UTC)
        return Task(
            dag_id=DAG,
            run_id=RunId("bare"),
            task_id=TaskId("task"),
            try_number=1,
            token=Token(uuid.uuid4().hex),
            fence=1,
            queue=QUEUE,
            command=Argv(args=("true",)),
            context=RunContext(ds=f"{now:%Y-%m-%d}", logical_date=now, data_interval_start=now, data_interval_end=now),
        )


if __name__ == "__main__":
    shape, count = sys.argv[3], int(sys.argv[4])
    print(BareLoop(sys.argv[1], sys.argv[2]).run(count, at_once=1 if shape == "chain" else WINDOW))
