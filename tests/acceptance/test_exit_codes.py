"""What tasks say by their exit codes, by a real scheduler and a real worker of one slot: above all "not yet"."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster
from servers import PostgreSQL, RabbitMQ

POLLING = """\
from headway import DAG, argv, shell

POLL = '''
echo "poll $HEADWAY_POLL of try $HEADWAY_TRY"
[ -e "$FOUND" ] && [ "$HEADWAY_POLL" -ge 3 ] || exit 75
echo '{{"rows": 7}}' > $HEADWAY_OUTPUT
'''

with DAG("polling", defaults={{"env": {{"FOUND": "{found}"}}}}) as dag:
    wait = shell("wait", POLL, priority=9, poll_every="500ms", poll_timeout="2m")
    shell("meanwhile", 'touch "$FOUND"')
    argv("load", ["test", wait.output["rows"], "-eq", "7"])

with DAG("waiting") as waiting:
    shell("wait", "echo still waiting; exit 75", poll_every="1h") >> shell("after", "true")
"""
CODES = """\
from headway import DAG, shell

with DAG("codes", defaults={"retries": 1, "retry_delay": "10ms"}) as dag:
    shell("skips", "exit 99") >> shell("skipped", "true")
    shell("retried", "exit 3")
    shell("final", "exit 4", exit_codes={4: "fail"})
    shell("named", "exit 5", retry_on=[3, "signal"])
    shell("killed", "kill -9 $$", retry_on=[3, "signal"])
    shell("fine", "echo 1 > $HEADWAY_OUTPUT; exit 6", exit_codes={6: "success"})
"""
WRONG = """\
dag_id: wrong
tasks:
  - task_id: a
    shell: exit 75
    poll_timeout: 1h
  - task_id: b
    shell: exit 3
    exit_codes: {"3": ignore}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, postgresql: PostgreSQL) -> Iterator[Cluster]:
    """Give a scheduler, a logkeeper, and a worker of one slot whose files are not ours."""
    vhost, database = rabbitmq.create_vhost(), postgresql.create_database()
    home = tmp_path_factory.mktemp("home")
    with Cluster(home, rabbitmq.url(vhost), postgresql.url(database)) as cluster:
        cluster.start_scheduler()
        cluster.start_logkeeper()
        cluster.start_worker("w1", slots=1, HEADWAY_HOME=str(tmp_path_factory.mktemp("away")))
        cluster.sync(("polling.py", POLLING.format(found=home / "found")), ("codes.py", CODES))
        yield cluster
    rabbitmq.delete_vhost(vhost)
    postgresql.drop_database(database)


def tasks_of(run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the tasks of a run by id."""
    return {task["task_id"]: task for task in run["tasks"]}


def test_a_poller_holds_no_slot_between_its_polls(cluster: Cluster):
    """On the only slot it is asked three times, and what it waits for is made there in between."""
    run_id = cluster.headway("trigger", "polling", "--wait").splitlines()[0]
    tasks = tasks_of(cluster.json("runs", "show", run_id))
    assert {name: task["state"] for name, task in tasks.items()} == dict.fromkeys(tasks, "success")
    (polls,) = tasks["wait"]["attempts"]
    assert (polls["try"], polls["polls"], polls["exit_code"], polls["worker"]) == (1, 3, 0, "w1")
    (meanwhile,) = tasks["meanwhile"]["attempts"]
    assert meanwhile["finished_at"] < polls["started_at"]
    kinds = [event["kind"] for event in cluster.json("events", run_id) if event["task_id"] == "wait"]
    assert [kinds.count(kind) for kind in ("started", "finished", "task_timer")] == [3, 3, 2]
    shown = "".join(f"poll {number} of try 1\n" for number in (1, 2, 3))
    cluster.wait_for(lambda: cluster.headway("logs", run_id, "wait") == shown)
    assert cluster.headway("logs", run_id, "wait", "-f") == shown
    cluster.headway("audit", run_id)


def test_a_poller_that_rests_says_why_and_can_be_cancelled(cluster: Cluster):
    """It waits for its timer and for nobody else; a cancel ends it at once."""
    run_id = cluster.headway("trigger", "waiting").splitlines()[0]
    cluster.wait_for(lambda: cluster.json("why", run_id, "wait")["state"] == "up_for_reschedule")
    told = cluster.json("why", run_id, "wait")
    assert told["reason"] == "poll"
    assert "Poll 1 of attempt 1 said 'not yet', on worker w1" in told["detail"]
    assert "It holds no slot until it is asked again. Its next poll is due in " in told["detail"]
    assert [worker["running"] for worker in cluster.json("workers")] == [0]
    cluster.headway("cancel", run_id)
    tasks = tasks_of(cluster.wait_for_run(run_id))
    assert {name: task["state"] for name, task in tasks.items()} == {"wait": "cancelled", "after": "cancelled"}
    assert [attempt["state"] for attempt in tasks["wait"]["attempts"]] == ["cancelled"]
    cluster.headway("audit", run_id)


def test_exit_codes_decide(cluster: Cluster):
    """Success, skip, a failure that is tried again, and one that is not: state, reason and number of tries."""
    run_id = cluster.headway("trigger", "codes", "--wait", exit_code=1).splitlines()[0]
    tasks = tasks_of(cluster.json("runs", "show", run_id))
    assert {name: (task["state"], task["reason"], len(task["attempts"])) for name, task in tasks.items()} == {
        "skips": ("skipped", "exit_code", 1),
        "skipped": ("skipped", "skipped_by_rule", 0),
        "retried": ("failed", "exit_code", 2),
        "final": ("failed", "exit_code", 1),
        "named": ("failed", "exit_code", 1),
        "killed": ("failed", "signal", 2),
        "fine": ("success", None, 1),
    }
    assert "Its exit_codes say that 4 is final." in cluster.json("why", run_id, "final")["detail"]
    assert "Its retry_on does not name exit code 5." in cluster.json("why", run_id, "named")["detail"]
    cluster.headway("audit", run_id)


def test_a_table_that_means_nothing_is_refused(cluster: Cluster, tmp_path: Path):
    """By check, with its line."""
    file = tmp_path / "wrong.dag.yaml"
    file.write_text(WRONG)
    (checked,) = json.loads(cluster.headway("check", str(file), "--json", exit_code=1))
    assert [error["line"] for error in checked["errors"]] == [8]
    file.write_text(WRONG.replace("ignore", "skip"))
    (checked,) = json.loads(cluster.headway("check", str(file), "--json", exit_code=1))
    assert [error["message"] for error in checked["errors"]] == [
        "task 'a': it says poll_timeout without poll_every, how often to ask"
    ]
