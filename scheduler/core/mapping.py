"""Mapped tasks: what they are mapped over, how the ends of their instances count, and the list of what those wrote.

The row of the task itself (map index -1) is the node of the graph, and the only one that other tasks see; it is
`mapped` while its instances, the rows 0 to n-1, are under way. Those share its place in the DAG, are counted in it and
not in the run, and the last one that ends, ends it. How they come to be, and in which slices, expansion.py says. What a
task takes in is found here for mapped and unmapped ones alike.
"""

from functools import lru_cache
from typing import Final

import msgspec

from headway.protocol.dag import OutputRef, Task
from headway.protocol.limits import MAP_ITEMS_MAX
from headway.protocol.names import UNMAPPED, RunId, TaskId
from headway.protocol.states import FINAL_TASK_STATES, EndReason, Intent, TaskChange, TaskState

from .graph import Graph
from .rows import Mapped, Output, Run, TaskInstance, TaskKey
from .snapshot import Draft

LISTS_KEPT: Final = 16
"""Outputs of which the parts are kept apart: all instances of a task take theirs from one."""

NULL: Final = "null"

_KINDS: Final = {b"{": "an object", b'"': "text", b"n": "null", b"t": "true", b"f": "false"}

Ending = tuple[TaskChange, EndReason | None, str]
"""How a mapped task ends: the change, the reason and the detail."""


def count_end(mapped: Mapped, state: TaskState, output: Output | None) -> Mapped:
    """Count the end of an instance, which wrote `output`; a cancelled one counts as failed."""
    match state:
        case TaskState.SUCCESS:
            counted = {"success": mapped.success + 1}
        case TaskState.SKIPPED:
            counted = {"skipped": mapped.skipped + 1}
        case _:
            counted = {"failed": mapped.failed + 1}
    wrote = len(NULL if output is None else output.value.encode())
    return msgspec.structs.replace(mapped, **counted, output_bytes=mapped.output_bytes + wrote + 1)


def ending_of(node: TaskInstance, mapped: Mapped) -> Ending | None:
    """Return how a mapped task ends by its instances, or None while one of them is under way."""
    if mapped.success + mapped.failed + mapped.skipped < mapped.size:
        return None
    if mapped.failed and node.intent is Intent.CANCEL:
        return TaskChange.CANCEL, EndReason.CANCELLED, node.detail
    if mapped.failed:
        detail = f"{mapped.failed} of its {mapped.size} instances did not succeed"
        return TaskChange.FAIL, EndReason.INSTANCES, detail
    if not mapped.success:
        return TaskChange.SKIP, EndReason.INSTANCES, f"all of its {mapped.size} instances were skipped"
    return TaskChange.SUCCEED, None, ""


# --- what a task is mapped over ---------------------------------------------------------------------------------------


def over_key(graph: Graph, run_id: RunId, over: OutputRef, map_index: int) -> TaskKey:
    """Return which output an instance's item is, or is a part of; of a mapped task each instance wrote one."""
    if graph.task(over.task_id).over is None:
        return TaskKey(run_id, over.task_id)
    place = over.path[0] if over.path else map_index
    return TaskKey(run_id, over.task_id, place if isinstance(place, int) else UNMAPPED)


def size_of(draft: Draft, run: Run, spec: Task) -> int | str:
    """Return how many instances a mapped task has, or what is wrong with what it is mapped over."""
    if not isinstance(spec.over, OutputRef):
        return len(spec.over or ())
    if _is_of_each(draft, run, spec.over):
        source = _ended(draft, run, spec.over.task_id)
        return _no_output(spec.over) if source is None else source.size
    items = _items_of(draft, run, spec.over)
    return items if isinstance(items, str) else len(items)


def item_of(draft: Draft, run: Run, spec: Task, map_index: int) -> msgspec.Raw | str:
    """Return the item that an instance stands for, as JSON, or why it has none (any more)."""
    if not isinstance(spec.over, OutputRef):
        return msgspec.Raw(msgspec.json.encode((spec.over or ())[map_index]))
    if _is_of_each(draft, run, spec.over):
        output = draft.output(run.run_id, spec.over.task_id, map_index)
        return msgspec.Raw((NULL if output is None else output.value).encode())
    items = _items_of(draft, run, spec.over)
    if isinstance(items, str):
        return items
    return items[map_index] if map_index < len(items) else f"{_name(spec.over)} has no item {map_index} any more"


