"""headway.toml as an operator writes it: for queues with limits of their own, on a real broker."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from cluster import HEADWAY, Cluster
from servers import PostgreSQL, RabbitMQ

CONFIG = """\
[worker]
heartbeat = "1s"

[queues.io]
ttl = "45s"
window = 2
"""
DAG_FILE = """\
dag_id: copy
defaults: {queue: io}
tasks:
- {task_id: a, shell: 'true'}
- {task_id: b, shell: 'true'}
- {task_id: c, shell: 'true'}
- {task_id: d, shell: 'true', queue: gpu, upstream: [a]}
"""


@pytest.fixture(scope="module")
def vhost(rabbitmq: RabbitMQ) -> Iterator[str]:
    """Give a virtual host of this module's own."""
    name = rabbitmq.create_vhost()
    yield name
    rabbitmq.delete_vhost(name)


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, vhost: str, postgresql: PostgreSQL
) -> Iterator[Cluster]:
    """Give a scheduler whose home holds a headway.toml, and a DAG for its queue."""
    database = postgresql.create_database()
    home = tmp_path_factory.mktemp("home")
    (home / "headway.toml").write_text(CONFIG)
    with Cluster(home, rabbitmq.url(vhost), postgresql.url(database)) as cluster:
        cluster.start_scheduler()
        cluster.sync(("copy.dag.yaml", DAG_FILE))
        yield cluster
    postgresql.drop_database(database)


def test_a_queue_has_the_ttl_and_the_window_of_the_file(cluster: Cluster, rabbitmq: RabbitMQ, vhost: str):
    """On the broker before any worker asks for it, and in what is published; a worker takes from it as from any."""
    path = f"/queues/{quote(vhost, safe='')}/headway.q.io"
    queue: Any = rabbitmq.api("GET", path)
    assert queue["arguments"]["x-message-ttl"] == 45_000
    cluster.headway("trigger", "copy", "--run-id", "r")
    (line,) = (line for line in cluster.json("queues") if line["queue"] == "io")
    assert (line["queued"], line["unpublished"], line["window"]) == (2, 1, 2)
    assert "2 of at most 2 tasks are published there" in cluster.json("why", "r", "c")["detail"]
    cluster.start_worker("w1", queue="io,gpu")
    assert cluster.wait_for_run("r")["state"] == "success"
    assert cluster.json("audit") == []


def test_check_tells_of_a_queue_that_does_not_stand_there(cluster: Cluster):
    """As a warning: such a queue is made when it is first used."""
    done = subprocess.run(
        [HEADWAY, "check", str(cluster.dags)], env=cluster.env, capture_output=True, text=True, check=True
    )
    place = f"{cluster.dags}/copy.dag.yaml: DAG copy, task d: queue 'gpu'"
    assert done.stderr == f"{place} is not in {cluster.home}/headway.toml; it will be made when it is first used.\n"
    assert done.stdout == f"{cluster.dags}/copy.dag.yaml: DAG copy, 4 tasks, no fault\n"


def test_a_mistake_in_the_file_is_a_sentence(cluster: Cluster, tmp_path: Path):
    """For every command alike, with exit code 2."""
    (tmp_path / "wrong.toml").write_text("[worker]\nleese = 3\n")
    env = cluster.env | {"HEADWAY_CONFIG": str(tmp_path / "wrong.toml")}
    for words in (("scheduler",), ("runs",), ("check", str(cluster.dags))):
        done = subprocess.run([HEADWAY, *words], env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"{tmp_path}/wrong.toml:2: there is no key 'worker.leese' (did you mean")
        assert done.stderr.count("\n") == 1


def test_a_password_for_everybody_is_said_at_the_start(cluster: Cluster, tmp_path: Path):
    """By each service, in its log."""
    (tmp_path / "open.toml").write_text(f'[broker]\nurl = "{cluster.env["HEADWAY_BROKER_URL"]}"\n')
    (tmp_path / "open.toml").chmod(0o644)
    env = cluster.env | {"HEADWAY_CONFIG": str(tmp_path / "open.toml"), "HEADWAY_DATABASE_URL": "nonsense"}
    done = subprocess.run([HEADWAY, "scheduler"], env=env, capture_output=True, text=True, check=False)
    assert f"{tmp_path}/open.toml holds a password, and everybody may read it" in done.stderr.splitlines()[0]
