"""What a DAG comes to, told without events: the reference that the scheduler's end states are compared with."""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Final, Literal

from headway.protocol.dag import Dag, Task, output_sources, over_source

from .rules import RUNS_AT, deciders_of, draw_choice, verdicts

Outcome = Literal["output", "silence", "skip", "failure", "final", "lease", "lost", "refused"]
"""What an attempt comes to: success with or without an output, a skip, or a way to fail; `final` is not retried.

One that polls says "not yet" before, and by that gives `infra_retries` back.
"""

Script = Callable[[str, str, int], Outcome]
"""The outcome of each attempt, by run, task (or `task[index]`) and number."""

ITEMS: Final = 2
"""Items of the list that is the output of a task that is not mapped."""


def possible(dag: Dag, script: Callable[[str, int], Outcome], states: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the final states that each task may have, its upstreams being in `states`, if attempts come to the script.

    Two tasks that are each possible are so together, for each is judged by what is before it. Of a mapped task the
    instances that there are in `states` are judged, and by them the task.
    """
    ran = {task.task_id: _instances(task, states) for task in dag.tasks}
    ends = {name: _last_outcome(dag, task, name, script) for task in dag.tasks for name in ran[task.task_id]}
    wrote = {task.task_id: len(ran[task.task_id]) for task in dag.tasks if task.over is not None and ran[task.task_id]}
    for task in dag.tasks:
        name = task.task_id
        if task.over is None and states[name] == "success" and (task.branch or ends[name][0] == "output"):
            wrote[name] = ITEMS
    choices = {
        task.task_id: _choice_of(dag, task, *ends[task.task_id])
        for task in dag.tasks
        if task.branch and states[task.task_id] == "success"
    }
    found: dict[str, set[str]] = {}
    for task in dag.tasks:
        given = {output_sources(task) <= wrote.keys()} | (
            {False} if output_sources(task) and _is_early(task) else set()
        )
        judged = verdicts(dag, task, states, choices)
        for name in ran[task.task_id]:
            ways = judged if task.over is None else {"READY"}
            found[name] = {_state_after(way, ends[name][0], has_inputs=has) for way in ways for has in given}
        if task.over is not None:
            found[task.task_id] = {
                _state_after_all(task, ran[task.task_id], states, wrote) if way == "READY" else _WITHOUT_RUNNING[way]
                for way in judged
            }
    return found


def _instances(task: Task, states: Mapping[str, str]) -> list[str]:
    if task.over is None:
        return [task.task_id]
    return [name for name in states if name.startswith(f"{task.task_id}[")]


def _state_after_all(task: Task, ran: list[str], states: Mapping[str, str], wrote: Mapping[str, int]) -> str:
    """Return how a mapped task ends by its instances, or that it cannot be as it is."""
    source = over_source(task)
    size = wrote.get(source, 0) if source is not None else len(task.over or ())
    if not ran:
        return "failed" if not size or (source is not None and _is_early(task)) else "expanded"
    if len(ran) != size:
        return f"mapped over {size}"
    ends = {states[name] for name in ran}
    return "failed" if "failed" in ends else "skipped" if ends == {"skipped"} else "success"


def _is_early(task: Task) -> bool:
    """Say whether it may begin before all its upstreams have ended, and so find that one has not written yet."""
    return not task.teardown and task.trigger_rule in (*RUNS_AT, "always")


_WITHOUT_RUNNING: Final = {"SKIP": "skipped", "UPSTREAM_FAILED": "upstream_failed"}


def _state_after(verdict: str, outcome: Outcome, *, has_inputs: bool) -> str:
    if verdict != "READY":
        return _WITHOUT_RUNNING[verdict]
    if not has_inputs:
        return "failed"
    return {"output": "success", "silence": "success", "skip": "skipped"}.get(outcome, "failed")


def _last_outcome(dag: Dag, task: Task, name: str, script: Callable[[str, int], Outcome]) -> tuple[Outcome, int]:
    """Return what the last attempt comes to, and its number."""
    retries, reruns = task.retries, task.infra_retries
    for number in count(1):
        outcome = script(name, number)
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


def interpret_run(dag: Dag, states: Mapping[str, str]) -> str:
    """Return the final state of the run: its leaves decide."""
    return "success" if {states[name] for name in deciders_of(dag)} <= {"success", "skipped"} else "failed"
