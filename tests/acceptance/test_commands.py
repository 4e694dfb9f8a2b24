"""The commands as a user types them, on a real scheduler and a real worker, and the JSON that scripts rely on."""

import json
import re
import resource
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cluster import HEADWAY, Cluster
from servers import PostgreSQL, RabbitMQ

HELP_SECONDS_MAX = 0.15

SALES = """\
from headway import DAG, argv, shell

with DAG("sales", params={"region": "EU", "days": 1}, description="what was sold") as dag:
    extract = shell("extract", 'echo "region $HEADWAY_PARAM_region"; echo \\'{"rows": 5}\\' > $HEADWAY_OUTPUT')
    load = argv("load", ["echo", "{{ ds }}", extract.output["rows"]])
    extract >> load
"""
BROKEN = """\
from headway import DAG, shell

with DAG("broken") as dag:
    bad = shell("bad", "echo oops >&2; exit 3")
    after = shell("after", "true")
    bad >> after
"""
LONG = """\
from headway import DAG, shell

with DAG("long") as dag:
    first = shell("first", "echo begun; sleep 300")
    gpu = shell("gpu", "true", queue="gpu")
    last = shell("last", "true")
    [first, gpu] >> last
"""
WRONG = "from headway import DAG, shell\n\nwith DAG('wrong') as dag:\n    shell('a', '')\n"

RUN_FIELDS = {"run_id", "dag_id", "state", "logical_date", "started_at", "finished_at"}
ATTEMPT_FIELDS = {
    "try",
    "state",
    "worker",
    "queue",
    "exit_code",
    "signal",
    "reason",
    "queued_at",
    "started_at",
    "finished_at",
    "ran_seconds",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, postgresql: PostgreSQL) -> Iterator[Cluster]:
    """Give a scheduler and a worker of two slots that serves the default queue, and a folder of DAG files."""
    vhost, database = rabbitmq.create_vhost(), postgresql.create_database()
    home = tmp_path_factory.mktemp("home")
    with Cluster(home, rabbitmq.url(vhost), postgresql.url(database)) as cluster:
        cluster.start_scheduler()
        cluster.start_worker("w1", slots=2)
        cluster.sync(("sales.py", SALES), ("broken.py", BROKEN), ("long.py", LONG))
        cluster.wait_for(lambda: bool(cluster.json("workers")))
        yield cluster
    rabbitmq.delete_vhost(vhost)
    postgresql.drop_database(database)


@pytest.fixture(scope="module")
def sold(cluster: Cluster) -> str:
    """Give the id of a run that succeeded."""
    words = ["trigger", "sales", "--wait", "--param", "region=US", "--param", "days=2", "--date", "2026-01-31"]
    return cluster.headway(*words).splitlines()[0]


@pytest.fixture(scope="module")
def failed(cluster: Cluster) -> str:
    """Give the id of a run that failed."""
    return cluster.headway("trigger", "broken", "--wait", exit_code=1).splitlines()[0]


@pytest.fixture(scope="module")
def going_on(cluster: Cluster) -> Iterator[str]:
    """Give the id of a run with one task that runs, one that nobody takes and one that waits."""
    cluster.headway("trigger", "long", "--run-id", "going-on")
    cluster.wait_for(lambda: states(cluster, "going-on")["first"] == "running")
    yield "going-on"
    if cluster.json("runs", "show", "going-on")["state"] == "running":
        cluster.headway("cancel", "going-on")


def states(cluster: Cluster, run_id: str) -> dict[str, str]:
    """Return the states of a run's tasks."""
    return {task["task_id"]: task["state"] for task in cluster.json("runs", "show", run_id)["tasks"]}


def is_time(text: object) -> bool:
    """Say whether this is a time as RFC 3339 writes it in UTC."""
    return isinstance(text, str) and text.endswith("Z") and datetime.fromisoformat(text) is not None


