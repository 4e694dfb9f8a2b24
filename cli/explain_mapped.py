"""The sentences of `headway why` about mapped tasks: what became of the instances, and what one of them waits for."""

from collections.abc import Iterator

from headway.protocol.states import FINAL_TASK_STATES, Intent, TaskState
from headway.scheduler.core.rows import TaskInstance
from headway.scheduler.store.evidence import Evidence


def tell_of_instances(evidence: Evidence, task: TaskInstance) -> Iterator[str]:
    """Say how far a mapped task has got."""
    mapped = task.mapped
    if mapped is None or not mapped.created:
        yield "Its trigger rule holds: the scheduler is about to make its instances."
        return
    if task.intent is Intent.CANCEL:
        yield f"It was {task.detail or 'cancelled'}: its instances end without success."
    elif mapped.created < mapped.size:
        yield f"{mapped.created} of its {mapped.size} instances are made: they begin when all are."
    elif mapped.released < mapped.size:
        yield f"{mapped.released} of its {mapped.size} instances were let begin, the others follow."
    yield f"Of its {mapped.size} instances {_counted(evidence)}."
    yield from tell_of_the_unwell(evidence)
    open_ones = [name for name, state in evidence.shown.items() if state not in FINAL_TASK_STATES]
    if open_ones:
        yield f"`headway why {evidence.run.run_id} '{open_ones[0]}'` tells why one of them is in its state."


def tell_of_the_unwell(evidence: Evidence) -> Iterator[str]:
    """Name instances that ended without success."""
    unwell = [name for name, state in evidence.shown.items() if state in FINAL_TASK_STATES]
    if unwell:
        count = sum(evidence.instances.get(state, 0) for state in (TaskState.FAILED, TaskState.CANCELLED))
        more = f" and {count - len(unwell)} more" if count > len(unwell) else ""
        yield f"Without success ended {', '.join(unwell)}{more}."


def tell_why_unmade(evidence: Evidence) -> Iterator[str]:
    """Say what an instance waits for that was not released yet."""
    mapped = None if evidence.node is None else evidence.node.mapped
    made, size = (0, 0) if mapped is None else (mapped.created, mapped.size)
    yield f"It begins when all {size} instances of its task are made: {made} are."


def _counted(evidence: Evidence) -> str:
    counts = evidence.instances
    return ", ".join(f"{counts[state]} {verb_of(state)}" for state in TaskState if counts.get(state))


def verb_of(state: TaskState) -> str:
    """Return a state as the end of `3 of them ...`."""
    return f"are {state.replace('_', ' ')}" if state not in FINAL_TASK_STATES else f"ended as {state}"
