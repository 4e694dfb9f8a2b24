"""Plays the largest shapes through the real decider and store, and prints what the slowest decision took.

    python benchmarks/decisions.py [fan_in|chain|failed_root ...] [--scale 1.0]

The store is SQLite on disk; one worker, played in this process, answers at once. Each call of `decide` is timed by the
processor time of its thread, which other processes of the machine do not lengthen, and by the clock.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
import uuid
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

from headway.protocol.codec import address_of, decode_event, decode_task, encode
from headway.protocol.dag import Argv, Dag, Task
from headway.protocol.dag_events import DagVersion
from headway.protocol.kinds import ROLE_OF_KIND, Event
from headway.protocol.messages import Finished, Online, Started, Trigger
from headway.protocol.messages import Task as TaskMessage
from headway.protocol.names import BootId, DagId, QueueName, RunId, TaskId, WorkerName
from headway.scheduler import decider
from headway.scheduler.core.decide import decide
from headway.scheduler.intake import Arrival, partition_of_event
from headway.scheduler.store.engine import make_engine
from headway.scheduler.store.schema import upgrade_schema
from headway.scheduler.store.store import Store

DAG, RUN, QUEUE = DagId("shape"), RunId("shape-1"), QueueName("default")
WORKER, BOOT = WorkerName("played"), BootId("1")
BATCH = 500


def fan_in(scale: float) -> list[Task]:
    """Ten thousand upstreams of one task."""
    names = [f"t{index}" for index in range(int(10_000 * scale))]
    return [*(_task(name) for name in names), _task("last", *names)]


def chain(scale: float) -> list[Task]:
    """A thousand tasks, one behind the other."""
    return [_task(f"t{index}", *[f"t{index - 1}"] * (index > 0)) for index in range(int(1_000 * scale))]


def failed_root(scale: float) -> list[Task]:
    """A hundred thousand tasks that fall with the one above them."""
    return [_task("root"), *(_task(f"t{index}", "root") for index in range(int(100_000 * scale) - 1))]


SHAPES = {shape.__name__: shape for shape in (fan_in, chain, failed_root)}


def main() -> None:
    """Play the shapes that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", choices=[*SHAPES, []])
    parser.add_argument("--scale", type=float, default=1.0)
    asked = parser.parse_args()
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print("| shape | tasks | decisions | median | slowest, processor | slowest, clock | rows at most |")
    print("|---|---|---|---|---|---|---|")
    for name in asked.shapes or SHAPES:
        tasks = SHAPES[name](asked.scale)
        with tempfile.TemporaryDirectory() as home:
            game = Game(Path(home), Dag(dag_id=DAG, tasks=tuple(tasks)), fails="root")
            game.play()
        cpu, clock, rows = (sorted(column) for column in zip(*game.timed, strict=True))
        print(
            f"| {name.replace('_', ' ')} | {len(tasks):,} | {len(cpu):,} | {statistics.median(cpu) * 1e6:.0f} µs "
            f"| {cpu[-1] * 1e3:.1f} ms | {clock[-1] * 1e3:.1f} ms | {rows[-1]:,} |"
        )


class Game:
    """One run of a DAG, from its version to its end."""

    def __init__(self, home: Path, dag: Dag, *, fails: str) -> None:
        """Make a store; the task `fails` ends with exit code 1, all others with 0."""
        url = f"sqlite:///{home / 'decisions.db'}"
        upgrade_schema(url)
        self._store = Store(make_engine(url))
        self._decider = decider.Decider(self._store, user="scheduler")
        self._dag, self._fails, self._seq = dag, fails, 1
        self._due: deque[Event] = deque()
        self.timed: list[tuple[float, float, int]] = []

    def play(self) -> None:
        """Go on until nothing happens any more."""
        body = encode(self._dag)
        self._store.add_dag_value("digest", body)
        self._due += (
            DagVersion(dag_id=DAG, digest="digest", file="shape.py", task_count=len(self._dag.tasks)),
            self._online(),
            Trigger(dag_id=DAG, run_id=RUN, logical_date=datetime(2026, 1, 1, tzinfo=UTC)),
        )
        plain, decider.decide = decider.decide, self._decide
        try:
            while self._due:
                batch = [self._due.popleft() for _ in range(min(BATCH, len(self._due)))]
                self._hear(self._decider.process([_arrival(event) for event in batch]))
        finally:
            decider.decide = plain

    def _decide(self, *args: object) -> decider.Decision:
        clock, cpu = time.perf_counter(), time.thread_time()
        decision = decide(*args)
        rows = len(decision.changes.tasks)
        self.timed.append((time.thread_time() - cpu, time.perf_counter() - clock, rows))
        return decision

    def _hear(self, committed: decider.Committed) -> None:
        """Answer what leaves the scheduler as RabbitMQ and a worker of any number of slots would."""
        for row in committed.outbox:
            if row.kind == "task":
                task = decode_task(row.body.encode())
                self._due += (self._started(task), self._finished(task))
            else:
                self._due.append(decode_event(row.body.encode()))
        with self._store.batch() as batch:
            batch.forget_posted([row.message_id for row in committed.outbox])
            batch.save([], [])

    def _online(self) -> Online:
        return Online(
            worker=WORKER,
            boot=BOOT,
            seq=0,
            host="here",
            pid=1,
            queues=(QUEUE,),
            slots=1_000,
            lease_seconds=3600,
            heartbeat_seconds=5,
            headway_version="0",
        )

    def _started(self, task: TaskMessage) -> Started:
        self._seq += 1
        return Started(**address_of(task), worker=WORKER, boot=BOOT, seq=self._seq)

    def _finished(self, task: TaskMessage) -> Finished:
        self._seq += 1
        code = int(task.task_id == self._fails)
        return Finished(**address_of(task), worker=WORKER, boot=BOOT, seq=self._seq, exit_code=code)


def _task(name: str, *upstream: str) -> Task:
    return Task(task_id=TaskId(name), command=Argv(args=("true",)), upstream=tuple(map(TaskId, upstream)))


def _arrival(event: Event) -> Arrival:
    return Arrival(
        event=event,
        partition=partition_of_event(event),
        message_id=uuid.uuid4().hex,
        user_id="played",
        origin=ROLE_OF_KIND[type(event)],
    )


if __name__ == "__main__":
    main()
