"""Questions about who waits for whom, each answered in time proportional to tasks and edges.

A graph maps each task to the tasks it waits for. All of them must be keys of the graph themselves.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from .names import TaskId

Graph = Mapping[TaskId, Sequence[TaskId]]
T = TypeVar("T")

_SOURCES_AT_ONCE: Final = 4096
"""Sources that one pass looks for, as bits of an integer per task: 50 MB for 100,000 tasks."""


def order_tasks(graph: Graph) -> list[TaskId]:
    """Return the tasks so that each follows all it waits for, without those in a cycle and those behind one."""
    waiting = {task: len(upstream) for task, upstream in graph.items()}
    downstream: dict[TaskId, list[TaskId]] = {task: [] for task in graph}
    for task, upstream in graph.items():
        for source in upstream:
            downstream[source].append(task)
    order = [task for task, count in waiting.items() if not count]
    for task in order:  # grows while it is read
        for follower in downstream[task]:
            waiting[follower] -= 1
            if not waiting[follower]:
                order.append(follower)
    return order


def find_cycles(graph: Graph) -> Iterator[tuple[TaskId, ...]]:
    """Yield cycles, each in the order in which its tasks would run: at least one, if there is any."""
    stuck = set(graph).difference(order_tasks(graph))
    seen: set[TaskId] = set()
    for start in (task for task in graph if task in stuck):
        path: dict[TaskId, None] = {}
        task = start
        while task not in seen:
            seen.add(task)
            path[task] = None
            task = next(source for source in graph[task] if source in stuck)
        if task in path:
            steps = list(path)
            yield tuple(reversed(steps[steps.index(task) :]))


def missing_paths(graph: Graph, wanted: Iterable[tuple[TaskId, TaskId]]) -> Iterator[tuple[TaskId, TaskId]]:
    """Yield the (task, source) pairs of an acyclic graph in which `source` is not upstream of `task`, however far."""
    pairs = list(wanted)
    sources = list(dict.fromkeys(source for _, source in pairs))
    order = order_tasks(graph) if sources else []
    for some in in_parts(sources):
        bits = {source: 1 << place for place, source in enumerate(some)}
        above = gather_bits(graph, order, bits)
        yield from ((task, source) for task, source in pairs if source in bits and not above[task] & bits[source])


def in_parts(sources: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield as many sources at a time as `gather_bits` should be given."""
    return (sources[first : first + _SOURCES_AT_ONCE] for first in range(0, len(sources), _SOURCES_AT_ONCE))


def gather_bits(graph: Graph, order: Iterable[TaskId], bits: Mapping[TaskId, int]) -> dict[TaskId, int]:
    """Return for each task the bits of all that are upstream of it, however far; `order` is that of `order_tasks`."""
    above: dict[TaskId, int] = {}
    for task in order:
        found = 0
        for source in graph[task]:
            found |= above[source] | bits.get(source, 0)
        above[task] = found
    return above
