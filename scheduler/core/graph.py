"""A DAG version, compiled: who comes after whom, by position in one fixed order.

The order is the author's; slices of a run are cut along it. Compiled once per version and kept while its runs live.
"""

from collections.abc import Sequence

import msgspec

from headway.protocol.dag import Dag, Task
from headway.protocol.names import DagId, TaskId


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks in a fixed order, with their direct neighbours as positions; `roots` have no upstream.

    `has_past` says that some depend on the past.
    """

    dag_id: DagId
    version: int
    dag: Dag
    position: dict[TaskId, int]
    downstream: tuple[tuple[int, ...], ...]
    roots: tuple[int, ...]
    has_past: bool

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
    return Graph(
        dag_id=dag.dag_id,
        version=version,
        dag=dag,
        position=position,
        downstream=tuple(map(tuple, downstream)),
        has_past=any(task.depends_on_past for task in dag.tasks),
        roots=tuple(index for index, task in enumerate(dag.tasks) if not task.upstream),
    )
