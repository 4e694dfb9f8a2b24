"""Tasks that outlast what a broker allows: its queue's TTL, its consumer timeout, and itself.

None of it reaches a child, and none of it costs a budget. With HEADWAY_TEST_FULL_TIME=1 the consumer timeout is the
shortest that RabbitMQ supports, and the broker is away for four minutes of a lease of five; else all is shorter.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from brokers import Listener
from brokers.rabbit import QUEUE, message
from cluster import Cluster
from headway.broker.connecting import connect
from headway.broker.port import Broker, Disconnected
from headway.scheduler.store import tables as t
from headway.scheduler.store.engine import make_engine
from processes import wait_for_lines
from servers import RabbitMQ

FULL_TIME = os.environ.get("HEADWAY_TEST_FULL_TIME") == "1"
NOTE = 'echo "$HEADWAY_TASK_ID $HEADWAY_TRY" >> "$NOTES"; {rest}'


def dag(name: str, notes: Path, **rests: str) -> tuple[str, str]:
    """Return a DAG file: each task notes that it runs, and then does the rest."""
    common = {"env": {"NOTES": str(notes)}, "queue": "long", "retries": 1}
    tasks = [{"task_id": task_id, "shell": NOTE.format(rest=rest)} | common for task_id, rest in rests.items()]
    return f"{name}.dag.json", json.dumps({"dag_id": name, "tasks": tasks})


def spent(database_url: str) -> set[tuple[int, int]]:
    """Return what task instances have spent: retries of their own, and reruns for losses."""
    engine = make_engine(database_url)
    columns = t.task_instances.c.retries_used, t.task_instances.c.infra_used
    with engine.connect() as connection:
        found = {(row.retries_used, row.infra_used) for row in connection.execute(select(*columns))}
    engine.dispose()
    return found


@contextmanager
def closing_broker(url: str) -> Iterator[tuple[Broker, Listener]]:
    """Give a connection of the test's own, with its listener."""
    heard = Listener()
    broker = connect(url, name="headway test", sink=heard)
    broker.open()
    heard.connected()
    yield broker, heard
    broker.close(timeout_seconds=5)


def assert_undisturbed(run: dict[str, Any], notes: Path, database_url: str) -> None:
    """Each task ran once, in its only attempt, with success, and no budget was touched."""
    assert run["state"] == "success", run
    assert all(len(task["attempts"]) == 1 for task in run["tasks"]), run
    assert Counter(notes.read_text().splitlines()) == {f"{task['task_id']} 1": 1 for task in run["tasks"]}
    assert spent(database_url) == {(0, 0)}


def test_tasks_wait_ten_times_the_ttl_of_their_queue(tmp_path: Path, fresh_vhost: str, fresh_database: str) -> None:
    """Eight "hours" of ten seconds on four slots, with a TTL of a tenth of one: the broker hands four back, often."""
    notes = tmp_path / "notes"
    (tmp_path / "headway.toml").write_text('[queues.long]\nttl = "1s"\n')
    with Cluster(tmp_path, fresh_vhost, fresh_database) as cluster:
        cluster.start_scheduler()
        cluster.start_worker("w1", queue="long", slots=4)
        cluster.sync(dag("hours", notes, **{f"hour{number}": "sleep 10" for number in range(8)}))
        run_id = cluster.headway("trigger", "hours").splitlines()[0]
        run = cluster.wait_for_run(run_id, seconds=120)
        events = cluster.json("events", run_id)
        assert_undisturbed(run, notes, fresh_database)
        expired = Counter(event["task_id"] for event in events if event["kind"] == "expired")
        assert len(expired) == 4
        assert min(expired.values()) >= 5


@pytest.fixture
def impatient(rabbitmq: RabbitMQ) -> Iterator[None]:
    """Let RabbitMQ wait for an ack as briefly as it can: a minute, looked at each minute; in a test, two seconds."""
    tick, patience = (60_000, 60_000) if FULL_TIME else (500, 2_000)
    set_env = "application:set_env(rabbit, {}, {})"
    usual = f"{set_env.format('channel_tick_interval', 60_000)}, {set_env.format('consumer_timeout', 1_800_000)}."
    rabbitmq.ctl(
        "eval", f"{set_env.format('channel_tick_interval', tick)}, {set_env.format('consumer_timeout', patience)}."
    )
    yield
    rabbitmq.ctl("eval", usual)


@pytest.mark.usefixtures("impatient")
def test_a_task_outlasts_the_consumer_timeout(tmp_path: Path, fresh_vhost: str, fresh_database: str) -> None:
    """It runs until a consumer that took a message after it and acked none was cut off; its worker was not."""
    notes, go = tmp_path / "notes", tmp_path / "go"
    with Cluster(tmp_path, fresh_vhost, fresh_database) as cluster, closing_broker(fresh_vhost) as (broker, heard):
        services = cluster.start_scheduler(), cluster.start_worker("w1", queue="long", slots=1)
        cluster.sync(dag("patient", notes, patient=f"until [ -e {go} ]; do sleep 0.1; done"))
        run_id = cluster.headway("trigger", "patient").splitlines()[0]
        wait_for_lines(notes, 1)
        broker.consume(QUEUE, prefetch=1)
        broker.declare(QUEUE)
        broker.publish(message(1))
        heard.deliveries(1)
        heard.wait_for(Disconnected, timeout_seconds=180)
        go.touch()
        assert_undisturbed(cluster.wait_for_run(run_id), notes, fresh_database)
        assert not any("the broker is away" in service.log.read_text() for service in services)


@pytest.mark.timeout(900)
def test_a_broker_that_is_away_for_most_of_a_lease_hurts_no_task(
    tmp_path: Path, rabbitmq: RabbitMQ, fresh_vhost: str, fresh_database: str
) -> None:
    """One child ends while nobody can be told, one outlasts outage and lease, one task still waits in the queue."""
    lease, away = (300, 240) if FULL_TIME else (60, 15)  # and what RabbitMQ takes to start
    beat = "5s" if FULL_TIME else "1s"
    notes = tmp_path / "notes"
    settings = {"HEADWAY_WORKER_LEASE": f"{lease}s", "HEADWAY_WORKER_HEARTBEAT": beat}
    with Cluster(tmp_path, fresh_vhost, fresh_database, **settings) as cluster:
        cluster.start_scheduler()
        cluster.start_worker("w1", queue="long", slots=2)
        cluster.sync(dag("outage", notes, a=f"sleep {away / 2}", b=f"sleep {lease * 1.1}", c="true"))
        run_id = cluster.headway("trigger", "outage").splitlines()[0]
        wait_for_lines(notes, 2)
        rabbitmq.stop()
        cluster.wait(away)
        rabbitmq.start()
        assert_undisturbed(cluster.wait_for_run(run_id, seconds=2 * lease), notes, fresh_database)
