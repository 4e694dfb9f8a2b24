"""Graphs: order, cycles and far-away sources."""

from headway.protocol.graph import find_cycles, missing_paths, order_tasks


def graph_of(text):
    """Read `b:a c:ab` as: b waits for a, c waits for a and b."""
    return {name: tuple(sources) for name, _, sources in (part.partition(":") for part in text.split())}


def test_tasks_come_after_all_they_wait_for():
    """Roots first, then whoever has all it waits for."""
    assert order_tasks(graph_of("d:bc b:a c:a a")) == ["a", "b", "c", "d"]


def test_a_cycle_and_what_is_behind_it_have_no_order():
    """Only what can start is ordered."""
    assert order_tasks(graph_of("a b:ac c:b d:c")) == ["a"]


def test_a_cycle_is_named_in_the_order_its_tasks_would_run():
    """Each waits for the one before it, the first for the last."""
    assert list(find_cycles(graph_of("a:c b:a c:b d:c"))) == [("b", "c", "a")]


def test_cycles_apart_are_all_found():
    """One walk for each; a walk that ends in an earlier one finds nothing new."""
    assert len(list(find_cycles(graph_of("a:b b:a c:d d:c e:ac")))) == 2


def test_no_cycle_is_found_where_there_is_none():
    """A diamond is none."""
    assert not list(find_cycles(graph_of("a b:a c:a d:bc")))


def test_sources_are_found_however_far():
    """Only pairs without a path are missing."""
    wanted = [("d", "a"), ("d", "x"), ("a", "d"), ("c", "b")]
    assert list(missing_paths(graph_of("a b:a c:a d:bc x"), wanted)) == [("d", "x"), ("a", "d"), ("c", "b")]
    assert not list(missing_paths({}, []))


def test_many_sources_are_looked_for_in_several_passes():
    """A chain of 10,000 tasks in which each wants the output of the one two before it."""
    graph = {str(i): (str(i - 1),) if i else () for i in range(10_000)}
    assert not list(missing_paths(graph, [(str(i), str(i - 2)) for i in range(2, 10_000)]))
    assert list(missing_paths(graph, [("0", "9999"), ("9999", "0")])) == [("0", "9999")]
