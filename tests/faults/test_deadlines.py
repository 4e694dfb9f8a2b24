"""Ten thousand attempts that a worker is handed in the moment in which patience with them ends: each ran or timed out.

Scheduler, broker and database are real; a `Racer` stands for a worker whose children end at once. It begins to consume
when the tasks' `queued_timeout` is about to ring and the queue's TTL takes their messages away, so `started`, `timer`
and `expired` of one attempt come in any order. What ran is what a racer was granted, not what the database says.
"""

import itertools
import json
import logging
import random
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from brokers import Listener
from cluster import Cluster
from headway.broker.connecting import connect
from headway.broker.port import ConsumerGone, Delivered, Delivery, Outcome, Outgoing, Signal
from headway.protocol.codec import address_of, decode_order, decode_task, encode
from headway.protocol.kinds import kind_of
from headway.protocol.messages import AttemptMessage, Finished, Grant, Message, Online, Started
from headway.protocol.names import WORKERS_PARTITION, BootId, QueueName, Token, WorkerName, event_key, partition_of
from headway.protocol.topology import EVENTS, QueueLimits, control_queue, task_queue
from headway.scheduler.store import tables as t
from headway.scheduler.store.engine import make_engine

log = logging.getLogger(__name__)

RACES, EACH, ROUNDS_MAX = 10_000, 500, 200
EITHER = RACES // 20
NEAR_SECONDS = 0.05
PATIENCE_SECONDS = TTL_SECONDS = 1.5
CONFIG = f"[queues.race]\nttl = {TTL_SECONDS}\nwindow = {EACH}\n"
QUEUE = QueueName("race")
TASKS = task_queue(QUEUE, QueueLimits(ttl_seconds=TTL_SECONDS))


def race_dag() -> str:
    """Return a DAG of tasks that are ready at once and fail when nobody takes them."""
    patience = {"queue": QUEUE, "queued_timeout": PATIENCE_SECONDS, "on_queued_timeout": "fail"}
    tasks = [{"task_id": f"t{number}", "argv": ["true"]} | patience for number in range(EACH)]
    return json.dumps({"dag_id": "race", "tasks": tasks})


class Racer:
    """A worker that asks for whatever it is handed at once, and whose children have ended when they are started."""

    def __init__(self, url: str, name: str) -> None:
        self._worker, self._boot = WorkerName(name), BootId(uuid.uuid4().hex)
        self._heard = Listener()
        self._broker = connect(url, name=f"headway worker {name}", sink=self._hear)
        self._held: dict[Token, list[Delivery]] = {}
        self._seq = itertools.count(1)
        self.delivered: dict[Token, list[float]] = {}
        self.ran: Counter[Token] = Counter()
        self._broker.consume(control_queue(self._worker), prefetch=1000)
        self._broker.open()
        self._heard.connected()
        self._publish(self._online(), WORKERS_PARTITION)

    @contextmanager
    def consuming(self) -> Iterator[None]:
        """Take tasks for as long as the block lasts."""
        consumer = self._broker.consume(TASKS, prefetch=EACH)
        yield
        self._broker.cancel(consumer)
        self._heard.wait_for(ConsumerGone, where=lambda gone: gone.consumer == consumer)

    def close(self) -> None:
        """Go away."""
        self._broker.close(timeout_seconds=5)

    def _hear(self, signal: Signal) -> None:
        if not isinstance(signal, Delivered):
            self._heard(signal)
        elif signal.delivery.queue == TASKS.name:
            self._take(signal.delivery)
        else:
            self._obey(signal.delivery)

    def _take(self, delivery: Delivery) -> None:
        task = decode_task(delivery.body)
        self.delivered.setdefault(task.token, []).append(time.time())
        self._held.setdefault(task.token, []).append(delivery)
        self._report(Started, task)

    def _obey(self, delivery: Delivery) -> None:
        order = decode_order(delivery.body)
        for one in (delivery, *self._held.pop(order.token, ())):
            self._broker.settle(one, Outcome.ACK)
        if isinstance(order, Grant) and order.token not in self.ran:  # a double of a message is granted to us again
            self.ran[order.token] += 1
            self._report(Finished, order, exit_code=0)

    def _report(self, kind: type[Message], about: AttemptMessage, **fields: object) -> None:
        us = {"worker": self._worker, "boot": self._boot, "seq": next(self._seq)}
        self._publish(kind(**address_of(about), **us, **fields), partition_of(about.dag_id))

    def _online(self) -> Online:
        return Online(
            worker=self._worker,
            boot=self._boot,
            seq=next(self._seq),
            host="racer",
            pid=1,
            queues=(QUEUE,),
            slots=EACH,
            lease_seconds=3600.0,  # longer than the test: a racer sends no heartbeats
            heartbeat_seconds=5.0,
            headway_version="racer",
        )

    def _publish(self, said: Message, partition: int) -> None:
        kind = kind_of(said)
        key = event_key(self._broker.user, kind, partition)
        self._broker.publish(
            Outgoing(message_id=uuid.uuid4().hex, exchange=EVENTS, routing_key=key, kind=kind, body=encode(said))
        )


