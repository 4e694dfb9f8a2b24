"""What `weight_rule` makes of priorities: a task's own with those of all that is downstream, or upstream, added.

Done once, when a DAG file is read. The DAG value that comes of it holds the sums and the rule `absolute`, so nobody who
decides ever adds them up again.
"""

from collections.abc import Sequence
from graphlib import TopologicalSorter
from typing import Final

import msgspec

from .dag import Dag

COLUMNS: Final = 4096
"""Tasks whose reach is followed at a time: in a DAG of 100,000 tasks a bit for each pair would take 1.2 GB."""


def apply_weights(dag: Dag) -> Dag:
    """Return a valid DAG with the sums for priorities; without a rule other than `absolute`, itself."""
    rules = {task.weight_rule for task in dag.tasks} - {"absolute"}
    if not rules:
        return dag
    position = {task.task_id: place for place, task in enumerate(dag.tasks)}
    above = [[position[name] for name in task.upstream] for task in dag.tasks]
    below: list[list[int]] = [[] for _ in dag.tasks]
    for place, sources in enumerate(above):
        for source in sources:
            below[source].append(place)
    order = list(TopologicalSorter(dict(enumerate(above))).static_order())
    own = [task.priority for task in dag.tasks]
    sums: dict[str, list[int]] = {"absolute": [0] * len(own)}
    if "downstream" in rules:
        sums["downstream"] = _add_up(order[::-1], below, own)
    if "upstream" in rules:
        sums["upstream"] = _add_up(order, above, own)
    tasks = (
        msgspec.structs.replace(task, priority=task.priority + sums[task.weight_rule][place], weight_rule="absolute")
        for place, task in enumerate(dag.tasks)
    )
    return msgspec.structs.replace(dag, tasks=tuple(tasks))


def _add_up(order: Sequence[int], neighbours: Sequence[Sequence[int]], own: Sequence[int]) -> list[int]:
    """Return for each task the sum of `own` over all that it reaches, each once; neighbours stand before it in order.

    Reach is a set of bits, a block of columns at a time.
    """
    totals = [0] * len(own)
    for begin in range(0, len(order), COLUMNS):
        bits = {task: 1 << column for column, task in enumerate(order[begin : begin + COLUMNS])}
        masks: dict[int, int] = {}
        for task, bit in bits.items():
            masks[own[task]] = masks.get(own[task], 0) | bit
        reach = [0] * len(own)
        for task in order:
            found = 0
            for neighbour in neighbours[task]:
                found |= reach[neighbour] | bits.get(neighbour, 0)
            reach[task] = found
            totals[task] += sum(priority * (found & mask).bit_count() for priority, mask in masks.items())
    return totals
