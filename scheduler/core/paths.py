"""Which ways lead where in a DAG: what a branch's choice brings along, and what lies in the scope of a setup.

Both are found once per version, in a pass over all dependencies for each few thousand sources, and not at all in a DAG
without branches and setups. Meanings are Airflow's.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import groupby
from operator import or_
from typing import Final

from headway.protocol.dag import Dag, rule_of
from headway.protocol.graph import gather_bits, in_parts, order_tasks
from headway.protocol.names import TaskId

Leads = dict[int, dict[int, int]]
"""By branch, then by one of its direct downstreams: which of the others lead there, as bits in their order."""


_UNSCOPED: Final = frozenset({"all_done_setup_success", "always"})
"""Rules of tasks that lie in no setup's scope: one looks at the setups directly before it, the other at nothing."""


def find_leads(dag: Dag, downstream: Sequence[Sequence[int]]) -> Leads:
    """Return who is reached from whom among those directly downstream of a branch: a chosen task keeps what follows it.

    Only where a downstream waits for something else as well can another of them lead to it.
    """
    joins = {
        index: [one for one in downstream[index] if len(dag.tasks[one].upstream) > 1]
        for index, task in enumerate(dag.tasks)
        if task.branch
    }
    sources = [(branch, place) for branch, found in joins.items() if found for place in range(len(downstream[branch]))]
    if not sources:
        return {}
    graph = {task.task_id: task.upstream for task in dag.tasks}
    order = order_tasks(graph)
    leads: Leads = {}
    for some in in_parts(sources):
        bits: dict[TaskId, int] = {}
        for at, (branch, place) in enumerate(some):
            source = dag.tasks[downstream[branch][place]].task_id
            bits[source] = bits.get(source, 0) | 1 << at
        above = gather_bits(graph, order, bits)
        for branch, ways in groupby(enumerate(some), key=lambda one: one[1][0]):
            (at, (_, place)), *rest = ways
            mask = (2 << len(rest)) - 1
            for one in joins[branch]:
                found = above[dag.tasks[one].task_id] >> at & mask
                if found:
                    known = leads.setdefault(branch, {})
                    known[one] = known.get(one, 0) | found << place
    return leads


def find_scopes(dag: Dag, position: Mapping[TaskId, int]) -> dict[int, frozenset[int]]:
    """Return what lies in the scope of each setup: between it and one of its teardowns, or behind it if it has none.

    Such a task needs the setup to have succeeded, whatever its rule. Left out is who falls with it anyway: one with the
    rule all_success behind another that does. Left out is also who is directly behind the setup, for it has its own
    rule, and who has one of _UNSCOPED.
    """
    setups = [task.task_id for task in dag.tasks if task.setup]
    if not setups:
        return {}
    above = {task.task_id: task.upstream for task in dag.tasks}
    below: dict[TaskId, list[TaskId]] = {task.task_id: [] for task in dag.tasks}
    for task in dag.tasks:
        for source in task.upstream:
            below[source].append(task.task_id)
    order = order_tasks(above)
    scopes: dict[int, set[int]] = {}
    for some in in_parts(setups):
        bits = {setup: 1 << at for at, setup in enumerate(some)}
        endless, marks = 0, dict[TaskId, int]()
        for setup in some:
            teardowns = [one for one in below[setup] if dag.tasks[position[one]].teardown]
            endless |= 0 if teardowns else bits[setup]
            marks |= {one: marks.get(one, 0) | bits[setup] for one in teardowns}
        behind, before = gather_bits(above, order, bits), gather_bits(below, reversed(order), marks)
        falls: dict[TaskId, int] = {}
        for name in order:
            task = dag.tasks[position[name]]
            within = behind[name] & (before[name] | endless) if rule_of(task) not in _UNSCOPED else 0
            direct = sum(bits.get(source, 0) for source in set(task.upstream))
            fallen = 0
            if task.trigger_rule == "all_success" and within:
                fallen = reduce(or_, (falls[source] for source in task.upstream), direct)
            falls[name] = fallen | within & ~direct
            for setup in _named(within & ~direct & ~fallen, some):
                scopes.setdefault(position[setup], set()).add(position[name])
    return {setup: frozenset(found) for setup, found in scopes.items()}


def _named(bits: int, names: Sequence[TaskId]) -> Iterator[TaskId]:
    while bits:
        place = bits.bit_length() - 1
        yield names[place]
        bits ^= 1 << place
