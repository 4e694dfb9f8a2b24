"""Functions as an author writes them, by a real scheduler and a real worker, and what is said when they cannot run."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster
from servers import PostgreSQL, RabbitMQ

COUNT = """\
from headway import DAG, python, shell
from shop import prices


def count(rows: list, *, limit: int = 10) -> dict:
    print("counting", len(rows), "rows")
    return {"n": min(len(rows), limit)}


def fail(rows):
    raise ValueError(f"no price for {rows['n']} rows")


with DAG("count") as dag:
    extract = shell("extract", "echo '[[1, 2], [3]]' > $HEADWAY_OUTPUT")
    counted = python("count", count, args=[extract.output], kwargs={"limit": 5})
    python("price", prices.price, args=[{"rows": counted.output["n"]}])
    python("named", "shop.prices:price", args=[{"rows": counted.output["n"]}])

with DAG("broken") as broken:
    python("bad", fail, args=[{"n": 3}])
"""
PRICES = "def price(order):\n    return order['rows'] * 10\n"
CHANGING = """\
from headway import DAG, python, shell


def last():
    return "{text}"


with DAG("changing") as dag:
    shell("first", "read < $END", env={{"END": "{end}"}}) >> python("last", last)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, postgresql: PostgreSQL) -> Iterator[Cluster]:
    """Give a scheduler and a worker, and a folder of DAG files that is also the worker's."""
    vhost, database = rabbitmq.create_vhost(), postgresql.create_database()
    home = tmp_path_factory.mktemp("home")
    with Cluster(home, rabbitmq.url(vhost), postgresql.url(database)) as cluster:
        cluster.start_scheduler()
        cluster.start_worker("w1", slots=2)
        (cluster.dags / "shop").mkdir()
        (cluster.dags / "shop/__init__.py").write_text("")
        (cluster.dags / "shop/prices.py").write_text(PRICES)
        cluster.sync(("count.py", COUNT))
        yield cluster
    rabbitmq.delete_vhost(vhost)
    postgresql.drop_database(database)


def test_functions_run_and_hand_over_what_they_return(cluster: Cluster):
    """Of the DAG file itself and of a package beside it, by name and by themselves."""
    run_id = cluster.headway("trigger", "count", "--wait").splitlines()[0]
    assert {task["state"] for task in cluster.json("runs", "show", run_id)["tasks"]} == {"success"}
    assert "counting 2 rows" in cluster.headway("logs", run_id, "count")


def test_a_failure_shows_the_authors_lines(cluster: Cluster):
    """`why` ends with the traceback, of which no line is ours."""
    run_id = cluster.headway("trigger", "broken", "--wait", exit_code=1).splitlines()[0]
    told = cluster.headway("why", run_id, "bad")
    assert "failed with exit code 1" in told
    assert f'File "{cluster.dags}/count.py", line 11, in fail' in told
    assert told.rstrip().endswith("ValueError: no price for 3 rows")
    assert "template.py" not in told


def test_a_file_that_changes_while_it_runs_is_refused(cluster: Cluster, tmp_path: Path):
    """The run stays on its version, which the worker no longer has: `why` says so, and the next run goes well."""
    end = tmp_path / "end"
    os.mkfifo(end)
    cluster.sync(("changing.py", CHANGING.format(text="old", end=end)))
    run_id = cluster.headway("trigger", "changing").splitlines()[0]
    cluster.wait_for(lambda: cluster.json("runs", "show", run_id)["tasks"][0]["state"] == "running")
    cluster.sync(("changing.py", CHANGING.format(text="new", end=end)))
    end.write_text("now\n")
    cluster.wait_for(lambda: cluster.json("runs", "show", run_id)["state"] == "failed")
    told = cluster.json("why", run_id, "last")
    assert told["reason"] == "refused"
    assert "was refused: file changing.py is not on this worker as the DAG version wants it" in told["detail"]
    assert "Bring scheduler and worker to the same code" in told["detail"]
    again = cluster.headway("trigger", "changing").splitlines()[0]
    end.write_text("now\n")
    cluster.wait_for(lambda: cluster.json("runs", "show", again)["state"] == "success")


def test_check_says_what_no_worker_could_call(cluster: Cluster, tmp_path: Path):
    """In one sentence, at its line."""
    path = tmp_path / "bad.py"
    path.write_text("from headway import DAG, python\n\nwith DAG('bad') as dag:\n    python('a', lambda: None)\n")
    said = cluster.headway("check", str(path), exit_code=1)
    assert said.startswith(f"{path}:4: task 'a': no worker can find '<lambda>' by its name: python() takes a function")
    assert len(said.splitlines()) == 1
