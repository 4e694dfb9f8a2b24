"""A DAG version, compiled: who comes after whom, by position in one fixed order.

The order is the author's; slices of a run are cut along it. Compiled once per version and kept while its runs live.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

import msgspec

from headway.protocol.dag import Dag, Task, rule_of
from headway.protocol.names import DagId, TaskId

from .paths import Leads, find_leads, find_scopes


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks in a fixed order, with their neighbours as positions.

    `downstream` are those that wait for a task: directly, and behind those, of a setup, what lies in its scope. `roots`
    wait for none. `deciders` decide what becomes of a run. `leads`, `scopes` and `setups` say which ways a branch has
    (paths.py), what lies in the scope of a setup, and on how many setups a task depends.
    `has_past` says that some depend on the past.
    """

    dag_id: DagId
    version: int
    dag: Dag
    position: dict[TaskId, int]
    downstream: tuple[tuple[int, ...], ...]
    roots: tuple[int, ...]
    deciders: frozenset[int]
    leads: Leads = {}
    scopes: dict[int, frozenset[int]] = {}
    setups: dict[int, int] = {}
    has_past: bool = False

    @property
    def tasks(self) -> Sequence[Task]:
        """The tasks, in the order that positions count."""
        return self.dag.tasks

    def task(self, task_id: TaskId) -> Task:
        """Return a task by its id; raise KeyError."""
        return self.dag.tasks[self.position[task_id]]

    def downstream_of(self, task_id: TaskId) -> tuple[int, ...]:
        """Return the positions of the tasks that wait for this one."""
        return self.downstream[self.position[task_id]]

    def ids(self, positions: Sequence[int]) -> list[TaskId]:
        """Return the ids that stand at these positions."""
        return [self.dag.tasks[position].task_id for position in positions]


def compile_graph(dag: Dag, version: int) -> Graph:
    """Compile a valid DAG value (see protocol.validation), in time proportional to its tasks and edges."""
    position = {task.task_id: index for index, task in enumerate(dag.tasks)}
    downstream: list[list[int]] = [[] for _ in dag.tasks]
    for index, task in enumerate(dag.tasks):
        for upstream in task.upstream:
            downstream[position[upstream]].append(index)
    deciders = _find_deciders(dag, downstream)
    leads = find_leads(dag, downstream)
    scopes = find_scopes(dag, position)
    for setup, within in scopes.items():
        downstream[setup] += sorted(within)
    return Graph(
        dag_id=dag.dag_id,
        version=version,
        dag=dag,
        position=position,
        downstream=tuple(map(tuple, downstream)),
        deciders=deciders,
        leads=leads,
        scopes=scopes,
        setups=_count_setups(dag, position, scopes),
        roots=tuple(
            index for index, task in enumerate(dag.tasks) if not task.upstream or task.trigger_rule == "always"
        ),
        has_past=any(task.depends_on_past for task in dag.tasks),
    )


def _find_deciders(dag: Dag, downstream: Sequence[Sequence[int]]) -> frozenset[int]:
    """Return who decides what becomes of a run: the leaves, where teardowns count for nothing, as in Airflow."""
    counts = [not task.teardown or task.on_failure_fail_dagrun for task in dag.tasks]
    leaves = (at for at, below in enumerate(downstream) if counts[at] and not any(counts[one] for one in below))
    return frozenset(leaves) or frozenset(at for at, below in enumerate(downstream) if not below)


def _count_setups(dag: Dag, position: Mapping[TaskId, int], scopes: Mapping[int, frozenset[int]]) -> dict[int, int]:
    """Return on how many setups a task depends: a teardown on those directly before it, another on those further up."""
    found = Counter(chain.from_iterable(scopes.values()))
    for index, task in enumerate(dag.tasks):
        if rule_of(task) == "all_done_setup_success":
            found[index] = sum(dag.tasks[position[name]].setup for name in task.upstream)
    return dict(found)
