"""Mapped tasks as an author writes them and an operator sees them, in one process and on servers."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from auditing import assert_audited
from cluster import Cluster, states
from servers import PostgreSQL, RabbitMQ

SALES = """\
from headway import DAG, argv, shell

with DAG("nightly_sales", params={"shops": '["north", "south", "east"]'}) as dag:
    extract = shell("extract", 'echo "{\\\\"parts\\\\": $HEADWAY_PARAM_shops, \\\\"day\\\\": 7}" > $HEADWAY_OUTPUT')
    parts = shell(
        "part",
        'echo "$HEADWAY_MAP_INDEX is $HEADWAY_ITEM"; test $HEADWAY_ITEM != broken; '
        'echo "{\\\\"shop\\\\": \\\\"$HEADWAY_ITEM\\\\"}" > $HEADWAY_OUTPUT',
        over=extract.output["parts"],
    )
    load = argv("load", ["echo", parts.output, extract.output["day"]])
"""
SLOW = """\
from headway import DAG, shell

with DAG("slow") as dag:
    part = shell("part", "test $HEADWAY_ITEM = 0 || read < $END", env={"END": "END_FILE"}, over=range(3))
    part >> shell("load", "true")
"""
WRONG = """\
from headway import DAG, argv, item, shell

with DAG("wrong") as dag:
    a = shell("a", "true", over=[])
    b = argv("b", ["echo", item])
    c = shell("c", "true", over=b.output[-1])
    d = shell("d", "true", over=7)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, postgresql: PostgreSQL) -> Iterator[Cluster]:
    """Give a scheduler and two workers."""
    url = postgresql.url(postgresql.create_database())
    with Cluster(tmp_path_factory.mktemp("home"), rabbitmq.url(rabbitmq.create_vhost()), url) as cluster:
        cluster.start_scheduler()
        cluster.start_worker("w1", slots=2)
        cluster.start_worker("w2", slots=2)
        cluster.sync(("sales.py", SALES))
        yield cluster
    assert_audited(url)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Give a home without servers."""
    with Cluster(tmp_path_factory.mktemp("embedded")) as cluster:
        (cluster.dags / "sales.py").write_text(SALES)
        yield cluster
    assert_audited(f"sqlite:///{cluster.home}/headway.db")


def run(where: Cluster, run_id: str, *shops: str, code: int = 0) -> dict[str, Any]:
    """Run the sales of these shops, on servers or in one process."""
    given = ("--param", f"shops={json.dumps(shops)}") if shops else ()
    if "HEADWAY_BROKER_URL" not in where.env:
        found: dict[str, Any] = json.loads(
            where.headway("run", str(where.dags / "sales.py"), *given, "--json", exit_code=code)
        )
        return found
    where.headway("trigger", "nightly_sales", "--run-id", run_id, *given, "--wait", exit_code=code)
    return dict(where.json("runs", "show", run_id))


@pytest.fixture(params=["embedded", "cluster"])
def anywhere(request: pytest.FixtureRequest) -> Cluster:
    """Give each of the two."""
    found: Cluster = request.getfixturevalue(request.param)
    return found


def test_a_task_for_each_part_and_one_that_takes_them_all_in(anywhere: Cluster) -> None:
    """From the extract's output to the load's argument, in the order of the parts."""
    made = run(anywhere, "good")
    assert states(made) == {
        "extract": ("success", 1),
        "part": ("success", 0),
        "part[0]": ("success", 1),
        "part[1]": ("success", 1),
        "part[2]": ("success", 1),
        "load": ("success", 1),
    }
    assert anywhere.headway("logs", made["run_id"], "part[1]") == "1 is south\n"
    printed = anywhere.headway("logs", made["run_id"], "load").strip()
    assert printed == '[{"shop":"north"},{"shop":"south"},{"shop":"east"}] 7'
    shown = anywhere.headway("runs", "show", made["run_id"])
    assert "3 tasks: 3 success" in shown
    assert "part[2]" in shown


def test_one_part_that_fails_fails_the_task(anywhere: Cluster) -> None:
    """The others run all the same; `why` names it."""
    made = run(anywhere, "bad", "north", "broken", "east", code=1)
    assert {name: state for name, (state, _) in states(made).items()} == {
        "extract": "success",
        "part": "failed",
        "part[0]": "success",
        "part[1]": "failed",
        "part[2]": "success",
        "load": "upstream_failed",
    }
    why = anywhere.json("why", made["run_id"], "part")
    assert why["reason"] == "instances"
    assert "1 of its 3 instances did not succeed. Without success ended part[1]." in why["detail"]
    assert anywhere.json("why", made["run_id"], "part[1]")["reason"] == "exit_code"


@pytest.mark.parametrize(
    ("shops", "state", "detail"),
    [
        ("[]", "skipped", "because there was nothing to map it over: the list is empty."),
        (
            '"north"',
            "failed",
            "Part ['parts'] of the output of task 'extract' is text, and a task is mapped over a list.",
        ),
    ],
)
def test_what_it_is_mapped_over_may_be_nothing_or_no_list(
    embedded: Cluster, shops: str, state: str, detail: str
) -> None:
    """Then there is no instance, and the task says why."""
    words = ("run", str(embedded.dags / "sales.py"), "--param", f"shops={shops}", "--json")
    made = json.loads(embedded.headway(*words, exit_code=int(state == "failed")))
    assert states(made)["part"] == (state, 0)
    assert "part[0]" not in states(made)
    assert detail in embedded.json("why", made["run_id"], "part")["detail"]


def test_an_instance_and_then_all_are_cancelled(cluster: Cluster) -> None:
    """What runs is stopped; the task ends when all have, and so does the run."""
    os.mkfifo(cluster.home / "end")
    cluster.sync(("slow.py", SLOW.replace("END_FILE", str(cluster.home / "end"))))
    cluster.headway("trigger", "slow", "--run-id", "slow-1")

    def found() -> dict[str, str]:
        return {name: state for name, (state, _) in states(cluster.json("runs", "show", "slow-1")).items()}

    cluster.wait_for(lambda: list(found().values()).count("running") == 2)
    assert found() == {
        "part": "mapped",
        "part[0]": "success",
        "part[1]": "running",
        "part[2]": "running",
        "load": "waiting",
    }
    assert "Of its 3 instances 2 are running, 1 ended as success." in cluster.json("why", "slow-1", "part")["detail"]
    cluster.headway("cancel", "slow-1", "part[9]", exit_code=2)
    cluster.headway("cancel", "slow-1", "part[1]")
    cluster.wait_for(lambda: found()["part[1]"] == "cancelled")
    assert (found()["part"], found()["part[2]"]) == ("mapped", "running")
    cluster.headway("cancel", "slow-1", "part")
    cluster.wait_for_run("slow-1")
    assert found() == {
        "part": "cancelled",
        "part[0]": "success",
        "part[1]": "cancelled",
        "part[2]": "cancelled",
        "load": "upstream_failed",
    }


def test_what_cannot_be_mapped_is_refused_by_check(embedded: Cluster) -> None:
    """With file and line, all at once; a value of the wrong type stops the file."""
    (embedded.dags / "wrong.py").write_text(WRONG)
    found = embedded.headway("check", str(embedded.dags / "wrong.py"), exit_code=1)
    assert "wrong.py:7: task 'd': over: expected an output or a list or nothing, got a whole number" in found
    (embedded.dags / "wrong.py").write_text("".join(WRONG.splitlines(keepends=True)[:-1]))
    found = embedded.headway("check", str(embedded.dags / "wrong.py"), exit_code=1)
    assert "wrong.py:4: task 'a': it is mapped over a list of 0 items, and may be over 1 to 10000" in found
    assert "wrong.py:5: task 'b': it takes an item, and only a task with `over` has one" in found
    assert "wrong.py:6: task 'c': the path [-1] into the output of 'b' counts from the end: count from 0" in found
