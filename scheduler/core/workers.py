"""Rules for what workers say of themselves, and for their silence.

A boot is believed alive for its lease and two heartbeats after the last word that the scheduler was there to hear.
Evidence is quicker than silence: a later boot of the same name, or a heartbeat that does not list what was granted
before it was sent. What follows for each attempt concerned is an event of its own for the partition of its DAG, in line
behind what is on its way there: words about a worker travel in a queue of their own and must not overtake its results.
"""

from datetime import datetime, timedelta

import msgspec

from headway.protocol.codec import address_of
from headway.protocol.messages import (
    BootMessage,
    Heartbeat,
    Held,
    LeaseTimer,
    NotHeld,
    Offline,
    Online,
    WorkerLost,
)
from headway.protocol.states import WorkerState

from .rows import AttemptKey, BootKey, Worker
from .snapshot import Decision, Draft, FollowUp

_replace = msgspec.structs.replace

_STALE = "the boot has ended"


def decide_online(draft: Draft, event: Online) -> Decision:
    """A boot began: register it, and end every earlier one of its name with what it held."""
    key = BootKey(event.worker, event.boot)
    known = _worker(draft, key)
    if known is not None:
        return draft.ignored("this boot is known already")
    return _register(draft, event, "")


def decide_heartbeat(draft: Draft, event: Heartbeat) -> Decision:
    """A boot lives: renew its lease, and miss what it should hold and does not."""
    known = _worker(draft, BootKey(event.worker, event.boot))
    if known is None:
        return _register(draft, event, "the boot was not known: registered")
    if event.seq <= known.seq:
        return draft.ignored("a later word of this boot was heard before")
    rival = _rival(draft, known.key)
    if known.state is WorkerState.ENDED and rival is not None:
        return _hear_ended(draft, known, rival, event)
    revived = known.state is not WorkerState.ONLINE
    worker = _replace(
        known,
        state=WorkerState.ONLINE,
        seq=event.seq,
        online_at=draft.now if revived else known.online_at,
        last_heartbeat=draft.now,
        lease_due=_lease_end(draft.now, known),
    )
    draft.changes.workers[worker.key] = worker
    if revived:
        _count_slots(draft, worker, 1)
    _miss_what_is_not_held(draft, worker, event)
    heard = f"heard again after it was {known.state}" if revived else ""
    return draft.applied(heard, recorded=revived or bool(draft.effects))


def decide_offline(draft: Draft, event: Offline) -> Decision:
    """A boot ended in good order; whatever it was granted and did not report is lost."""
    worker = _worker(draft, BootKey(event.worker, event.boot))
    if worker is None or worker.state is WorkerState.ENDED:
        return draft.ignored(_STALE if worker is not None else "no such boot")
    _end(draft, _replace(worker, seq=max(worker.seq, event.seq)), WorkerState.ENDED, "its worker went offline")
    return draft.applied()


def decide_lease_timer(draft: Draft, event: LeaseTimer) -> Decision:
    """A lease may have run out: only silence that we were there to hear counts."""
    worker = _worker(draft, BootKey(event.worker, event.boot))
    if worker is None or worker.state is not WorkerState.ONLINE or worker.lease_due != event.due:
        return draft.ignored("no such lease is running")
    if event.due > draft.now:
        return draft.ignored("the lease is not over yet")
    heard = max(worker.last_heartbeat, event.listening_since)
    due = _lease_end(heard, worker)
    if due > draft.now:
        draft.changes.workers[worker.key] = _replace(worker, lease_due=due)
        return draft.applied("the lease begins anew: we were not listening all the time")
    silence = (draft.now - heard).total_seconds()
    _end(draft, worker, WorkerState.LOST, f"worker {worker.worker} was silent for {silence:.0f} s")
    return draft.applied()


def _worker(draft: Draft, key: BootKey) -> Worker | None:
    return draft.snapshot.workers.rows.get(key)


