"""DAGs as text: `dag("a >> b, c >> d", b={"retries": 1})`."""

from typing import Any

import msgspec

from headway.protocol.dag import Dag, Shell, Task
from headway.protocol.names import DagId, TaskId


def dag(*chains: str, dag_id: str = "etl", params: dict[str, Any] | None = None, **tasks: dict[str, Any]) -> Dag:
    """Return the DAG of these chains, its tasks in the order in which they are first named.

    Each keyword gives the fields of the task of its name, and `each` those of all tasks.
    """
    upstream: dict[TaskId, list[TaskId]] = {}
    for chain in chains:
        before: list[TaskId] = []
        for step in chain.split(">>"):
            group = [TaskId(name.strip()) for name in step.split(",")]
            for name in group:
                upstream.setdefault(name, []).extend(before)
            before = group
    each = tasks.pop("each", {})
    values = tuple(
        Task(
            **{"task_id": name, "command": Shell(script="true"), "upstream": tuple(above)} | each | tasks.pop(name, {})
        )
        for name, above in upstream.items()
    )
    assert not tasks, f"no such tasks: {', '.join(tasks)}"
    return Dag(dag_id=DagId(dag_id), tasks=values, params=params or {})


def digest_of(value: Dag) -> str:
    """Return what stands for a DAG value; equal values have equal digests."""
    return f"digest of {msgspec.json.encode(value).decode()}"
