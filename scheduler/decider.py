"""One batch: load, decide, save, commit. The only caller of `decide`.

Events are decided in the order given, each upon what the ones before it changed. What a decision asks to be decided
next is decided in the same transaction, round by round, up to a bound; the rest leaves through the outbox and comes
back as any other event. Then every queue that got room or ready tasks is filled up to its window. Nothing leaves before
the commit: `Committed` says what then may.
"""

import logging
import secrets
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from headway.broker.port import Delivery
from headway.protocol.codec import encode
from headway.protocol.dag_events import DagVersion
from headway.protocol.errors import StaleDecision, Unavailable
from headway.protocol.kinds import Event, kind_of
from headway.protocol.messages import Capacity, RunTimer, TaskTimer
from headway.protocol.names import event_key, partition_label, task_key
from headway.protocol.topology import TASKS

from .core.choice import choose, looks_left
from .core.decide import DECIDE_VERSION, decide
from .core.needs import needs_of
from .core.rows import Room
from .core.snapshot import Decision, DeclareQueue, Envelope, FollowUp, PublishTask, SendOrder, Snapshot
from .core.starting import admit_runs, free_runs
from .intake import Arrival, Unreadable, partition_of_event
from .relay import event_message
from .store.save import OutboxRow, Record
from .store.store import Batch, Quarantined, Store

log = logging.getLogger(__name__)

ROUNDS_MAX: Final = 100
"""Follow-ups of follow-ups in one transaction: a chain of that many upstream_failed tasks falls at once."""

STALE_MAX: Final = 3
"""Times that an event is decided alone because of what others changed meanwhile. The second time holds the partitions'
locks, under which no scheduler changes anything: what is stale then was changed by hand, in that moment."""

ROWS_MAX: Final = 10_000
"""Task instances that one transaction may change before the rest is put off: about a second of work."""


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """What may leave, now that the transaction is committed; `next_due` is the soonest of the timers that it set."""

    outbox: list[OutboxRow] = []
    orders: list[SendOrder] = []
    queues: list[str] = []
    next_due: datetime | None = None


