"""What a DAG comes to, told without events: the reference that the scheduler's end states are compared with."""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Final, Literal

from headway.protocol.dag import Dag, Task, output_sources, over_source

Outcome = Literal["output", "silence", "failure", "lease", "lost", "refused"]
"""What an attempt comes to: success with or without an output, or one of four ways to fail."""

Script = Callable[[str, str, int], Outcome]
"""The outcome of each attempt, by run, task (or `task[index]`) and number."""

ITEMS: Final = 2
"""Items of the list that is the output of a task that is not mapped."""


def interpret(dag: Dag, script: Callable[[str, int], Outcome]) -> dict[str, str]:
    """Return the final state of each task and instance, if its attempts come to what the script says."""
    states: dict[str, str] = {}
    wrote: dict[str, int] = {}  # how many items the output has of each task that wrote one
    waiting = list(dag.tasks)
    while waiting:
        task = next(task for task in waiting if states.keys() >= set(task.upstream))
        waiting.remove(task)
        if any(states[upstream] != "success" for upstream in task.upstream):
            states[task.task_id] = "upstream_failed"
        elif task.over is None:
            states[task.task_id], writes = _run(task, task.task_id, wrote, script)
            wrote |= {task.task_id: ITEMS} if writes else {}
        else:
            source = over_source(task)
            size = wrote.get(source, 0) if source is not None else len(task.over)
            names = [f"{task.task_id}[{index}]" for index in range(size)]
            ends = {name: _run(task, name, wrote, script)[0] for name in names}
            failed = not names or "failed" in ends.values()
            states |= ends | {task.task_id: "failed" if failed else "success"}
            wrote |= {task.task_id: size} if size else {}
    return states


def _run(task: Task, name: str, wrote: dict[str, int], script: Callable[[str, int], Outcome]) -> tuple[str, bool]:
    """Return how a task instance ends, and whether it writes an output."""
    if not output_sources(task) <= wrote.keys():
        return "failed", False
    last = _last_outcome(task, name, script)
    return ("success" if last in ("output", "silence") else "failed"), last == "output"


def _last_outcome(task: Task, name: str, script: Callable[[str, int], Outcome]) -> Outcome:
    retries, reruns = task.retries, task.infra_retries
    for number in count(1):
        outcome = script(name, number)
        match outcome:
            case "output" | "silence":
                return outcome
            case "failure" if retries:
                retries -= 1
            case "refused" if reruns:
                reruns -= 1
            case "lost" | "lease" if reruns and task.on_lost == "retry" and task.on_partition == "kill":
                reruns -= 1
            case _:
                return outcome
    raise AssertionError


def interpret_run(dag: Dag, states: Mapping[str, str]) -> str:
    """Return the final state of the run: its leaves decide."""
    inner = {upstream for task in dag.tasks for upstream in task.upstream}
    leaves = {states[task.task_id] for task in dag.tasks if task.task_id not in inner}
    return "success" if leaves == {"success"} else "failed"
