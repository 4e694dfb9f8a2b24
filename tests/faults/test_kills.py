"""Processes killed and servers restarted in the middle of runs: nothing is lost, and nothing runs twice.

What really ran is judged from a file that the tasks append to, not from the database.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster
from servers import PostgreSQL, RabbitMQ

KILLS = 20
LAYERS, WIDTH = 6, 8
VICTIMS = ("scheduler", "w1", "w2")
NOTE = 'echo "$HEADWAY_RUN_ID $HEADWAY_TASK_ID $HEADWAY_TRY" >> "$NOTES"; sleep 0.15'


@pytest.fixture
def cluster(tmp_path: Path, fresh_vhost: str, fresh_database: str) -> Iterator[Cluster]:
    """Give a scheduler and two workers of four slots, with a short lease."""
    with Cluster(
        tmp_path, fresh_vhost, fresh_database, HEADWAY_WORKER_LEASE="20s", HEADWAY_WORKER_HEARTBEAT="1s"
    ) as cluster:
        cluster.start_scheduler()
        cluster.start_worker("w1")
        cluster.start_worker("w2")
        cluster.wait_for(lambda: len(cluster.json("workers")) == 2)
        yield cluster


def layered_dag(notes: Path) -> str:
    """Return a DAG of layers, each of which waits for the whole one before, whose tasks note that they ran."""
    layers = [[f"l{layer}_{place}" for place in range(WIDTH)] for layer in range(LAYERS)]
    tasks = [
        {
            "task_id": task_id,
            "shell": NOTE,
            "env": {"NOTES": str(notes)},
            "upstream": layers[layer - 1] if layer else [],
        }
        for layer, ids in enumerate(layers)
        for task_id in ids
    ]
    return json.dumps({"dag_id": "layers", "tasks": tasks})


def noted(notes: Path) -> Counter[str]:
    """Count how often each attempt ran."""
    return Counter(notes.read_text().splitlines())


def attempts_of(run: dict[str, Any]) -> set[str]:
    """Return the attempts that the database says were granted, as the tasks note them."""
    return {
        f"{run['run_id']} {task['task_id']} {attempt['try']}"
        for task in run["tasks"]
        for attempt in task["attempts"]
        if attempt["started_at"] is not None
    }


@pytest.mark.timeout(600)
def test_a_killed_process_costs_no_task_and_repeats_none(cluster: Cluster, tmp_path: Path) -> None:
    """20 times, kill -9 of a worker or the scheduler at a random moment of a run, which still ends in success."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    notes = tmp_path / "notes"
    cluster.sync(("layers.dag.json", layered_dag(notes)))
    for kill in range(KILLS):
        run_id = cluster.headway("trigger", "layers").splitlines()[0]
        victim = VICTIMS[kill % 3]
        moment = chance.uniform(0.0, 1.5)
        cluster.wait(moment)
        cluster.services[victim].kill()
        cluster.services[victim].start()
        run = cluster.wait_for_run(run_id)
        told = f"seed {seed}, kill {kill} of {victim} after {moment:.3f} s"
        assert run["state"] == "success", told
        ran = {line: count for line, count in noted(notes).items() if line.startswith(f"{run_id} ")}
        assert set(ran.values()) == {1}, told
        assert ran.keys() <= attempts_of(run), told
        assert {line.split()[1] for line in ran} == {task["task_id"] for task in run["tasks"]}, told
    cluster.headway("audit")


def test_a_restarted_broker_touches_no_running_task(cluster: Cluster, rabbitmq: RabbitMQ, tmp_path: Path) -> None:
    """RabbitMQ is restarted in the middle of a run: each task runs once, and the run ends in success."""
    notes = tmp_path / "notes"
    cluster.sync(("layers.dag.json", layered_dag(notes).replace("sleep 0.15", "sleep 2")))
    run_id = cluster.headway("trigger", "layers").splitlines()[0]
    cluster.wait_for(lambda: notes.exists() and len(noted(notes)) >= WIDTH)
    rabbitmq.restart()
    run = cluster.wait_for_run(run_id, seconds=120)
    assert run["state"] == "success"
    assert set(noted(notes).values()) == {1}
    assert all(len(task["attempts"]) == 1 for task in run["tasks"])
    cluster.headway("audit")


def test_a_scheduler_ends_in_good_order_while_the_database_is_away(cluster: Cluster, postgresql: PostgreSQL) -> None:
    """SIGTERM is obeyed while a batch is tried again and again: exit code 0, and nothing is lost."""
    scheduler = cluster.services["scheduler"]
    postgresql.stop()
    cluster.wait_for(lambda: "trying again" in scheduler.log.read_text())
    assert scheduler.terminate() == 0
    postgresql.start()
