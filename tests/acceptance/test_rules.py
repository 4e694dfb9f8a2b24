"""Trigger rules, branches, setups, teardowns and groups, by `headway run` of a file as an author writes it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster

NIGHTLY = """\
from headway import DAG, group, python, shell


def choose(rows):
    return "quick" if rows < 10 else ["full"]


def nothing():
    return None


with DAG("nightly") as dag:
    made = shell("make", "echo made >> $NOTES; echo 3 > $HEADWAY_OUTPUT", setup=True, env={"NOTES": "NOTES_FILE"})
    gone = shell("drop", "echo gone >> $NOTES; exit 7", teardown=True, env={"NOTES": "NOTES_FILE"})
    pick = python("pick", choose, args=[made.output], branch=True)
    full = shell("full", "true")
    with group("quick") as quick:
        load = shell("load", "exit 1")
        with group("checks") as checks:
            shell("count", "true")
        load >> checks
    mend = shell("mend", "true", trigger_rule="one_failed")
    report = shell("report", "true", trigger_rule="none_failed_min_one_success")
    note = shell("note", "true", trigger_rule="all_done")
    early = shell("early", "true", trigger_rule="always")
    stop = python("stop", nothing, branch=True)
    made >> pick >> [full, quick]
    load >> mend
    [full, quick] >> report >> note >> gone
    note >> early
    made >> gone
    stop >> shell("stopped", "true") >> shell("behind", "true") >> shell("end", "true", trigger_rule="all_done")
"""
STATES = {
    "make": "success",
    "pick": "success",
    "full": "skipped",
    "quick.load": "failed",
    "quick.checks.count": "upstream_failed",
    "mend": "success",
    "report": "upstream_failed",
    "note": "success",
    "early": "success",
    "drop": "failed",
    "stop": "success",
    "stopped": "skipped",
    "behind": "skipped",
    "end": "success",
}
SHORT = """\
dag_id: short
tasks:
  - {task_id: any_news, shell: 'echo false > $HEADWAY_OUTPUT', branch: true}
  - {task_id: load, shell: 'true', upstream: [any_news]}
  - {task_id: tidy, shell: 'true', upstream: [load], trigger_rule: none_failed}
"""
ASTRAY = """\
dag_id: astray
tasks:
  - {task_id: pick, shell: 'echo ''"zzz"'' > $HEADWAY_OUTPUT', branch: true}
  - {task_id: here, shell: 'true', upstream: [pick]}
"""
BAD = """\
from headway import DAG, group, shell

with DAG("bad") as dag:
    shell("a", "true", teardown=True, trigger_rule="all_done")
    shell("b", "true", setup=True, branch=True)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Cluster]:
    """Give a home without servers."""
    with Cluster(tmp_path) as cluster:
        yield cluster


def run(home: Cluster, name: str, text: str, *, exit_code: int) -> dict[str, object]:
    """Run a file to its end and return what is shown of the run."""
    file = home.home / name
    file.write_text(text)
    shown = json.loads(home.headway("run", str(file), "--json", exit_code=exit_code))
    home.headway("audit", shown["run_id"])
    return shown


def states(shown: dict) -> dict[str, str]:
    """Return the states of a run's tasks."""
    return {task["task_id"]: task["state"] for task in shown["tasks"]}


def test_a_dag_with_all_of_it_ends_as_its_rules_say(home: Cluster) -> None:
    """The work failed and is a leaf's upstream; what was set up is taken down, which fails and decides nothing."""
    notes = home.home / "notes"
    shown = run(home, "nightly.py", NIGHTLY.replace("NOTES_FILE", str(notes)), exit_code=0)
    assert states(shown) == STATES
    assert shown["state"] == "success"
    assert notes.read_text() == "made\ngone\n"
    why = home.json("why", shown["run_id"], "full")
    assert (why["state"], why["reason"]) == ("skipped", "not_chosen")
    assert "branch pick chose other ways" in why["detail"]
    why = home.json("why", shown["run_id"], "behind")
    assert (why["reason"], "upstream task stopped ended as skipped" in why["detail"]) == ("skipped_by_rule", True)
    why = home.json("why", shown["run_id"], "report")
    assert "and the trigger rule is none_failed_min_one_success" in why["detail"]


def test_a_short_circuit_of_a_document_leaves_the_rules_alone(home: Cluster) -> None:
    """The same words as in Python."""
    shown = run(home, "short.dag.yaml", SHORT, exit_code=0)
    assert states(shown) == {"any_news": "success", "load": "skipped", "tidy": "success"}


def test_a_branch_that_goes_astray_fails_with_the_sentence(home: Cluster) -> None:
    """It says what there was to choose from."""
    shown = run(home, "astray.dag.yaml", ASTRAY, exit_code=1)
    assert states(shown) == {"pick": "failed", "here": "upstream_failed"}
    why = home.json("why", shown["run_id"], "pick")
    assert why["reason"] == "bad_output"
    assert "it chose 'zzz', which is not directly downstream; there are: here" in why["detail"]


def test_what_cannot_be_is_refused_by_check(home: Cluster) -> None:
    """With the line of the task."""
    file = home.home / "bad.py"
    file.write_text(BAD)
    printed = home.headway("check", str(file), exit_code=1)
    assert f"{file}:4: task 'a': its trigger_rule is 'all_done', and that of a teardown is always" in printed
    assert f"{file}:5: task 'b': it is a branch and a setup: make two tasks" in printed
