"""How a person names a task instance: `TASK`, or `TASK[INDEX]` for one of a mapped task."""

import re
from typing import Final

from headway.protocol.names import UNMAPPED

_INDEXED: Final = re.compile(r"(?P<task>.+)\[(?P<index>\d+)\]")


def split_index(text: str) -> tuple[str, int]:
    """Return task id and map index."""
    found = _INDEXED.fullmatch(text)
    return (text, UNMAPPED) if found is None else (found["task"], int(found["index"]))


def join_index(task_id: str | None, map_index: int | None) -> str:
    """Write a task instance as a person would."""
    return f"{task_id or ''}{'' if map_index in {None, UNMAPPED} else f'[{map_index}]'}"
