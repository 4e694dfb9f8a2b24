"""The audit's two questions, asked of the recorded events of one run. Pure.

`fold` follows the recorded transitions, each of which must begin where the one before it ended: what comes out must be
what the database holds. `decide_again` decides the recorded events anew, from nothing, with the facts that were
recorded beside them: what comes out must be the recorded verdicts and transitions.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from headway.protocol.codec import decode_event
from headway.protocol.kinds import Role

from .decide import decide
from .graph import Graph
from .loaded import Loaded
from .needs import Needs, needs_of
from .rows import QueueRow, VersionKey
from .snapshot import Envelope, Fact, Snapshot, Transition

Subject = tuple[str, str, int, int]
"""What a transition is about: `task`, `attempt` or `run`, task id, map index, and for an attempt its number."""


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded event of a run, as the log holds it."""

    partition: int
    seq: int
    ref: str
    at: datetime
    message_id: str
    user_id: str
    origin: Role
    body: bytes
    applied: bool
    reason: str
    facts: dict[str, Fact]
    transitions: tuple[Transition, ...]


class Fault(msgspec.Struct, frozen=True):
    """Where the record contradicts itself or what is decided anew."""

    task_id: str
    detail: str


def subject_of(transition: Transition) -> Subject:
    """Return what a transition is about; the state of a task instance does not depend on its attempt's number."""
    number = transition.try_number if transition.subject == "attempt" else 0
    index = 0 if transition.subject == "run" else transition.map_index
    return transition.subject, transition.task_id, index, number


def fold(records: Iterable[Recorded]) -> tuple[dict[Subject, str], list[Fault]]:
    """Follow all transitions; return the state of everything that moved, and every step that does not follow."""
    states: dict[Subject, str] = {}
    faults: list[Fault] = []
    for record in records:
        for transition in record.transitions:
            subject = subject_of(transition)
            before = states.get(subject, "waiting" if transition.subject == "task" else "")
            if before != transition.before:
                detail = f"{record.ref} moves a {subject[0]} from {transition.before!r}, and it was {before!r}"
                faults.append(Fault(transition.task_id, detail))
            states[subject] = transition.after
    return states, faults


def decide_again(records: Iterable[Recorded], graph: Graph) -> Iterator[Fault]:
    """Decide a run's events anew and yield every verdict or transition that differs from the record."""
    snapshot = Snapshot()
    snapshot.graphs[VersionKey(graph.dag_id, graph.version)] = graph
    for record in records:
        envelope = Envelope(
            event=decode_event(record.body),
            partition=record.partition,
            ref=record.ref,
            message_id=record.message_id,
            user_id=record.user_id,
            origin=record.origin,
            seed=str(record.facts.get("seed", "")),
        )
        while (needs := needs_of(snapshot, [envelope])).any():
            _fill_with_nothing(snapshot, needs)
        snapshot.replayed = record.facts
        decision = decide(snapshot, envelope, record.at)
        if (decision.applied, decision.reason) != (record.applied, record.reason):
            yield Fault("", f"{record.ref} was {_verdict(record)}, and is now {_verdict(decision)}")
        if decision.transitions != record.transitions:
            yield from _compare(record, decision.transitions)
        snapshot.apply(decision.changes)


def _verdict(one: object) -> str:
    applied, reason = getattr(one, "applied", False), getattr(one, "reason", "")
    return f"{'applied' if applied else 'ignored'} ({reason})" if reason else "applied" if applied else "ignored"


def _compare(record: Recorded, now: tuple[Transition, ...]) -> Iterator[Fault]:
    for transition in sorted(set(record.transitions) ^ set(now)):
        side = "recorded only" if transition in record.transitions else "decided now only"
        detail = f"{record.ref}, {side}: {transition.subject} from {transition.before!r} to {transition.after!r}"
        yield Fault(transition.task_id, detail)


def _fill_with_nothing(snapshot: Snapshot, needs: Needs) -> None:
    """Answer every need with what the record says so far: rows that no recorded decision made are not there."""
    pairs: tuple[tuple[Loaded[Any, Any], set[Any]], ...] = (
        (snapshot.dags, needs.dags),
        (snapshot.backfills, needs.backfills),
        (snapshot.runs, needs.runs),
        (snapshot.tasks, needs.tasks),
        (snapshot.attempts, needs.attempts),
        (snapshot.timers, needs.timers),
        (snapshot.outputs, needs.outputs),
    )
    for loaded, keys in pairs:
        for key in keys:
            loaded.fill(key, None)
    snapshot.gathered |= needs.gathered
    for worker in needs.workers:
        snapshot.boots[worker] = set()
    for boot in needs.held:
        snapshot.held[boot] = set()
    for queue in needs.queues:
        snapshot.queues[queue] = QueueRow(queue=queue)
    snapshot.digests.update(dict.fromkeys(needs.digests, False))
    snapshot.messages.update(dict.fromkeys(needs.messages, False))