def test_help_answers_at_once(tmp_path: Path):
    """Of five tries the quickest counts, in seconds of processor time: a busy machine is not our fault."""
    taken = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([HEADWAY, "--help"], env={"HOME": str(tmp_path)}, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(taken) <= HELP_SECONDS_MAX


def test_trigger_prints_the_run_id_first(sold: str):
    """Made of the DAG's id, the time and four digits."""
    assert re.fullmatch(r"sales__\d{8}T\d{6}Z_[0-9a-f]{4}", sold)


def test_a_run_that_succeeded_is_shown(cluster: Cluster, sold: str):
    """With the published fields, in the DAG's order, and times in UTC."""
    run = cluster.json("runs", "show", sold)
    assert run.keys() >= RUN_FIELDS | {"tasks"}
    assert (run["state"], run["dag_id"], run["logical_date"]) == ("success", "sales", "2026-01-31T00:00:00Z")
    assert is_time(run["started_at"])
    assert is_time(run["finished_at"])
    assert run["params"] == {"region": "US", "days": 2}
    extract, load = run["tasks"]
    assert extract.keys() >= {"task_id", "map_index", "state", "reason", "attempts"}
    assert (extract["task_id"], load["task_id"], load["map_index"]) == ("extract", "load", -1)
    (attempt,) = load["attempts"]
    assert attempt.keys() >= ATTEMPT_FIELDS
    assert (attempt["try"], attempt["state"], attempt["worker"], attempt["exit_code"]) == (1, "success", "w1", 0)
    assert all(is_time(attempt[name]) for name in ("queued_at", "started_at", "finished_at"))
    assert attempt["ran_seconds"] > 0


def test_a_run_is_shown_to_people(cluster: Cluster, sold: str):
    """Aligned, one line a task."""
    shown = cluster.headway("runs", "show", sold)
    assert f"Run {sold} of DAG sales, version 1: success" in shown
    assert "Logical date 2026-01-31 00:00:00Z" in shown
    assert re.search(r"^extract +success +- +1 +w1 +default +0 ", shown, re.MULTILINE)


def test_runs_are_listed(cluster: Cluster, sold: str, failed: str):
    """The newest first, all with the published fields; `runs` alone is the same list."""
    runs = cluster.json("runs", "list", "--limit", "100")
    assert all(run.keys() >= RUN_FIELDS for run in runs)
    assert {(run["run_id"], run["state"]) for run in runs} >= {(sold, "success"), (failed, "failed")}
    only = cluster.json("runs", "list", "--dag", "sales", "--state", "success")
    assert [run["run_id"] for run in only] == [sold]
    assert sold in cluster.headway("runs")
    assert cluster.json("runs", "list", "--dag", "sales", "--state", "cancelled") == []


def test_dags_are_listed_and_shown(cluster: Cluster):
    """With version and file; one of them with its tasks."""
    dags = {dag["dag_id"]: dag for dag in cluster.json("dags", "list")}
    assert dags["sales"].keys() >= {"dag_id", "version", "schedule", "paused", "file"}
    assert (dags["sales"]["version"], dags["sales"]["file"], dags["sales"]["paused"]) == (1, "sales.py", False)
    assert cluster.json("dags") == list(dags.values())
    assert [task["task_id"] for task in cluster.json("dags", "show", "sales")["tasks"]] == ["extract", "load"]
    assert "what was sold" in cluster.headway("dags", "show", "sales")


def test_sync_takes_what_is_right_and_says_what_is_not(cluster: Cluster):
    """Exit 1, one line for the fault, and the DAG beside it is known when the command ends."""
    (cluster.dags / "wrong.py").write_text(WRONG)
    (cluster.dags / "fresh.py").write_text(SALES.replace('"sales"', '"fresh"'))
    said = cluster.headway("dags", "sync", exit_code=1)
    assert f"{cluster.dags}/wrong.py:4: " in said
    assert "1 of them new or changed" in said
    assert cluster.json("dags", "show", "fresh")["version"] == 1
    (cluster.dags / "wrong.py").unlink()
    assert cluster.json("dags", "sync")["changed"] == []


def test_a_failure_is_explained(cluster: Cluster, failed: str):
    """By its exit code and its last lines; what fell with it by its name."""
    bad = cluster.json("why", failed, "bad")
    assert bad.keys() >= {"run_id", "task_id", "state", "reason", "detail"}
    assert (bad["run_id"], bad["task_id"], bad["state"], bad["reason"]) == (failed, "bad", "failed", "exit_code")
    assert "failed with exit code 3, on worker w1" in bad["detail"]
    assert bad["last_lines"] == ["oops"]
    after = cluster.json("why", failed, "after")
    assert (after["state"], after["reason"]) == ("upstream_failed", "upstream_failed")
    assert "bad (failed)" in after["detail"]
    assert "| oops" in cluster.headway("why", failed, "bad")


def test_what_goes_on_is_explained(cluster: Cluster, going_on: str):
    """Who runs it, who is missing, what is waited for."""
    first, gpu, last = (cluster.json("why", going_on, task) for task in ("first", "gpu", "last"))
    assert (first["state"], first["reason"]) == ("running", None)
    assert "runs on worker w1" in first["detail"]
    assert (gpu["state"], gpu["reason"]) == ("queued", "no_workers")
    assert "`headway worker -q gpu`" in gpu["detail"]
    assert (last["state"], last["reason"]) == ("waiting", "upstream")
    assert "first (running), gpu (queued)" in last["detail"]


def test_logs_show_what_a_task_wrote(cluster: Cluster, sold: str, failed: str, going_on: str):
    """Of the newest attempt or of one, also while it runs."""
    assert cluster.headway("logs", sold, "extract") == "region US\n"
    assert cluster.headway("logs", sold, "load") == "2026-01-31 5\n"
    assert cluster.headway("logs", failed, "bad", "--try", "1") == "oops\n"
    assert cluster.headway("logs", going_on, "first") == "begun\n"


def test_logs_from_another_machine_show_the_last_lines(cluster: Cluster, failed: str, tmp_path: Path):
    """And say where the whole output is."""
    done = subprocess.run(
        [HEADWAY, "logs", failed, "bad"],
        env=cluster.env | {"HEADWAY_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "oops\n"
    assert "its whole output is on host " in done.stderr


def test_events_are_shown_with_their_verdicts(cluster: Cluster, failed: str):
    """From the trigger to the last report."""
    events = cluster.json("events", failed)
    assert all(
        event.keys() >= {"at", "kind", "task_id", "map_index", "try", "origin", "verdict", "reason"} for event in events
    )
    assert (events[0]["kind"], events[0]["origin"], events[0]["verdict"]) == ("trigger", "operator", "applied")
    assert (events[-1]["kind"], events[-1]["task_id"], events[-1]["try"]) == ("finished", "bad", 1)
    assert all(is_time(event["at"]) for event in events)
    assert "trigger" in cluster.headway("events", failed)


def test_an_operators_event_that_is_ignored_says_why(cluster: Cluster, sold: str, failed: str):
    """Exit 1, and the scheduler's reason."""
    assert cluster.headway("trigger", "sales", "--run-id", sold, exit_code=1) == ""
    assert cluster.headway("cancel", failed, exit_code=1) == ""


def test_queues_show_both_sides(cluster: Cluster, going_on: str):
    """The broker has what the database believes to be published."""
    assert going_on
    fields = {"queue", "ready", "unacked", "consumers", "queued", "unpublished", "free_slots", "window"}
    cluster.wait_for(
        lambda: {line["queue"]: line["ready"] for line in cluster.json("queues")} == {"default": 0, "gpu": 1}
    )
    lines: dict[str, dict[str, Any]] = {line["queue"]: line for line in cluster.json("queues")}
    assert all(line.keys() >= fields for line in lines.values())
    assert (lines["gpu"]["queued"], lines["gpu"]["consumers"], lines["gpu"]["free_slots"]) == (1, 0, 0)
    assert (lines["default"]["queued"], lines["default"]["free_slots"], lines["default"]["window"]) == (0, 1, 100)
    assert re.search(r"^gpu +1 +0 +1 +0 +100 +0 +0$", cluster.headway("queues"), re.MULTILINE)


def test_workers_are_shown(cluster: Cluster, going_on: str):
    """With what they run and when they were heard."""
    assert going_on
    (worker,) = cluster.json("workers")
    assert worker.keys() >= {"worker", "boot", "queues", "slots", "running", "last_heartbeat", "state"}
    assert (worker["worker"], worker["queues"], worker["slots"]) == ("w1", ["default"], 2)
    assert (worker["running"], worker["state"]) == (1, "online")
    assert is_time(worker["last_heartbeat"])
    assert re.search(r"^w1 +online ", cluster.headway("workers"), re.MULTILINE)


def test_cancel_ends_a_task_and_then_the_run(cluster: Cluster):
    """What runs is stopped, and why says by whom."""
    cluster.headway("trigger", "long", "--run-id", "cancelled")
    cluster.wait_for(lambda: states(cluster, "cancelled")["first"] == "running")
    cluster.headway("cancel", "cancelled", "gpu")
    assert states(cluster, "cancelled") == {"first": "running", "gpu": "cancelled", "last": "upstream_failed"}
    cluster.headway("cancel", "cancelled")
    assert cluster.wait_for_run("cancelled")["state"] == "cancelled"
    assert "Cancelled by " in cluster.json("why", "cancelled", "first")["detail"]


def test_check_reads_files_without_any_effect(cluster: Cluster, tmp_path: Path):
    """Each DAG with its file and how many tasks it has; each fault with its line."""
    (tmp_path / "wrong.py").write_text(WRONG)
    found = json.loads(
        cluster.headway("check", str(cluster.dags / "sales.py"), str(tmp_path / "wrong.py"), "--json", exit_code=1)
    )
    assert found[0] == {"dag_id": "sales", "file": f"{cluster.dags}/sales.py", "tasks": 2, "errors": []}
    assert (found[1]["dag_id"], found[1]["errors"][0]["line"]) == ("wrong", 4)
    assert "wrong" not in {dag["dag_id"] for dag in cluster.json("dags")}


def test_a_workflow_is_imported(cluster: Cluster, tmp_path: Path):
    """Into a file that check finds right; the DAG's id is the file's name made legal."""
    tasks = [
        {"id": "a#1", "name": "a", "parents": [], "children": ["b"]},
        {"id": "b", "name": "b", "parents": ["a#1"], "children": []},
    ]
    trace = {"name": "t", "schemaVersion": "1.5", "workflow": {"specification": {"tasks": tasks}}}
    (tmp_path / "my trace.json").write_text(json.dumps(trace))
    document = cluster.headway("import", "wfformat", str(tmp_path / "my trace.json"), "--runtime", "0")
    out = tmp_path / "t.dag.json"
    cluster.headway("import", "wfformat", str(tmp_path / "my trace.json"), "--runtime", "0", "-o", str(out))
    assert out.read_text() == document
    (entry,) = json.loads(cluster.headway("check", str(out), "--json"))
    assert (entry["dag_id"], entry["tasks"], entry["errors"]) == ("my_trace", 2, [])


def test_the_record_gives_the_state(cluster: Cluster, sold: str, failed: str):
    """For one run and for all of them."""
    assert cluster.json("audit") == []
    assert "exactly" in cluster.headway("audit", sold)
    assert cluster.json("audit", failed) == []


def test_a_scheduler_that_is_away_decides_later(cluster: Cluster):
    """The command says so and exits 1; what it asked for is not lost."""
    cluster.services["scheduler"].terminate()
    (cluster.dags / "later.py").write_text(SALES.replace('"sales"', '"later"'))
    cluster.headway("trigger", "sales", "--run-id", "later", exit_code=1)
    cluster.headway("dags", "sync", exit_code=1)
    cluster.start_scheduler()
    assert cluster.wait_for_run("later")["state"] == "success"
    cluster.wait_for(lambda: "later" in {dag["dag_id"] for dag in cluster.json("dags")})
