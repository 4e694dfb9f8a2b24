"""What weight rules make of priorities."""

from itertools import combinations
from random import Random

import msgspec
import pytest

from headway.protocol.dag import Dag, Shell, Task
from headway.protocol.names import DagId, TaskId
from headway.protocol.weights import apply_weights


def diamond(**fields: str) -> Dag:
    """Return a >> (b, c) >> d, with the priorities 1, 2, 3 and 5."""
    above = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
    tasks = (
        Task(task_id=TaskId(name), command=Shell(script="true"), upstream=tuple(map(TaskId, names)), priority=priority)
        for (name, names), priority in zip(above.items(), (1, 2, 3, 5), strict=True)
    )
    ruled = (msgspec.structs.replace(task, weight_rule=fields.get(task.task_id, fields["each"])) for task in tasks)
    return Dag(dag_id=DagId("d"), tasks=tuple(ruled))


@pytest.mark.parametrize(
    ("rules", "sums"),
    [
        ({"each": "absolute"}, [1, 2, 3, 5]),
        ({"each": "downstream"}, [11, 7, 8, 5]),  # d is counted once, though it is reached twice
        ({"each": "upstream"}, [1, 3, 4, 11]),
        ({"each": "absolute", "b": "downstream", "d": "upstream"}, [1, 7, 3, 11]),
    ],
)
def test_a_rule_adds_what_the_task_reaches(rules: dict[str, str], sums: list[int]):
    """Each task has its own rule, and what comes of it is the task's priority from then on."""
    dag = apply_weights(diamond(**rules))
    assert [task.priority for task in dag.tasks] == sums
    assert {task.weight_rule for task in dag.tasks} == {"absolute"}
    assert apply_weights(dag) == dag


def test_blocks_of_a_large_dag_add_up(monkeypatch: pytest.MonkeyPatch):
    """However many tasks are followed at a time, in whatever order they stand."""
    random = Random(5)
    names = [TaskId(f"t{number}") for number in range(12)]
    above = {
        name: {one for one, two in combinations(names, 2) if two == name and random.random() < 0.3} for name in names
    }
    tasks = [
        Task(
            task_id=name,
            command=Shell(script="true"),
            upstream=tuple(sorted(above[name])),
            priority=random.randint(-2, 3),
            weight_rule="upstream",
        )
        for name in random.sample(names, len(names))
    ]
    dag = Dag(dag_id=DagId("d"), tasks=tuple(tasks))
    whole = apply_weights(dag)
    monkeypatch.setattr("headway.protocol.weights.COLUMNS", 5)
    assert apply_weights(dag) == whole
    own = {task.task_id: task.priority for task in tasks}
    for task in whole.tasks:
        reached = set(above[task.task_id])
        while more := {one for name in reached for one in above[name]} - reached:
            reached |= more
        assert task.priority == own[task.task_id] + sum(own[name] for name in reached)
