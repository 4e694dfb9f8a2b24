"""What holds a ready task back, in sentences: its queue, a pool, limits of its DAG and task, a paused DAG. Pure."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from headway.protocol.states import HoldReason
from headway.scheduler.core.admission import hold_of, window_of
from headway.scheduler.core.limits import hold_of_room
from headway.scheduler.core.rows import RoomRow, TaskInstance
from headway.scheduler.store.evidence import Evidence


def held_by(evidence: Evidence, task: TaskInstance, now: datetime) -> HoldReason:
    """Return what holds it, as of now: a queue's hold depends on its workers, a line's on what its first one lacks."""
    if evidence.lacks is not None:
        return hold_of_room(evidence.lacks.room)
    return hold_of(evidence.queue, now) if task.hold in (None, HoldReason.WINDOW) else task.hold


def tell_hold(evidence: Evidence, task: TaskInstance, hold: HoldReason) -> Iterator[str]:
    """Yield until when it is held, and who goes first."""
    limit = evidence.lacks or RoomRow(room=task.room)
    words = {
        "queue": evidence.queue.queue,
        "pool": evidence.spec.pool,
        "dag": task.dag_id,
        "places": _counted(evidence.spec.pool_slots, "slot is", "slots are"),
        "slots": limit.slots or 0,
        "said": _SAID_BY_KIND.get(limit.room.partition("/")[0], ""),
    }
    yield f"held back until {UNTIL[hold].format(**words)}"
    ahead = f"{evidence.ahead} go before this one"
    if evidence.lacks is not None:
        yield f"{limit.used} of {limit.slots or 0} are taken, {limit.waiting} wait, and of those like it {ahead}."
    elif task.hold is HoldReason.PAUSED:
        yield f"{evidence.ahead} of its DAG's go before this one."
    else:
        yield f"{evidence.queue.queued} of at most {window_of(evidence.queue)} tasks are published there, and {ahead}."


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


UNTIL: Final[Mapping[HoldReason, str]] = {
    HoldReason.WINDOW: "queue {queue!r} has room",
    HoldReason.NO_WORKERS: "a worker takes something from queue {queue!r}, which none that is online serves",
    HoldReason.BROKER_FULL: "the broker takes more for queue {queue!r}, which is full there",
    HoldReason.POOL: "{places} free in pool {pool!r}, for it and for those before it",
    HoldReason.DAG_LIMIT: "one more task of its run may be queued or run: max_active_tasks is {slots}",
    HoldReason.TASK_LIMIT: "one more instance of this task may be queued or run: {said} is {slots}",
    HoldReason.PAUSED: "DAG {dag!r} is no longer paused: `headway unpause {dag}`",
}
"""Until when, as the end of a sentence."""

_SAID_BY_KIND: Final = {"task": "max_active", "each": "max_active_per_run"}