class _Work:
    """What one transaction has come to so far."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.snapshot = batch.snapshot
        self.sequences = dict(batch.sequences)
        self.seed = secrets.token_hex(16)
        self.records: list[Record] = []
        self.outbox: list[OutboxRow] = []
        self.orders: list[SendOrder] = []
        self.queues: list[str] = []
        self.follow_ups: list[Event] = []


class Decider:
    """Turns arrivals into committed changes."""

    def __init__(self, store: Store, *, user: str) -> None:
        """Decide upon `store`; `user` is the scheduler's name on the broker, under which its own events go out."""
        self._store = store
        self._user = user

    def process(
        self, arrivals: Sequence[Arrival], *, unreadable: Sequence[Unreadable] = (), confirmed: Sequence[str] = ()
    ) -> Committed:
        """Decide and commit a batch; raise Unavailable, and nothing else, with nothing changed.

        `confirmed` are messages of the outbox that the broker has. A batch that fails for any other reason is done
        again event by event, and an event that fails alone is quarantined.
        """
        try:
            return self._process(arrivals, unreadable, confirmed)
        except Unavailable:
            raise
        except Exception as error:
            level = logging.INFO if isinstance(error, StaleDecision) else logging.ERROR
            log.log(
                level,
                "a batch of %d events is decided again one by one: %s",
                len(arrivals),
                error,
                exc_info=level == logging.ERROR,
            )
        parts = [self._process((), unreadable, confirmed), *map(self._process_alone, arrivals)]
        return Committed(
            outbox=[row for part in parts for row in part.outbox],
            orders=[order for part in parts for order in part.orders],
            queues=[queue for part in parts for queue in part.queues],
            next_due=min((part.next_due for part in parts if part.next_due is not None), default=None),
        )

    def look(self, rooms: Sequence[Room]) -> None:
        """Let those go on who can now, of those who wait for these; what is to leave stands in the outbox."""
        tries = Retrying(retry=retry_if_exception_type(StaleDecision), stop=stop_after_attempt(STALE_MAX), reraise=True)
        tries(self._look, rooms)

    def _look(self, rooms: Sequence[Room]) -> None:
        with self._store.batch() as batch:
            work = _Work(batch)
            work.snapshot.changes.looks.update(rooms)
            self._admit_all(work)
            batch.save(work.records, work.outbox)

    def _process_alone(self, arrival: Arrival) -> Committed:
        tries = Retrying(retry=retry_if_exception_type(StaleDecision), stop=stop_after_attempt(STALE_MAX), reraise=True)
        try:
            return tries(self._process, (arrival,), (), ())
        except Unavailable:
            raise
        except Exception as error:
            log.exception("event %s is quarantined", kind_of(arrival.event))
            with self._store.batch() as batch:
                batch.quarantine([_undecided(arrival, error)])
                if isinstance(arrival.event, TaskTimer | RunTimer):
                    batch.put_off(arrival.event)
            return Committed()

    def _process(
        self, arrivals: Sequence[Arrival], unreadable: Sequence[Unreadable], confirmed: Sequence[str]
    ) -> Committed:
        with self._store.batch() as batch:
            work = _Work(batch)
            batch.forget_posted(confirmed)
            batch.quarantine([_quarantined(one) for one in unreadable])
            self._decide_all(work, arrivals)
            self._admit_all(work)
            next_due = _next_due(work.snapshot)
            batch.save(work.records, work.outbox)
        return Committed(outbox=work.outbox, orders=work.orders, queues=work.queues, next_due=next_due)

    def _decide_all(self, work: _Work, arrivals: Sequence[Arrival]) -> None:
        pending = list(arrivals)
        for _ in range(ROUNDS_MAX):
            if not pending or len(work.snapshot.changes.tasks) > ROWS_MAX:
                break
            self._decide_round(work, pending)
            pending = self._arrivals(work.follow_ups)
        work.outbox += [self._posted(one.event) for one in pending]

    def _admit_all(self, work: _Work) -> None:
        """Let all go on that can; what was admitted and failed for its inputs leaves its room to the next."""
        chosen: list[Capacity] = []
        for _ in range(ROUNDS_MAX):
            self._decide_chosen(work, self._run_admissions(work))
            chosen = choose(work.snapshot, work.batch)
            if not chosen:
                return
            self._decide_chosen(work, chosen)
            if len(work.snapshot.changes.tasks) > ROWS_MAX:
                break
        again = msgspec.structs.replace(chosen[-1], instances=(), to="look")
        rooms = sorted(looks_left(work.snapshot))
        work.outbox += [self._posted(msgspec.structs.replace(again, room=room)) for room in rooms]

    def _decide_chosen(self, work: _Work, chosen: Sequence[Event]) -> None:
        if chosen:
            self._decide_round(work, self._arrivals(chosen))
            work.outbox += [self._posted(event) for event in work.follow_ups]

    def _arrivals(self, events: Sequence[Event]) -> list[Arrival]:
        return [
            Arrival(
                event=event,
                partition=partition_of_event(event),
                message_id=uuid.uuid4().hex,
                user_id=self._user,
                origin="scheduler",
            )
            for event in events
        ]

    def _decide_round(self, work: _Work, arrivals: Sequence[Arrival]) -> None:
        work.follow_ups = []
        envelopes = [_envelope(work, arrival) for arrival in arrivals]
        _load(work, envelopes)
        for envelope in envelopes:
            if envelope.origin == "operator":
                if work.snapshot.messages[envelope.message_id]:
                    continue  # redelivered: it was decided and recorded before
                work.snapshot.messages[envelope.message_id] = True
            seq = work.sequences[envelope.partition] + 1
            numbered = msgspec.structs.replace(envelope, ref=f"{partition_label(envelope.partition)}/{seq}")
            decision = decide(work.snapshot, numbered, work.batch.now)
            work.snapshot.apply(decision.changes)
            if isinstance(envelope.event, DagVersion):  # a trigger behind it needs the graph of the new version
                _load(work, envelopes)
            self._take_effects(work, decision)
            if decision.recorded:
                work.sequences[envelope.partition] = seq
                work.records.append(_record(work, numbered, seq, decision))

    def _take_effects(self, work: _Work, decision: Decision) -> None:
        for effect in decision.effects:
            match effect:
                case FollowUp() if effect.in_line:
                    work.outbox.append(self._posted(effect.event))
                case FollowUp():
                    work.follow_ups.append(effect.event)
                case SendOrder():
                    work.orders.append(effect)
                case DeclareQueue():
                    work.queues.append(effect.queue)
                case PublishTask():
                    message = effect.message
                    work.outbox.append(
                        OutboxRow(
                            message_id=effect.message_id,
                            exchange=TASKS,
                            routing_key=task_key(message.queue, message.dag_id),
                            kind=kind_of(message),
                            body=encode(message).decode(),
                        )
                    )

    def _run_admissions(self, work: _Work) -> list[Event]:
        """Choose the held runs of the batch's DAGs that may begin."""
        snapshot = work.snapshot
        chosen: list[Event] = []
        for dag in [dag for dag in snapshot.changes.dags.values() if free_runs(dag)]:
            decided_upon = sum(run is not None and run.dag_id == dag.dag_id for run in snapshot.runs.origin.values())
            stored = work.batch.held_runs(dag.dag_id, free_runs(dag) + decided_upon)
            for run in stored:
                snapshot.runs.fill(run.run_id, run)
            chosen += admit_runs(snapshot, dag, stored)
        return chosen

    def _posted(self, event: Event) -> OutboxRow:
        message = event_message(self._user, event)
        return OutboxRow(
            message_id=message.message_id,
            exchange=message.exchange,
            routing_key=message.routing_key,
            kind=message.kind,
            body=message.body.decode(),
        )


