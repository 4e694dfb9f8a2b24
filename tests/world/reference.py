"""What a DAG comes to, told without events: the reference that the scheduler's end states are compared with."""

from collections.abc import Callable
from itertools import count
from typing import Literal

from headway.protocol.dag import Dag, Task, output_sources
from headway.protocol.names import TaskId

Outcome = Literal["output", "silence", "failure", "final", "lease", "lost", "refused"]
"""What an attempt comes to: success with or without an output, or one of five ways to fail; `final` is not retried.

One that polls says "not yet" before, and by that gives `infra_retries` back.
"""

Script = Callable[[str, TaskId, int], Outcome]
"""The outcome of each attempt, by run, task and number."""


def interpret(dag: Dag, script: Callable[[TaskId, int], Outcome]) -> dict[TaskId, str]:
    """Return the final state of each task, if its attempts come to what the script says."""
    states: dict[TaskId, str] = {}
    wrote: set[TaskId] = set()
    waiting = list(dag.tasks)
    while waiting:
        task = next(task for task in waiting if states.keys() >= set(task.upstream))
        waiting.remove(task)
        if any(states[upstream] != "success" for upstream in task.upstream):
            states[task.task_id] = "upstream_failed"
        elif output_sources(task) <= wrote:
            last = _last_outcome(task, script)
            states[task.task_id] = "success" if last in ("output", "silence") else "failed"
            if last == "output":
                wrote.add(task.task_id)
        else:
            states[task.task_id] = "failed"
    return states


def _last_outcome(task: Task, script: Callable[[TaskId, int], Outcome]) -> Outcome:
    retries, reruns = task.retries, task.infra_retries
    for number in count(1):
        outcome = script(task.task_id, number)
        if task.poll_every is not None and outcome != "refused":
            reruns = task.infra_retries
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


def interpret_run(dag: Dag, states: dict[TaskId, str]) -> str:
    """Return the final state of the run: its leaves decide."""
    inner = {upstream for task in dag.tasks for upstream in task.upstream}
    leaves = {state for task, state in states.items() if task not in inner}
    return "success" if leaves == {"success"} else "failed"
