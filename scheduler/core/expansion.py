"""Rules for the instances of a mapped task: they are made, released and cancelled in slices of at most 1,000 rows (P6).

Each slice is a `continue` with a cursor over the indexes, applied only where the stored cursor is the same. No instance
is released before the last one is made.
"""

from typing import Final

import msgspec

from headway.protocol.limits import ROWS_PER_DECISION_MAX
from headway.protocol.messages import Continue
from headway.protocol.states import EndReason, Intent, TaskChange, TaskState

from .changes import add_task, change_task, end_apart, end_node_if_done, go_on_with, hold
from .mapping import size_of
from .rows import Mapped, Run, TaskInstance, TaskKey
from .snapshot import Draft

_replace: Final = msgspec.structs.replace

NO_ITEMS: Final = "the list is empty"


def expand_further(draft: Draft, run: Run, node: TaskInstance, event: Continue) -> bool:
    """Do the next slice of an expansion; return False if that was done before or is not wanted any more."""
    if node.state is not TaskState.MAPPED or node.mapped is None:
        return False
    mapped = node.mapped
    match event.step:
        case "expand" if event.cursor == mapped.created and (not mapped.created or mapped.created < mapped.size):
            _create_slice(draft, run, node, mapped)
        case "expand_release" if event.cursor == mapped.released and mapped.released < mapped.created == mapped.size:
            _release_slice(draft, node, mapped)
        case _:
            return False
    return True


def _create_slice(draft: Draft, run: Run, node: TaskInstance, mapped: Mapped) -> None:
    graph, begin = draft.graph(run), mapped.created
    if begin == 0:
        size = size_of(draft, run, graph.task(node.task_id))
        if isinstance(size, str):
            node = change_task(draft, node, mapped=None)
            end_apart(draft, node, TaskChange.FAIL, reason=EndReason.BAD_INPUT, detail=size)
            return
        mapped = _replace(mapped, size=size)
        node = change_task(draft, node, mapped=mapped)
        if size == 0:
            end_apart(draft, node, TaskChange.SKIP, reason=EndReason.NO_ITEMS, detail=NO_ITEMS)
            return
    end = min(begin + ROWS_PER_DECISION_MAX, mapped.size)
    for index in range(begin, end):
        add_task(draft, run, graph, node.position, map_index=index)
    mapped = _replace(mapped, created=end)
    node = change_task(draft, node, mapped=mapped)
    if end < mapped.size:
        go_on_with(draft, node, "expand", end)
    elif begin == 0:  # all of them are of this decision, so it may look at them
        _release_slice(draft, node, mapped)
    else:
        go_on_with(draft, node, "expand_release")


def _release_slice(draft: Draft, node: TaskInstance, mapped: Mapped) -> None:
    end = min(mapped.released + ROWS_PER_DECISION_MAX, mapped.size)
    for index in range(mapped.released, end):
        task = draft.task(node.key._replace(map_index=index))
        if task is not None and task.state is TaskState.WAITING:
            hold(draft, task, TaskChange.RELEASE)
    node = change_task(draft, node, mapped=_replace(mapped, released=end))
    if end < mapped.size:
        go_on_with(draft, node, "expand_release", end)


def cancel_instances(draft: Draft, node: TaskInstance, detail: str) -> bool:
    """Begin to cancel the instances that there are, and make no more; return False if there is none yet."""
    if node.mapped is None or not node.mapped.created:
        return False
    if node.intent is not Intent.CANCEL:
        mapped = _replace(node.mapped, size=node.mapped.created)
        node = change_task(draft, node, intent=Intent.CANCEL, detail=detail, mapped=mapped)
        go_on_with(draft, node, "expand_cancel")
        end_node_if_done(draft, node)
    return True


def next_to_cancel(draft: Draft, node: TaskInstance, cursor: int) -> list[TaskKey]:
    """Move the cursor of a cancel, and return the instances that it is about to pass: none if it has passed them."""
    mapped = node.mapped if node.state is TaskState.MAPPED and node.intent is Intent.CANCEL else None
    if mapped is None or cursor != mapped.cancelled:
        return []
    end = min(mapped.cancelled + ROWS_PER_DECISION_MAX, mapped.size)
    change_task(draft, node, mapped=_replace(mapped, cancelled=end))
    if end < mapped.size:
        go_on_with(draft, node, "expand_cancel", end)
    return [node.key._replace(map_index=index) for index in range(mapped.cancelled, end)]