class Race:
    """The rounds on one cluster, and what became of each attempt."""

    def __init__(self, cluster: Cluster, engine: Engine, racers: tuple[Racer, Racer], seed: int) -> None:
        self._cluster, self._engine, self._racers = cluster, engine, racers
        self._chance = random.Random(seed)
        self._lead = 0.0
        self.near: set[Token] = set()

    def is_run(self) -> bool:
        """Whether there were races enough, and enough of them ended either way."""
        ran = self.near & (self._racers[0].ran.keys() | self._racers[1].ran.keys())
        return len(self.near) >= RACES and min(len(ran), len(self.near) - len(ran)) >= EITHER

    def run(self) -> None:
        """Let one run's tasks be handed out around their deadline; the next is aimed by where this one came to lie."""
        run_id = self._cluster.headway("trigger", "race").splitlines()[0]
        deadline = self._deadline(run_id)
        aim = deadline - self._lead + self._chance.uniform(-NEAR_SECONDS / 2, NEAR_SECONDS)
        self._cluster.wait(max(0.0, aim - time.time()))
        one, two = self._racers
        with one.consuming(), two.consuming():
            self._cluster.wait_for(lambda: self._is_over(run_id))
        late = {
            token: min((at - deadline for at in racer.delivered[token]), key=abs)
            for racer in self._racers
            for token in self._tokens(run_id) & racer.delivered.keys()
        }
        self.near |= {token for token, seconds in late.items() if abs(seconds) <= NEAR_SECONDS}
        self._lead += statistics.median(late.values()) if late else 0.0

    def _deadline(self, run_id: str) -> float:
        """Return when patience ends: all of a run's tasks became ready, and were admitted, at one time."""
        asked = select(t.attempts.c.queued_at).where(t.attempts.c.run_id == run_id).distinct()
        with self._engine.connect() as connection:
            return float(connection.execute(asked).scalar_one().timestamp()) + PATIENCE_SECONDS

    def _is_over(self, run_id: str) -> bool:
        with self._engine.connect() as connection:
            state = connection.execute(select(t.runs.c.state).where(t.runs.c.run_id == run_id)).scalar_one()
        return state in {"success", "failed"}

    def _tokens(self, run_id: str) -> set[Token]:
        with self._engine.connect() as connection:
            return set(connection.execute(select(t.attempts.c.token).where(t.attempts.c.run_id == run_id)).scalars())


def outcomes(engine: Engine) -> dict[Token, tuple[str, str | None]]:
    """Return state and reason of the task instance of each attempt; each has one attempt."""
    keys = "run_id", "task_id", "map_index"
    same = [t.attempts.c[name] == t.task_instances.c[name] for name in keys]
    asked = select(t.attempts.c.token, t.task_instances.c.state, t.task_instances.c.reason).where(*same)
    with engine.connect() as connection:
        return {row.token: (row.state, row.reason) for row in connection.execute(asked)}


@pytest.mark.timeout(900)
def test_an_attempt_at_its_deadline_ran_or_timed_out(tmp_path: Path, fresh_vhost: str, fresh_database: str) -> None:
    """10,000 of them, delivered within 50 ms of their deadline: none did both, none did neither, none ran twice."""
    seed = random.randrange(2**32)
    (tmp_path / "headway.toml").write_text(CONFIG)
    engine = make_engine(fresh_database)
    with Cluster(tmp_path, fresh_vhost, fresh_database) as cluster:
        cluster.start_scheduler()
        cluster.sync(("race.dag.json", race_dag()))
        racers = Racer(fresh_vhost, "r1"), Racer(fresh_vhost, "r2")
        race = Race(cluster, engine, racers, seed)
        for _ in range(ROUNDS_MAX):
            race.run()
            if race.is_run():
                break
        for racer in racers:
            racer.close()
    found, ran = outcomes(engine), racers[0].ran + racers[1].ran
    engine.dispose()
    timed_out = {token for token, ended in found.items() if ended == ("failed", "no_capacity")}
    told = f"seed {seed}: {len(race.near)} races, {len(ran)} ran, {len(timed_out)} timed out, of {len(found)}"
    log.info(told)
    assert len(race.near) >= RACES, told
    assert {token for token, (state, _) in found.items() if state == "success"} == ran.keys(), told
    assert found.keys() - ran.keys() == timed_out, told
    assert set(ran.values()) == {1}, told
    assert min(len(race.near & ran.keys()), len(race.near & timed_out)) >= EITHER, told
