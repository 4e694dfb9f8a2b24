"""What a DAG comes to, told without events: the reference that the scheduler's end states are compared with."""

from collections.abc import Callable
from itertools import count
from typing import Literal

from headway.protocol.dag import Dag, Task, output_sources
from headway.protocol.names import TaskId

from .rules import RUNS_AT, deciders_of, draw_choice, verdicts

Outcome = Literal["output", "silence", "skip", "failure", "final", "lease", "lost", "refused"]
"""What an attempt comes to: success with or without an output, a skip, or a way to fail; `final` is not retried.

One that polls says "not yet" before, and by that gives `infra_retries` back.
"""

Script = Callable[[str, TaskId, int], Outcome]
"""The outcome of each attempt, by run, task and number."""


def possible(dag: Dag, script: Callable[[TaskId, int], Outcome], states: dict[TaskId, str]) -> dict[TaskId, set[str]]:
    """Return the final states that each task may have, its upstreams being in `states`, if attempts come to the script.

    Two tasks that are each possible are so together, for each is judged by what is before it.
    """
    ends = {task.task_id: _last_outcome(dag, task, script) for task in dag.tasks}
    wrote = {
        task.task_id
        for task in dag.tasks
        if states[task.task_id] == "success" and (task.branch or ends[task.task_id][0] == "output")
    }
    choices = {
        task.task_id: _choice_of(dag, task, *ends[task.task_id])
        for task in dag.tasks
        if task.branch and states[task.task_id] == "success"
    }
    return {
        task.task_id: {
            _state_after(verdict, ends[task.task_id][0], has_inputs=has_inputs)
            for verdict in verdicts(dag, task, states, choices)
            for has_inputs in {output_sources(task) <= wrote} | ({False} if _may_be_early(task) else set())
        }
        for task in dag.tasks
    }


def _may_be_early(task: Task) -> bool:
    """Say whether it may begin before all its upstreams have ended, and so find that one has not written yet."""
    return bool(output_sources(task)) and not task.teardown and task.trigger_rule in (*RUNS_AT, "always")


def _state_after(verdict: str, outcome: Outcome, *, has_inputs: bool) -> str:
    if verdict != "READY":
        return {"SKIP": "skipped", "UPSTREAM_FAILED": "upstream_failed"}[verdict]
    if not has_inputs:
        return "failed"
    return {"output": "success", "silence": "success", "skip": "skipped"}.get(outcome, "failed")


def _last_outcome(dag: Dag, task: Task, script: Callable[[TaskId, int], Outcome]) -> tuple[Outcome, int]:
    """Return what the last attempt comes to, and its number."""
    retries, reruns = task.retries, task.infra_retries
    for number in count(1):
        outcome = script(task.task_id, number)
        if task.poll_every is not None and outcome != "refused":
            reruns = task.infra_retries
        if task.branch and _choice_of(dag, task, outcome, number) == ["nobody"]:
            outcome = "failure"
        match outcome:
            case "output" | "silence":
                return outcome, number
            case "failure" if retries:
                retries -= 1
            case "refused" if reruns:
                reruns -= 1
            case "lost" | "lease" if reruns and task.on_lost == "retry" and task.on_partition == "kill":
                reruns -= 1
            case _:
                return outcome, number
    raise AssertionError


def _choice_of(dag: Dag, task: Task, outcome: Outcome, number: int) -> object:
    return draw_choice(dag, task.task_id, number) if outcome == "output" else None


def interpret_run(dag: Dag, states: dict[TaskId, str]) -> str:
    """Return the final state of the run: its leaves decide."""
    return "success" if {states[name] for name in deciders_of(dag)} <= {"success", "skipped"} else "failed"
