"""`headway logs` as a user types it, on another machine than the worker's: what a logkeeper has stored, and secrets."""

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from cluster import HEADWAY, Cluster
from headway.scheduler.store import tables as t
from headway.scheduler.store.engine import make_engine
from servers import PostgreSQL, RabbitMQ

DAGS = """\
from headway import DAG, shell

with DAG("words") as words:
    shell("many", "seq 1 40000")
    shell("none", "true")

with DAG("again") as again:
    shell("flaky", 'echo "this is $HEADWAY_TRY"; sleep 1; test $HEADWAY_TRY = 2', retries=1, retry_delay="1s")

with DAG("endless") as endless:
    shell("tick", "while true; do echo tick; sleep 0.2; done")

with DAG("held") as held:
    first = shell("first", "sleep 2")
    second = shell("second", "echo at last")
    first >> second

with DAG("secretive") as secretive:
    tell = 'echo "the password is $db_password"; test ${#db_password} = 13'
    told = shell("told", tell, secrets=["db_password"])
    missing = shell("missing", "true", secrets=["db_pasword"], infra_retries=0)
"""
SECRET = "hunter-twelve"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, postgresql: PostgreSQL) -> Iterator[Cluster]:
    """Give a scheduler, a logkeeper, and a worker with a home and secrets of its own."""
    vhost, database = rabbitmq.create_vhost(), postgresql.create_database()
    home = tmp_path_factory.mktemp("home")
    (home / "secrets").mkdir()
    (home / "secrets/db_password").write_text(f"{SECRET}\n")
    settings = {"HEADWAY_HOME": str(home / "worker"), "HEADWAY_SECRETS": str(home / "secrets")}
    with Cluster(home, rabbitmq.url(vhost), postgresql.url(database)) as cluster:
        cluster.start_scheduler()
        cluster.start_logkeeper()
        cluster.start_worker("w1", **settings)
        cluster.sync(("dags.py", DAGS))
        cluster.wait_for(lambda: bool(cluster.json("workers")))
        yield cluster
    rabbitmq.delete_vhost(vhost)
    postgresql.drop_database(database)


def run(cluster: Cluster, dag: str, *words: str, exit_code: int = 0) -> str:
    """Start a run and return its id, with `--wait` when it has ended."""
    return cluster.headway("trigger", dag, *words, exit_code=exit_code).splitlines()[0]


def logs(cluster: Cluster, *words: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Ask for output, from the home of the commands or another."""
    env = cluster.env | ({"HEADWAY_HOME": str(home)} if home else {})
    return subprocess.run([HEADWAY, "logs", *words], env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def worded(cluster: Cluster) -> str:
    """Give the id of a run whose tasks wrote much and nothing, all of it stored."""
    run_id = run(cluster, "words", "--wait")
    assert logs(cluster, run_id, "many", "--follow").returncode == 0
    return run_id


def test_the_whole_output_is_shown_elsewhere(cluster: Cluster, worded: str):
    """As the worker's file has it, and nothing is said beside it."""
    elsewhere, there = (logs(cluster, worded, "many", home=home) for home in (None, cluster.home / "worker"))
    assert elsewhere.stdout == "".join(f"{number}\n" for number in range(1, 40001))
    assert (there.stdout, there.stderr, elsewhere.stderr) == (elsewhere.stdout, "", "")


def test_of_a_task_that_wrote_nothing_there_is_nothing(cluster: Cluster, worded: str):
    """Which is said, as is where its empty file is; to follow it ends at once."""
    done = logs(cluster, worded, "none")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no output of it is stored: its whole output is on host " in done.stderr
    assert logs(cluster, worded, "none", "-f").stdout == ""


def test_what_is_missing_is_shown_as_such(cluster: Cluster, worded: str):
    """In its place; a missing end is told on stderr."""
    engine = make_engine(cluster.env["HEADWAY_DATABASE_URL"])
    c = t.log_chunks.c
    with engine.begin() as connection:
        places = list(connection.scalars(select(c.offset).where(c.run_id == worded).order_by(c.offset)))
        connection.execute(delete(t.log_chunks).where(c.run_id == worded, c.offset.in_([places[1], places[-1]])))
    done = logs(cluster, worded, "many")
    assert re.search(rf"^\[\.\.\. {places[2] - places[1]} bytes missing \.\.\.\]$", done.stdout, re.MULTILINE)
    assert "the end of its output is not stored" in done.stderr
    followed = logs(cluster, worded, "many", "-f")
    assert followed.stdout.endswith("\n40000\n")
    assert "The end of what attempt 1 wrote is not stored." in followed.stderr
    engine.dispose()


def test_a_task_is_followed_through_its_retries(cluster: Cluster):
    """From before it began until it has ended, try by try."""
    done = logs(cluster, run(cluster, "again"), "flaky", "-f")
    assert (done.returncode, done.stdout) == (0, "this is 1\nthis is 2\n")
    assert done.stderr == "Attempt 2:\n"


def test_one_attempt_is_followed_to_its_end(cluster: Cluster):
    """And no other."""
    run_id = run(cluster, "again", "--wait")
    assert logs(cluster, run_id, "flaky", "-f", "--try", "1").stdout == "this is 1\n"
    assert logs(cluster, run_id, "flaky", "--try", "2").stdout == "this is 2\n"


def test_a_task_that_waits_is_waited_for(cluster: Cluster):
    """On its worker's machine, too, where the file is not there yet."""
    run_id = run(cluster, "held")
    done = logs(cluster, run_id, "second", "-f", home=cluster.home / "worker")
    assert (done.stdout, done.stderr) == ("at last\n", "")


def test_a_task_that_never_runs_is_not_waited_for(cluster: Cluster):
    """Its upstream was cancelled."""
    run_id = run(cluster, "held")
    cluster.headway("cancel", run_id)
    assert logs(cluster, run_id, "second", "-f").returncode == 0


def test_following_ends_with_ctrl_c(cluster: Cluster):
    """Quietly, with the exit code of every shell; what came until then was shown."""
    run_id = run(cluster, "endless")
    words = [HEADWAY, "logs", run_id, "tick", "-f"]
    with subprocess.Popen(words, env=cluster.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"tick\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, b"\n")  # click ends the line that holds ^C
    assert set(logs(cluster, run_id, "tick").stdout.splitlines()) == {"tick"}
    cluster.headway("cancel", run_id)


def test_a_secret_reaches_its_task_and_nobody_else(cluster: Cluster):
    """It is masked in what is stored, in the last lines, and in what is shown on the worker's machine."""
    run_id = run(cluster, "secretive", "--wait", exit_code=1)
    for home in (None, cluster.home / "worker"):
        done = logs(cluster, run_id, "told", "-f", home=home)
        assert (done.stdout, done.stderr) == ("the password is ***\n", "")
    shown = cluster.json("runs", "show", run_id)
    assert {task["task_id"]: task["state"] for task in shown["tasks"]} == {"told": "success", "missing": "failed"}
    why = cluster.headway("why", run_id, "missing")
    assert "'db_pasword' cannot be read from" in why
    assert f"{cluster.home}/secrets/db_pasword: No such file or directory" in why
    assert SECRET not in cluster.headway("events", run_id, "--json") + why
    engine = make_engine(cluster.env["HEADWAY_DATABASE_URL"])
    with engine.connect() as connection:
        stored = [str(row) for table in t.metadata.sorted_tables for row in connection.execute(table.select())]
    engine.dispose()
    assert not [row for row in stored if SECRET in row]
