"""WfFormat: traces of real workflows become DAGs of the same shape."""

import os
from pathlib import Path

import msgspec
import pytest

from headway.cli.wfformat import import_wfformat
from headway.protocol.document import read_document, to_document
from headway.protocol.errors import InvalidDag
from headway.protocol.validation import validate

TRACES = Path(os.environ.get("HEADWAY_WFINSTANCES", Path(__file__).parents[3] / "../shared/wfinstances"))
SIZES = {
    "1000genome-chameleon-12ch-100k-001": (312, 456),
    "bwa-chameleon-large-001": (1004, 4000),
    "bwa-chameleon-small-001": (104, 400),
    "helloworld-chain-5-chameleon": (5, 4),
    "helloworld-forkjoin-10-chameleon": (10, 16),
    "montage-chameleon-dss-075d-001": (178, 444),
    "rnaseq-dirt02-001": (197, 451),
}


def trace(*tasks, seconds=None, version="1.5"):
    """Return a trace of tasks given as (id, parents, children)."""
    specified = [{"id": name, "parents": parents, "children": children} for name, parents, children in tasks]
    executed = [{"id": name, "runtimeInSeconds": value} for name, value in (seconds or {}).items()]
    workflow = {"specification": {"tasks": specified}, "execution": {"tasks": executed}}
    return msgspec.json.encode({"name": "Montage", "schemaVersion": version, "workflow": workflow})


def imported(body, name="w.json", factor=0.0):
    """Return command and upstream of each task."""
    dag = import_wfformat(body, name=name, runtime_factor=factor)
    assert validate(dag) == ()
    return {task.task_id: (task.command.args, task.upstream) for task in dag.tasks}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("factor", [0.0, 0.001])
def test_real_traces_import(name, factor):
    """All tasks and edges are there, the DAG is legal, and its file reads back."""
    path = TRACES / f"{name}.json"
    if not path.exists():
        pytest.skip(f"there is no {path.name} in {TRACES}: set HEADWAY_WFINSTANCES to a folder of WfInstances")
    dag = import_wfformat(path.read_bytes(), name=path.name, runtime_factor=factor)
    assert dag.dag_id == name
    assert (len(dag.tasks), sum(len(task.upstream) for task in dag.tasks)) == SIZES[name]
    assert {task.command.args[0] for task in dag.tasks} == {"sleep" if factor else "true"}
    assert validate(dag) == ()
    assert read_document(to_document(dag)).dag == dag


def test_tasks_sleep_their_share():
    """Microseconds are enough, and no exponent reaches `sleep`."""
    body = trace(
        ("a", [], []), ("b", [], []), ("c", [], []), ("d", [], []), seconds={"a": 1234.5, "b": 0.00001, "c": 2000}
    )
    commands = {name: args for name, (args, _) in imported(body, factor=0.001).items()}
    assert commands == {"a": ("sleep", "1.2345"), "b": ("sleep", "0"), "c": ("sleep", "2"), "d": ("sleep", "0")}


def test_without_runtime_tasks_do_nothing():
    """Factor 0 is for measuring the scheduler alone."""
    assert imported(trace(("a", [], []), seconds={"a": 5.0}))["a"][0] == ("true",)


def test_either_end_of_an_edge_may_name_it():
    """Parents and children that say the same make one edge."""
    body = trace(("a", [], ["b"]), ("b", ["a"], ["c"]), ("c", [], []), ("d", ["c"], []))
    assert {name: upstream for name, (_, upstream) in imported(body).items()} == {
        "a": (), "b": ("a",), "c": ("b",), "d": ("c",),
    }  # fmt: skip


def test_illegal_ids_become_legal_and_stay_apart():
    """Legal ones keep their name, whoever comes first."""
    body = trace(("a b", [], []), ("a/b", ["a b"], []), ("a_b", ["a/b"], []), ("-x", [], []), ("é" * 300, [], []))
    assert {name: upstream for name, (_, upstream) in imported(body).items()} == {
        "a_b_2": (), "a_b_3": ("a_b_2",), "a_b": ("a_b_3",), "_x": (), "_" * 200: (),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "dag_id"),
    [
        ("a/b/My flow.json", "My_flow"),
        (".json", "_"),
        ("x.wfformat.json", "x.wfformat"),
        ("-a", "_a"),
        ("n" * 300, "n" * 200),
    ],
)
def test_the_dag_is_called_after_its_file(name, dag_id):
    """Its folder and suffix are no part of the name."""
    assert import_wfformat(trace(("a", [], [])), name=name, runtime_factor=0).dag_id == dag_id


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not a workflow in WfFormat 1.5: Input data was truncated"),
        (b"\xff", "not a workflow in WfFormat 1.5: "),
        (b'{"schemaVersion": "1.5"}', "missing required field `workflow`"),
        (trace(version="1.4"), "WfFormat '1.4' is not read here, only 1.5"),
        (trace(("a", [], []), ("a", [], [])), "uses a task id twice"),
        (trace(("a", ["b"], [])), "task 'a' of the workflow has a neighbour 'b' that is no task"),
        (trace(("a", [], ["b"])), "task 'a' of the workflow has a neighbour 'b' that is no task"),
    ],
)
def test_what_is_no_workflow_is_refused(body, why):
    """With what is wrong."""
    with pytest.raises(InvalidDag, match=why):
        import_wfformat(body, name="w", runtime_factor=0)


@pytest.mark.parametrize("factor", [-1.0, float("nan"), float("inf")])
def test_a_factor_is_zero_or_more(factor):
    """Nobody sleeps backwards."""
    with pytest.raises(InvalidDag, match="makes no sense: give 0 or more"):
        import_wfformat(trace(("a", [], [])), name="w", runtime_factor=factor)
