"""Who comes after whom, by position."""

import pytest

from headway.protocol.names import TaskId
from headway.scheduler.core.graph import compile_graph
from world import dag, running


def test_the_order_is_the_authors():
    """Positions count the tasks as they were written; neighbours are positions."""
    graph = compile_graph(dag("b >> a, c >> d", "e"), 3)
    assert (graph.dag_id, graph.version) == ("etl", 3)
    assert [task.task_id for task in graph.tasks] == ["b", "a", "c", "d", "e"]
    assert graph.position == {"b": 0, "a": 1, "c": 2, "d": 3, "e": 4}
    assert graph.roots == (0, 4)
    assert graph.downstream == ((1, 2), (3,), (3,), (), ())
    assert graph.ids(graph.downstream_of(TaskId("b"))) == ["a", "c"]
    assert graph.task(TaskId("d")).upstream == ("a", "c")


def test_a_task_may_stand_before_its_upstream():
    """The order says nothing about dependencies."""
    value = dag("b, a")
    graph = compile_graph(dag("b, a", b={"upstream": ("a",)}), 1)
    assert graph.position == compile_graph(value, 1).position
    assert (graph.roots, graph.downstream_of(TaskId("a"))) == ((1,), (0,))


def test_what_is_not_in_the_graph_is_an_error():
    """Callers look it up first."""
    graph = compile_graph(dag("a"), 1)
    for ask in (graph.task, graph.downstream_of):
        with pytest.raises(KeyError):
            ask(TaskId("z"))


@pytest.mark.parametrize("exit_code", [0, 1])
def test_an_upstream_that_is_named_twice_counts_twice(exit_code: int):
    """Validation refuses it; a graph that was stored before it did still runs to its end."""
    world = running("a, b", b={"upstream": ("a", "a")})
    world.play("a", exit_code=exit_code)
    assert world.states()["b"] == ("upstream_failed" if exit_code else "queued")