def _next_due(snapshot: Snapshot) -> datetime | None:
    """Return the soonest of the timers and dates that the batch has set."""
    timers = (timer.due for timer in snapshot.changes.timers.values() if timer is not None)
    dates = (dag.next_date for dag in snapshot.changes.dags.values() if dag.next_date is not None)
    return min((*timers, *dates), default=None)


def _load(work: _Work, envelopes: list[Envelope]) -> None:
    while (needs := needs_of(work.snapshot, envelopes)).any():
        work.batch.load(needs)


def _envelope(work: _Work, arrival: Arrival) -> Envelope:
    return Envelope(
        event=arrival.event,
        partition=arrival.partition,
        ref="",
        message_id=arrival.message_id,
        user_id=arrival.user_id,
        origin=arrival.origin,
        seed=work.seed,
    )


def _record(work: _Work, envelope: Envelope, seq: int, decision: Decision) -> Record:
    event = envelope.event
    return Record(
        partition=envelope.partition,
        seq=seq,
        at=work.batch.now,
        decide_version=DECIDE_VERSION,
        kind=kind_of(event),
        message_id=envelope.message_id,
        user_id=envelope.user_id,
        origin=envelope.origin,
        dag_id=getattr(event, "dag_id", None),
        run_id=getattr(event, "run_id", None),
        task_id=getattr(event, "task_id", None),
        map_index=getattr(event, "map_index", None),
        try_number=getattr(event, "try_number", None),
        body=msgspec.Raw(encode(event)),
        verdict="applied" if decision.applied else "ignored",
        reason=decision.reason,
        facts=decision.facts,
        transitions=decision.transitions,
    )


def _undecided(arrival: Arrival, error: Exception) -> Quarantined:
    return Quarantined(
        queue=partition_label(arrival.partition),
        reason=f"it could not be decided: {error}",
        routing_key=event_key(arrival.user_id, kind_of(arrival.event), arrival.partition),
        user_id=arrival.user_id,
        body=encode(arrival.event).decode(),
        headers="{}",
    )


def _quarantined(unreadable: Unreadable) -> Quarantined:
    delivery: Delivery = unreadable.delivery
    return Quarantined(
        queue=delivery.queue,
        reason=unreadable.reason,
        routing_key=delivery.routing_key,
        user_id=delivery.user_id or "",
        body=delivery.body.decode(errors="backslashreplace").replace("\x00", "\\x00"),
        headers=msgspec.json.encode(delivery.headers, enc_hook=str).decode(),
    )
