"""Production workflow traces, run to their end by real services."""

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, states

TRACES = Path(os.environ.get("HEADWAY_WFINSTANCES", Path(__file__).parents[3] / "shared" / "wfinstances"))
LARGE = "bwa-chameleon-large-001"
MONTAGE = "montage-chameleon-dss-075d-001"
# Bounds for machines that do other things too; docs/performance.md has the goals and what was measured.
LARGE_SECONDS_MAX = 12.0
CHAIN_SECONDS_MAX = 2.5
TRIES = 3

traces = sorted(path.stem for path in TRACES.glob("*.json"))
needs_traces = pytest.mark.skipif(not traces, reason=f"no WfFormat traces in {TRACES}: set HEADWAY_WFINSTANCES")


@pytest.fixture
def cluster(tmp_path: Path, fresh_vhost: str, fresh_database: str) -> Iterator[Cluster]:
    """Give a scheduler and two workers of four slots."""
    with Cluster(tmp_path, fresh_vhost, fresh_database) as cluster:
        cluster.start_scheduler()
        cluster.start_worker("w1")
        cluster.start_worker("w2")
        cluster.wait_for(lambda: len(cluster.json("workers")) == 2)
        yield cluster


def parents_of(trace: Path) -> dict[str, list[str]]:
    """Return each task's parents, by the ids that an import gives them."""
    tasks = json.loads(trace.read_text())["workflow"]["specification"]["tasks"]
    return {task["id"]: task["parents"] for task in tasks}


def ended_before(run: dict[str, Any], parents: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Return every (parent, task) where the task was started before its parent had finished."""
    times = {task["task_id"]: task["attempts"][-1] for task in run["tasks"]}
    return [
        (parent, task)
        for task, above in parents.items()
        for parent in above
        if datetime.fromisoformat(times[task]["started_at"]) < datetime.fromisoformat(times[parent]["finished_at"])
    ]


def seconds_of(run: dict[str, Any]) -> float:
    """Return how long a run took, by the recorded times."""
    return (datetime.fromisoformat(run["finished_at"]) - datetime.fromisoformat(run["started_at"])).total_seconds()


def best_seconds(cluster: Cluster, dag_id: str) -> float:
    """Return how long the quickest of some runs took: what else the machine does makes them slower, never quicker."""
    runs = [cluster.headway("trigger", dag_id, "--wait").splitlines()[0] for _ in range(TRIES)]
    return min(seconds_of(cluster.json("runs", "show", run_id)) for run_id in runs)


@needs_traces
def test_every_trace_ends_in_success_in_the_order_of_its_parents(cluster: Cluster) -> None:
    """Each task of each trace succeeds, and none is started before all its parents have finished."""
    for name in traces:
        cluster.headway(
            "import",
            "wfformat",
            str(TRACES / f"{name}.json"),
            "--runtime",
            "0",
            "-o",
            str(cluster.dags / f"{name}.dag.json"),
        )
    cluster.sync()
    for name in traces:
        run_id = cluster.headway("trigger", name, "--wait").splitlines()[0]
        run = cluster.json("runs", "show", run_id)
        assert run["state"] == "success", name
        assert {task["state"] for task in run["tasks"]} == {"success"}, name
        assert all(len(task["attempts"]) == 1 for task in run["tasks"]), name
        assert ended_before(run, parents_of(TRACES / f"{name}.json")) == [], name
    assert cluster.headway("audit")
    assert best_seconds(cluster, LARGE) <= LARGE_SECONDS_MAX


@needs_traces
def test_a_trace_ends_alike_in_one_process_and_on_servers(cluster: Cluster, tmp_path: Path) -> None:
    """Every task in the same state, at the same try."""
    file = cluster.dags / f"{MONTAGE}.dag.json"
    cluster.headway("import", "wfformat", str(TRACES / f"{MONTAGE}.json"), "--runtime", "0", "-o", str(file))
    cluster.sync()
    run_id = cluster.headway("trigger", MONTAGE, "--wait").splitlines()[0]
    there = cluster.json("runs", "show", run_id)
    (tmp_path / "alone").mkdir()
    with Cluster(tmp_path / "alone") as alone:
        here = json.loads(alone.headway("run", str(file), "--json"))
    assert (here["state"], states(here)) == (there["state"], states(there))


def test_a_chain_of_forty_short_tasks_takes_little_more_than_its_tasks(cluster: Cluster) -> None:
    """Forty chained `sleep 0.01` end in time; the bound allows for a busy machine, docs/performance.md measures."""
    tasks = [
        {"task_id": f"t{index:02}", "argv": ["sleep", "0.01"], "upstream": [f"t{index - 1:02}"] if index else []}
        for index in range(40)
    ]
    cluster.sync(("chain.dag.json", json.dumps({"dag_id": "chain", "tasks": tasks})))
    assert best_seconds(cluster, "chain") <= CHAIN_SECONDS_MAX
