"""Draws docs/states.md from the tables of `states.py`: `python -m headway.protocol.diagram > docs/states.md`."""

import sys
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final, TypeVar

from .states import (
    ATTEMPT_TRANSITIONS,
    FINAL_ATTEMPT_STATES,
    FINAL_RUN_STATES,
    FINAL_TASK_STATES,
    RUN_TRANSITIONS,
    TASK_TRANSITIONS,
    AttemptState,
    RunState,
    TaskState,
)

_State = TypeVar("_State", bound=StrEnum)
_Change = TypeVar("_Change", bound=StrEnum)

_HEAD: Final = """\
# States

Drawn from the tables in `protocol/states.py`. Do not edit it, but run

    python -m headway.protocol.diagram > docs/states.md

A state changes only as the consequence of one recorded event, along one of these arrows, each of which bears the name
of the change. What has no arrow does not happen: the event that wanted it is recorded as ignored, with the reason.
"""


def draw_states() -> str:
    """Return docs/states.md: a Mermaid diagram each for task instances, their attempts, and DAG runs."""
    return "\n".join(
        (
            _HEAD,
            _draw("Task instance", TaskState.WAITING, TASK_TRANSITIONS, FINAL_TASK_STATES),
            _draw("Attempt", AttemptState.QUEUED, ATTEMPT_TRANSITIONS, FINAL_ATTEMPT_STATES),
            _draw("DAG run", RunState.QUEUED, RUN_TRANSITIONS, FINAL_RUN_STATES),
        )
    )


def _draw(title: str, first: _State, table: Mapping[tuple[_State, _Change], _State], final: Collection[_State]) -> str:
    """Return one section; changes that lead from the same state to the same one share an arrow."""
    arrows: dict[tuple[_State, _State], list[str]] = {}
    for (old, change), new in table.items():
        arrows.setdefault((old, new), []).append(change.value)
    lines = [f"    {old} --> {new}: {', '.join(changes)}" for (old, new), changes in arrows.items()]
    ends = [f"    {state} --> [*]" for state in type(first) if state in final]
    return "\n".join((f"## {title}\n", "```mermaid", "stateDiagram-v2", f"    [*] --> {first}", *lines, *ends, "```\n"))


if __name__ == "__main__":
    sys.stdout.write(draw_states())
