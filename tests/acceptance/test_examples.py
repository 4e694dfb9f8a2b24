"""Every example, in one process and on RabbitMQ and PostgreSQL: the same file, the same end."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditing import assert_audited
from cluster import Cluster, states

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(path for path in EXAMPLES.iterdir() if path.name.endswith((".py", ".dag.json", ".dag.yaml")))
ENDS = {"flaky": "failed"}
"""Examples that are to fail; all others succeed."""


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Give a home without servers."""
    with Cluster(tmp_path_factory.mktemp("embedded")) as cluster:
        yield cluster
    assert_audited(f"sqlite:///{cluster.home}/headway.db")


@pytest.fixture
def distributed(tmp_path: Path, fresh_vhost: str, fresh_database: str) -> Iterator[Cluster]:
    """Give a scheduler and two workers, which read the examples where they are."""
    with Cluster(tmp_path, fresh_vhost, fresh_database, HEADWAY_DAGS=str(EXAMPLES)) as cluster:
        cluster.start_scheduler()
        cluster.start_worker("w1")
        cluster.start_worker("w2")
        cluster.headway("dags", "sync")
        yield cluster


def run_embedded(home: Cluster, file: Path) -> dict[str, Any]:
    """Run an example to its end."""
    name = file.name.split(".")[0]
    code = int(name in ENDS)
    run: dict[str, Any] = json.loads(home.headway("run", str(file), "--json", *param(home, name), exit_code=code))
    return run


def param(home: Cluster, name: str) -> tuple[str, ...]:
    """Return the parameters that let an example write where the test may."""
    return ("--param", f"out={home.home}/{name}") if name == "penguins" else ()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_an_example_runs_in_one_process(embedded: Cluster, file: Path) -> None:
    """To the end that its first lines promise."""
    run = run_embedded(embedded, file)
    assert run["state"] == ENDS.get(run["dag_id"], "success")


def test_the_report_of_the_penguins_is_right(embedded: Cluster) -> None:
    """344 birds, of which 333 were measured in full; the heaviest are the Gentoo."""
    run = run_embedded(embedded, EXAMPLES / "penguins.py")
    printed = embedded.headway("logs", run["run_id"], "report")
    assert printed == (embedded.home / "penguins/report.md").read_text()
    assert printed.startswith("# 333 penguins (11 more were not measured in full)\n")
    assert "| Gentoo | 119 | 217 mm | 5092 g |" in printed


def test_each_island_has_its_task(embedded: Cluster) -> None:
    """Three of them, found in the data, and the table has a line for each in their order."""
    run = run_embedded(embedded, EXAMPLES / "islands.py")
    found = {(task["task_id"], task["map_index"]): task["state"] for task in run["tasks"]}
    assert {key: found[key] for key in found if key[0] == "weigh"} == {("weigh", n): "success" for n in range(-1, 3)}
    assert embedded.headway("logs", run["run_id"], "weigh[2]") == "51 birds of Torgersen were weighed\n"
    printed = embedded.headway("logs", run["run_id"], "table").splitlines()
    assert [line.split() for line in printed] == [
        ["Biscoe", "168", "birds", "4716", "g"],
        ["Dream", "124", "birds", "3713", "g"],
        ["Torgersen", "52", "birds", "3706", "g"],
    ]


def test_the_examples_end_alike_on_servers(embedded: Cluster, distributed: Cluster) -> None:
    """The same files, by a scheduler and two workers on RabbitMQ and PostgreSQL."""
    for file in FILES:
        here = run_embedded(embedded, file)
        words = ("trigger", here["dag_id"], *param(distributed, here["dag_id"]), "--wait")
        run_id = distributed.headway(*words, exit_code=int(here["state"] != "success")).splitlines()[0]
        there = distributed.json("runs", "show", run_id)
        assert (there["state"], states(there)) == (here["state"], states(here)), file
    distributed.headway("audit")
