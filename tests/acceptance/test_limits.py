"""Limits and fair turns as a user meets them: real servers, real processes, the command line."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster

LARGE = 100_000
SMALL = 10
SECONDS_MAX = 3.0
"""From the small DAG's trigger until its last task is started, while the large one has all slots."""

POOLS = "[pools.db]\nslots = 2\n[pools.api]\nslots = 5\n"


def document(dag_id: str, count: int, **keywords: Any) -> tuple[str, str]:
    """Return the file of a DAG of tasks of 50 ms that wait for nothing."""
    tasks = [{"task_id": f"t{number:06}", "argv": ["sleep", "0.05"]} for number in range(count)]
    return f"{dag_id}.dag.json", json.dumps({"dag_id": dag_id, "tasks": tasks, "defaults": keywords})


@pytest.fixture
def cluster(tmp_path: Path, fresh_vhost: str, fresh_database: str) -> Iterator[Cluster]:
    """Give a scheduler that knows of pools, and two workers of eight slots."""
    (tmp_path / "headway.toml").write_text(POOLS)
    settings = {"HEADWAY_CONFIG": str(tmp_path / "headway.toml")}
    with Cluster(tmp_path, fresh_vhost, fresh_database, **settings) as cluster:
        cluster.start_scheduler()
        cluster.start_worker("w1", slots=8)
        cluster.start_worker("w2", slots=8)
        cluster.wait_for(lambda: len(cluster.json("workers")) == 2)
        yield cluster


def queue_of(cluster: Cluster) -> dict[str, Any]:
    """Return the line of the one queue."""
    [line] = cluster.json("queues")
    return dict(line)


def test_a_small_dag_is_served_beside_a_large_one(cluster: Cluster) -> None:
    """All of its ten tasks start within three seconds, though a hundred thousand stand before them."""
    cluster.sync(document("large", LARGE), document("small", SMALL))
    cluster.headway("trigger", "large", "--run-id", "large")
    cluster.wait_for(lambda: queue_of(cluster)["unpublished"] > LARGE - 5_000, seconds=120)
    cluster.headway("trigger", "small", "--run-id", "small", "--wait")
    left = queue_of(cluster)["unpublished"]
    small = cluster.json("runs", "show", "small")
    begun = datetime.fromisoformat(small["started_at"])
    starts = [datetime.fromisoformat(task["attempts"][0]["started_at"]) for task in small["tasks"]]
    assert len(starts) == SMALL
    assert max(starts) - begun < timedelta(seconds=SECONDS_MAX)
    assert left > LARGE / 2, "the large one was over, and proved nothing"
    cluster.headway("cancel", "large")


def test_pools_are_kept_to_checked_and_shown(cluster: Cluster) -> None:
    """Never more than its slots at a time; one that is not there is refused by check, and fails where nobody checks."""
    name, text = document("etl", 12, pool="db")
    cluster.sync((name, text), document("lost", 1, pool="dbb"), document("wide", 1, pool="db", pool_slots=3))
    found = {
        entry["dag_id"]: entry["errors"]
        for entry in json.loads(cluster.headway("check", str(cluster.dags), "--json", exit_code=1))
    }
    assert found["etl"] == []
    assert "there is no pool 'dbb': write [pools.dbb] with its slots" in found["lost"][0]["message"]
    assert "it takes 3 slots of pool 'db', which has 2: lower its pool_slots" in found["wide"][0]["message"]
    run_id = cluster.headway("trigger", "etl", "--wait").splitlines()[0]
    attempts = [task["attempts"][0] for task in cluster.json("runs", "show", run_id)["tasks"]]
    assert most_at_a_time(attempts) == 2
    assert cluster.json("pools") == [
        {"pool": "api", "slots": 5, "used": 0, "free": 5, "waiting": 0},
        {"pool": "db", "slots": 2, "used": 0, "free": 2, "waiting": 0},
    ]
    assert "db        2     0     2        0" in cluster.headway("pools")
    run_id = cluster.headway("trigger", "lost", "--wait", exit_code=1).splitlines()[0]
    assert cluster.json("why", run_id, "t000000")["reason"] == "bad_pool"


def most_at_a_time(attempts: list[dict[str, Any]]) -> int:
    """Return how many attempts held a place at once, from when they were queued until they ended."""
    moves = sorted([(one["queued_at"], 1) for one in attempts] + [(one["finished_at"], -1) for one in attempts])
    held, most = 0, 0
    for _, step in moves:
        held += step
        most = max(most, held)
    return most