def _rival(draft: Draft, known: BootKey) -> Worker | None:
    """Return the boot of the same name that is online in its place, if any: a worker's name is held by one boot."""
    boots = (_worker(draft, key) for key in sorted(draft.snapshot.boots.get(known.worker, ())))
    return next((boot for boot in boots if boot and boot.state is WorkerState.ONLINE and boot.key != known), None)


def _hear_ended(draft: Draft, known: Worker, rival: Worker, event: Heartbeat) -> Decision:
    """An ended boot speaks, and another is online: one of them is a late word. The first time that is recorded.

    Either the ended one is heard no more, or, if the other's `online` was the late word, that one is LOST in the end,
    and the next word of this one makes it online again.
    """
    draft.changes.workers[known.key] = _replace(known, seq=event.seq, last_heartbeat=draft.now)
    first = known.last_heartbeat <= rival.online_at
    return draft.applied(f"{_STALE}, and boot {rival.boot} of its name is online", recorded=first)


def _lease_end(heard: datetime, worker: Worker | BootMessage) -> datetime:
    return heard + timedelta(seconds=worker.lease_seconds + 2 * worker.heartbeat_seconds)


def _register(draft: Draft, event: BootMessage, said: str) -> Decision:
    """Take a boot for the one that has its name, unless that one began later: then this is a late word of a dead one.

    Boots' ids sort in the order of their beginnings. Where a clock was set back they do not, and the boot must wait
    until the one before it is LOST.
    """
    rival = _rival(draft, BootKey(event.worker, event.boot))
    if rival is not None and rival.boot > event.boot:
        return draft.ignored(f"boot {rival.boot}, which began later, is online: this word of an earlier one is late")
    for key in sorted(draft.snapshot.boots.get(event.worker, ())):
        earlier = _worker(draft, key)
        if earlier is not None and earlier.state is not WorkerState.ENDED:
            _end(draft, earlier, WorkerState.ENDED, f"worker {event.worker} was started anew")
    worker = Worker(
        worker=event.worker,
        boot=event.boot,
        state=WorkerState.ONLINE,
        host=event.host,
        pid=event.pid,
        queues=event.queues,
        slots=event.slots,
        lease_seconds=event.lease_seconds,
        heartbeat_seconds=event.heartbeat_seconds,
        headway_version=event.headway_version,
        seq=event.seq,
        online_at=draft.now,
        last_heartbeat=draft.now,
        lease_due=_lease_end(draft.now, event),
    )
    draft.changes.workers[worker.key] = worker
    _count_slots(draft, worker, 1)
    return draft.applied(said)


def _end(draft: Draft, worker: Worker, state: WorkerState, detail: str) -> None:
    if worker.state is WorkerState.ONLINE:
        _count_slots(draft, worker, -1)
    draft.changes.workers[worker.key] = _replace(worker, state=state)
    for attempt in draft.snapshot.held_by(worker.key):
        draft.effects.append(
            FollowUp(WorkerLost(**address_of(attempt), **worker.key._asdict(), detail=detail), in_line=True)
        )


def _count_slots(draft: Draft, worker: Worker, sign: int) -> None:
    for queue in worker.queues:
        delta = draft.queue(queue)
        delta.slots += sign * worker.slots
        delta.workers += sign


def _miss_what_is_not_held(draft: Draft, worker: Worker, event: Heartbeat) -> None:
    listed = {_held_key(held) for held in event.held}
    for attempt in draft.snapshot.held_by(worker.key):
        if attempt.key not in listed and attempt.granted_seq < event.seq:
            detail = f"worker {worker.worker} lives and does not hold it"
            draft.effects.append(
                FollowUp(NotHeld(**address_of(attempt), **worker.key._asdict(), detail=detail), in_line=True)
            )


def _held_key(held: Held) -> AttemptKey:
    return AttemptKey(held.run_id, held.task_id, held.map_index, held.try_number)
