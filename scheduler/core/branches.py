"""What a branch chooses: its output names direct downstreams, or all of them by true, or none by false, null or [].

Whom it names are followed, and so is whatever direct downstream these lead to; all others are skipped, whatever their
trigger rules, but for teardowns: their setups decide about those. A short circuit is a branch that says true or false.
The choice is the stored output, so that a fan-out that goes on by slices finds it again; a branch that succeeded
without one was marked by an operator: all are followed.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from headway.protocol.dag import Task, rule_of
from headway.protocol.errors import Corrupt
from headway.protocol.keywords import did_you_mean
from headway.protocol.messages import Finished
from headway.protocol.names import TaskId
from headway.protocol.states import EndReason, TaskState

from .graph import Graph
from .rows import TaskInstance
from .rules import Edge
from .snapshot import Draft

_SHOWN_MAX: Final = 10
"""Downstream tasks that are named beside a choice that is none of them."""

_LENGTH_MAX: Final = 60
"""Characters of an output that are shown beside it."""

NOTHING: Final = msgspec.Raw(b"null")
"""What a branch chooses that writes nothing: a worker sends no null."""

_WANTED: Final = "the id of a task directly downstream, a list of such ids, true or false"


class _NoChoice(Exception):
    """What is wrong with an output."""


def with_choice(graph: Graph, event: Finished) -> Finished:
    """Return the end of a child that went well as it counts: a branch that chooses what it cannot has failed."""
    if graph.task(event.task_id).branch:
        try:
            _choose(graph, graph.position[event.task_id], bytes(event.output or NOTHING))
        except _NoChoice as fault:
            return msgspec.structs.replace(event, reason=EndReason.BAD_OUTPUT, detail=str(fault), output=None)
    return event


def output_of(graph: Graph, event: Finished) -> str | None:
    """Return the output to store: that of a branch is there even if it is null."""
    output = event.output
    if output is None and graph.task(event.task_id).branch:
        output = NOTHING
    return bytes(output).decode() if output is not None else None


def edges_from(draft: Draft, graph: Graph, task: TaskInstance, downstream: Sequence[int]) -> list[Edge]:
    """Return what a task that ended is to each of these who wait for it."""
    spec = graph.tasks[task.position]
    if spec.branch and task.state is TaskState.SUCCESS:
        output = draft.output(task.run_id, task.task_id)
        followed = _followed(graph, task.position, output.value.encode()) if output is not None else set(downstream)
        return [
            Edge.PLAIN if position in followed or graph.tasks[position].teardown else Edge.UNCHOSEN
            for position in downstream
        ]
    if not spec.setup:
        return [Edge.PLAIN] * len(downstream)
    scope = graph.scopes.get(task.position, frozenset())
    return [Edge.SCOPE if position in scope else _edge_to(graph.tasks[position]) for position in downstream]


def _edge_to(spec: Task) -> Edge:
    return Edge.SETUP if rule_of(spec) == "all_done_setup_success" else Edge.PLAIN


def _followed(graph: Graph, branch: int, output: bytes) -> set[int]:
    try:
        chosen = _choose(graph, branch, output)
    except _NoChoice as fault:
        raise Corrupt(detail=f"task {graph.tasks[branch].task_id} chose, and {fault}") from fault
    led = graph.leads.get(branch)
    if led is None:
        return chosen
    bits = int("".join("01"[position in chosen] for position in reversed(graph.downstream[branch])), 2)
    return chosen | {position for position, leading in led.items() if leading & bits}


def _choose(graph: Graph, branch: int, output: bytes) -> set[int]:
    """Return the positions that an output names."""
    ways = graph.downstream[branch]
    match msgspec.json.decode(output):
        case True:
            return set(ways)
        case False | None:
            return set()
        case str() as name:
            names = [TaskId(name)]
        case list() as names if all(isinstance(name, str) for name in names):
            pass
        case _:
            raise _NoChoice(f"its output is {_shorten(output)}, and a branch writes {_WANTED}")
    ids = {graph.tasks[position].task_id: position for position in ways}
    groups = _groups_of(ids) if not ids.keys() >= set(names) else {}
    chosen: set[int] = set()
    for name in names:
        if name not in ids and name not in groups:
            shown = ", ".join(list(ids)[:_SHOWN_MAX]) + (", ..." if len(ids) > _SHOWN_MAX else "")
            near = did_you_mean(name, ids) if len(ids) <= _SHOWN_MAX else ""
            raise _NoChoice(f"it chose {name!r}, which is not directly downstream{near}; there are: {shown or 'none'}")
        chosen |= {ids[name]} if name in ids else groups[name]
    return chosen


def _groups_of(ids: Mapping[TaskId, int]) -> dict[str, set[int]]:
    """Return the tasks of each group, whose name their ids begin with."""
    groups: dict[str, set[int]] = {}
    for task_id, position in ids.items():
        *outer, _ = task_id.split(".")
        for depth in range(1, len(outer) + 1):
            groups.setdefault(".".join(outer[:depth]), set()).add(position)
    return groups


def _shorten(output: bytes) -> str:
    text = output.decode()
    return text if len(text) <= _LENGTH_MAX else f"{text[:_LENGTH_MAX]}..."
