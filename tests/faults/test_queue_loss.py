"""Somebody purges or deletes a task queue in RabbitMQ's management: neither is reported, and both are found and mended.

What really ran is judged from a file that the tasks append to.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from brokers import Listener
from brokers.rabbit import vhost_of
from cluster import Cluster
from headway.broker.connecting import connect
from headway.broker.port import QueueDepth
from headway.protocol.names import QueueName
from headway.protocol.topology import task_queue_name
from processes import wait_for_lines
from servers import RabbitMQ

TASKS, SLOTS = 500, 4
QUEUED = TASKS - 2 * SLOTS
"""Those that no worker has in hand, while its slots are taken."""

MENDED_SECONDS_MAX = 90
LOST = task_queue_name(QueueName("io"))


def wide_dag(notes: Path, go: Path) -> str:
    """Return a DAG of tasks that all are ready at once, note that they run, and end once `go` is there."""
    command = {
        "shell": f'echo "$HEADWAY_TASK_ID" >> "$NOTES"; until [ -e {go} ]; do sleep 0.1; done',
        "env": {"NOTES": str(notes)},
        "queue": "io",
    }
    return json.dumps({"dag_id": "wide", "tasks": [{"task_id": f"t{number}"} | command for number in range(TASKS)]})


@contextmanager
def looking(url: str) -> Iterator[Callable[[], int]]:
    """Give a look at how many messages the queue holds."""
    heard = Listener()
    broker = connect(url, name="headway test", sink=heard)
    broker.open()
    heard.connected()

    def ready() -> int:
        asked = len(heard.all_of(QueueDepth)) + 1
        broker.measure(LOST)
        return heard.wait_for(QueueDepth, count=asked)[-1].ready or 0

    yield ready
    broker.close(timeout_seconds=5)


@pytest.mark.parametrize("ending", ["/contents", ""], ids=["purged", "deleted"])
def test_the_tasks_of_a_lost_queue_are_published_again(
    ending: str, tmp_path: Path, rabbitmq: RabbitMQ, fresh_vhost: str, fresh_database: str
) -> None:
    """500 queued tasks end in success within 90 seconds, each having run once, and the record says what happened."""
    notes, go = tmp_path / "notes", tmp_path / "go"
    (tmp_path / "headway.toml").write_text(f"[queues.io]\nwindow = {TASKS}\n")
    with Cluster(tmp_path, fresh_vhost, fresh_database) as cluster, looking(fresh_vhost) as ready:
        cluster.start_scheduler()
        cluster.start_worker("w1", queue="io", slots=SLOTS)
        cluster.sync(("wide.dag.json", wide_dag(notes, go)))
        run_id = cluster.headway("trigger", "wide").splitlines()[0]
        wait_for_lines(notes, SLOTS)
        cluster.wait_for(lambda: ready() >= QUEUED)
        rabbitmq.api("DELETE", f"/queues/{vhost_of(fresh_vhost)}/{LOST}{ending}")
        go.touch()
        run = cluster.wait_for_run(run_id, seconds=MENDED_SECONDS_MAX)
        assert run["state"] == "success"
        assert Counter(notes.read_text().splitlines()) == {f"t{number}": 1 for number in range(TASKS)}
        assert all(len(task["attempts"]) == 1 for task in run["tasks"])
        kinds = Counter((event["kind"], event["verdict"]) for event in cluster.json("events", run_id))
        assert kinds["missing", "applied"] >= QUEUED, kinds