def _is_of_each(draft: Draft, run: Run, over: OutputRef) -> bool:
    """Say whether each instance stands for what one instance of another mapped task wrote."""
    return not over.path and draft.graph(run).task(over.task_id).over is not None


def _items_of(draft: Draft, run: Run, over: OutputRef) -> tuple[msgspec.Raw, ...] | str:
    graph = draft.graph(run)
    key = over_key(graph, run.run_id, over, UNMAPPED)
    output = draft.output(*key)
    if output is None:
        return _no_output(over)
    found = _split(output.value, over.path[1:] if key.map_index != UNMAPPED else over.path)
    if isinstance(found, tuple) and len(found) <= MAP_ITEMS_MAX:
        return found
    if isinstance(found, tuple):
        return f"{_name(over)} is a list of {len(found)} items, and a task may be mapped over {MAP_ITEMS_MAX}"
    if not found:
        return f"the output of task {over.task_id!r} has no part {_path(over)}"
    return f"{_name(over)} is {found}, and a task is mapped over a list"


@lru_cache(maxsize=LISTS_KEPT)
def _split(value: str, path: tuple[str | int, ...]) -> tuple[msgspec.Raw, ...] | str:
    """Return the items of the list at a place of a JSON value, or the kind of what stands there instead."""
    part = part_of(value, path)
    if part is None:
        return ""
    try:
        return msgspec.json.decode(part, type=tuple[msgspec.Raw, ...])
    except msgspec.ValidationError:
        return _KINDS.get(part[:1], "a number")


def part_of(value: str, path: tuple[str | int, ...]) -> bytes | None:
    """Return the part of a JSON value that a path leads to, as JSON, or None where there is no such part."""
    part = value.encode()
    for step in path:
        try:
            if isinstance(step, str):
                part = bytes(msgspec.json.decode(part, type=dict[str, msgspec.Raw])[step])
            else:
                part = bytes(msgspec.json.decode(part, type=list[msgspec.Raw])[step])
        except (msgspec.ValidationError, LookupError):
            return None
    return part.strip()


def _name(over: OutputRef) -> str:
    return f"{f'part {_path(over)} of ' if over.path else ''}the output of task {over.task_id!r}"


def _path(over: OutputRef) -> str:
    return "".join(f"[{step!r}]" for step in over.path)


def _no_output(over: OutputRef) -> str:
    return f"task {over.task_id!r} wrote no output to HEADWAY_OUTPUT, and this task is mapped over it"


# --- what a task takes in ---------------------------------------------------------------------------------------------


def size_taken(draft: Draft, run: Run, source: TaskId) -> int | None:
    """Return the bytes of what a task wrote, or None where it wrote nothing; of a mapped one without reading it."""
    if draft.graph(run).task(source).over is None:
        output = draft.output(run.run_id, source)
        return None if output is None else len(output.value.encode())
    mapped = _ended(draft, run, source)
    return None if mapped is None else max(2, mapped.output_bytes + 1)


def value_taken(draft: Draft, run: Run, source: TaskId) -> str | None:
    """Return what a task wrote, as JSON, or None where it wrote nothing; of a mapped one what each instance wrote."""
    if draft.graph(run).task(source).over is None:
        output = draft.output(run.run_id, source)
        return None if output is None else output.value
    mapped, key = _ended(draft, run, source), TaskKey(run.run_id, source)
    if mapped is None:
        return None
    if key not in draft.lists:
        outputs = draft.outputs_of(key, mapped.size)
        draft.lists[key] = f"[{','.join(NULL if output is None else output.value for output in outputs)}]"
    return draft.lists[key]


def _ended(draft: Draft, run: Run, task_id: TaskId) -> Mapped | None:
    """Return what is known of the instances of a mapped task that has ended; None if it never had any."""
    node = draft.task(TaskKey(run.run_id, task_id))
    return node.mapped if node is not None and node.state in FINAL_TASK_STATES else None
