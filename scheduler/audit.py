"""`headway audit`: says where the database holds anything but what the recorded events make of it (P1)."""

from collections.abc import Iterator

import msgspec

from headway.protocol.errors import UnknownRun
from headway.protocol.names import RunId

from .core.decide import DECIDE_VERSION
from .core.replay import Subject, decide_again, fold
from .store.engine import Engine
from .store.history import RunHistory, read_histories


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One place where the record and the state part."""

    run_id: RunId
    task_id: str
    detail: str


def audit_runs(engine: Engine, run_id: RunId | None = None) -> Iterator[Difference]:
    """Fold the recorded transitions of a run, or of all runs, and decide its events again; yield every difference.

    Events that another version of the rules decided are folded only. Raises UnknownRun.
    """
    found = False
    for history in read_histories(engine, run_id):
        found = True
        yield from _audit(history)
    if run_id is not None and not found:
        raise UnknownRun(run_id=run_id)


def _audit(history: RunHistory) -> Iterator[Difference]:
    folded, faults = fold(history.records)
    for subject in sorted(folded.keys() | history.states.keys()):
        expected = folded.get(subject, "waiting" if subject[0] == "task" else "nothing")
        stored = history.states.get(subject, "nothing")
        if expected != stored:
            detail = f"{_name(subject)} is {stored!r}, and its recorded transitions end at {expected!r}"
            yield Difference(run_id=history.run_id, task_id=subject[1], detail=detail)
    if history.graph is not None and history.versions <= {DECIDE_VERSION}:
        faults += decide_again(history.records, history.graph)
    for fault in faults:
        yield Difference(run_id=history.run_id, task_id=fault.task_id, detail=fault.detail)


def _name(subject: Subject) -> str:
    kind, task_id, map_index, try_number = subject
    index = f"[{map_index}]" if map_index >= 0 and kind != "run" else ""
    return {"run": "the run", "task": f"task {task_id}{index}"}.get(kind, f"attempt {try_number} of {task_id}{index}")
