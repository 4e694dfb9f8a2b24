"""One batch of events after the other, decided and saved as scheduler/decider.py does it, in memory."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec
import pytest

from headway.cli.addressing import join_index
from headway.protocol.dag import Dag
from headway.protocol.dag_events import DagVersion, ScheduleTimer
from headway.protocol.kinds import ROLE_OF_KIND, Event, Role
from headway.protocol.messages import AttemptMessage, RunTimerKind, Task, TimerKind
from headway.protocol.names import UNMAPPED, DagId, QueueName, RunId
from headway.protocol.states import RunState, TaskState
from headway.protocol.topology import NO_LIMITS, QueueLimits
from headway.scheduler.core.choice import choose
from headway.scheduler.core.decide import decide
from headway.scheduler.core.limits import pool_room
from headway.scheduler.core.needs import needs_of
from headway.scheduler.core.rows import Attempt, AttemptKey, RoomRow, TaskInstance, TimerKey
from headway.scheduler.core.snapshot import (
    Changes,
    Decision,
    DeclareQueue,
    Envelope,
    FollowUp,
    PublishTask,
    SendOrder,
    Snapshot,
)
from headway.scheduler.core.starting import admit_runs, free_runs
from headway.scheduler.core.timers import NO_TASK

from . import invariants
from .dags import dag
from .database import Database
from .speech import BOOT, RUN, START, Speech

SETTLED_MAX: Final = 10_000
"""Events that follow from one before a test gives up waiting for the end."""

ADMISSIONS_MAX: Final = 100
"""Rounds of admission in one batch: more than tasks that a test lets fail for their inputs."""

LOADS_MAX: Final = 4
"""Rounds of loading that `needs.py` promises to do with."""

__all__ = ["BOOT", "RUN", "START", "World", "cut_slices", "name_of", "running"]


class Shelf:
    """The database, as it is asked while a batch chooses."""

    def __init__(self, db: Database, snapshot: Snapshot) -> None:
        self.waiting = db.waiting
        self.lacking = db.lacking
        self.load = partial(db.load, snapshot)


class World(Speech):
    """A scheduler. `owed` are its events to itself that went out to the broker and have not come back yet.

    Left alone, `tell` lets them come back at once; with `settling` off, a test hands them over itself. `rounds_max` is
    how many rounds of follow-ups a batch decides before the rest goes out to the broker.
    """

    def __init__(
        self,
        value: Dag | None = None,
        *,
        settling: bool = True,
        rounds_max: int = 100,
        limits: Mapping[QueueName, QueueLimits] = NO_LIMITS,
    ) -> None:
        super().__init__()
        self._limits = limits
        self.settling = settling
        self.checked = True  # whether invariants are: not where a test plants what no rule would leave
        self.rounds_max = rounds_max
        self.owed: list[Event] = []
        self.published: list[PublishTask] = []
        self.orders: list[SendOrder] = []
        self.declared: list[str] = []
        self.records: list[tuple[Envelope, Decision]] = []
        self.times: list[datetime] = []
        self._follow_ups: list[Event] = []
        self._kept = Snapshot(limits)
        if value is not None:
            self.tell(self.version(value))

    # --- what a test says ---------------------------------------------------------------------------------------------

    def tell(self, event: Event, *, user: str = "somebody", message_id: str | None = None) -> Decision:
        """Let one event be decided in a batch of its own, and return the decision about it."""
        return self.tell_all(self.envelope(event, user=user, message_id=message_id))[0]

    def tell_all(self, *events: Event | Envelope) -> list[Decision]:
        """Let events be decided in one batch, and return the decisions about them."""
        envelopes = [one if isinstance(one, Envelope) else self.envelope(one) for one in events]
        decisions = self.process(envelopes)
        if self.settling:
            self.settle()
        return decisions

    def ring(self, name: str, timer: TimerKind) -> Decision:
        """Wait until a stored timer is due, and tell it."""
        stored = self.timer(name, timer)
        assert stored is not None, f"task {name} has no timer {timer}"
        self.now = max(self.now, stored.due)
        return self.tell(self.due(stored))

    def start(self, *names: str) -> None:
        """Let the boot ask for the current attempts of these tasks."""
        for name in names:
            assert self.tell(self.started(name)).applied

    def play(self, *names: str, exit_code: int = 0) -> None:
        """Let the boot run the current attempts of these tasks to their end."""
        for name in names:
            self.start(name)
            assert self.tell(self.finished(name, exit_code)).applied

    def ring_run(self, timer: RunTimerKind, run_id: str = RUN) -> Decision:
        """Wait until a stored timer of a run is due, and tell it."""
        stored = self.db.timers[TimerKey(RunId(run_id), NO_TASK, UNMAPPED, timer)]
        self.now = max(self.now, stored.due)
        return self.tell(self.due(stored))

    def ring_schedule(self, dag_id: str = "etl") -> Decision:
        """Wait until a DAG is due by its schedule, and tell it."""
        due = self.db.dags[DagId(dag_id)].next_date
        assert due is not None, f"DAG {dag_id} is not due any more"
        self.now = max(self.now, due)
        return self.tell(ScheduleTimer(dag_id=DagId(dag_id), due=due))

    def restart(self) -> None:
        """Remember nothing but the database, as after a crash."""
        self._kept = Snapshot(self._limits)

    def set_pools(self, pools: Mapping[str, int]) -> None:
        """Store how many slots each pool has, as a scheduler does when it starts; none is looked at yet."""
        for room, row in self.db.rooms.items():
            if room.startswith("pool/"):
                self.db.rooms[room] = msgspec.structs.replace(row, slots=None)
        for pool, slots in pools.items():
            row = self.db.rooms.get(pool_room(pool), RoomRow(room=pool_room(pool)))
            self.db.rooms[row.room] = msgspec.structs.replace(row, slots=slots)
        self.restart()

    def settle(self) -> None:
        """Let everything that the scheduler said to itself come back, one by one."""
        for _ in range(SETTLED_MAX):
            if not self.owed:
                return
            self.process([self.envelope(self.owed.pop(0))])
        raise AssertionError("events follow from events without an end")

    # --- what a test looks at -----------------------------------------------------------------------------------------

    def states(self, run_id: str = RUN) -> dict[str, TaskState]:
        """Return the states of all task instances of a run, by name."""
        return {name_of(row): row.state for row in self.db.tasks.values() if row.run_id == run_id}

    def run_state(self, run_id: str = RUN) -> RunState:
        """Return the state of a run."""
        return self.db.runs[RunId(run_id)].state

    def envelope(self, event: Event, *, user: str = "somebody", message_id: str | None = None) -> Envelope:
        """Put an event into an envelope as intake does."""
        origin: Role = ROLE_OF_KIND[type(event)]
        return Envelope(
            event=event,
            partition=0,
            ref="",
            message_id=message_id or self._message_id(event, origin),
            user_id=user,
            origin=origin,
            seed="",
        )

    def _message_id(self, event: Event, origin: Role) -> str:
        """Return what the broker keeps of a task message that comes back, and a new id for any other."""
        self.seq += 1
        if origin == "broker" and isinstance(event, AttemptMessage):
            row = self.db.attempts.get(AttemptKey(event.run_id, event.task_id, event.map_index, event.try_number))
            return f"{event.token}.{row.publications if row is not None else 1}"
        return f"message {self.seq}"

    # --- one batch ----------------------------------------------------------------------------------------------------

    def process(self, envelopes: Sequence[Envelope]) -> list[Decision]:
        """Decide and save one batch; return the decisions about what came in."""
        before = invariants.Before.of(self.db)
        snapshot, self._kept = self._kept, Snapshot(self._limits)
        decisions = self._decide_round(snapshot, envelopes)
        pending = self._follow_ups
        for _ in range(self.rounds_max):
            if not pending:
                break
            self._decide_round(snapshot, list(map(self.envelope, pending)))
            pending = self._follow_ups
        self.owed += pending
        for _ in range(ADMISSIONS_MAX):
            self._decide_chosen(snapshot, self._run_admissions(snapshot))
            chosen = choose(snapshot, Shelf(self.db, snapshot))
            if not chosen:
                break
            self._decide_chosen(snapshot, chosen)
        else:
            raise AssertionError("what is admitted is chosen again and again")
        self.db.save(snapshot)
        snapshot.settle()
        self._kept = snapshot
        if self.checked:
            invariants.check_kept(self.db, snapshot)
            invariants.check(self, before)
        return decisions

    def _decide_chosen(self, snapshot: Snapshot, chosen: Sequence[Event]) -> None:
        if chosen:
            self._decide_round(snapshot, list(map(self.envelope, chosen)))
            self.owed += self._follow_ups

    def _decide_round(self, snapshot: Snapshot, envelopes: Sequence[Envelope]) -> list[Decision]:
        self._follow_ups = []
        self._load(snapshot, list(envelopes))
        return [self._decide_next(snapshot, envelopes, place) for place in range(len(envelopes))]

    def _decide_next(self, snapshot: Snapshot, envelopes: Sequence[Envelope], place: int) -> Decision:
        decision = self._decide(snapshot, envelopes[place])
        if isinstance(envelopes[place].event, DagVersion):
            self._load(snapshot, list(envelopes))
        return decision

    def _load(self, snapshot: Snapshot, envelopes: list[Envelope]) -> None:
        for _ in range(LOADS_MAX):
            needs = needs_of(snapshot, envelopes)
            if not needs.any():
                return
            self.db.load(snapshot, needs)
        assert not needs_of(snapshot, envelopes).any(), "loading takes more rounds than promised"

    def _decide(self, snapshot: Snapshot, envelope: Envelope) -> Decision:
        if envelope.origin == "operator":
            if envelope.message_id in self.db.messages:
                return Decision(applied=False, reason="decided before", changes=Changes(), recorded=False)
            self.db.messages.add(envelope.message_id)
        number = len(self.records)
        envelope = msgspec.structs.replace(envelope, ref=f"p00/{number}", seed=f"seed {number}")
        decision = decide(snapshot, envelope, self.now)
        invariants.check_decision(decision)
        snapshot.apply(decision.changes)
        self.records.append((envelope, decision))
        self.times.append(self.now)
        for effect in decision.effects:
            match effect:
                case FollowUp():
                    (self.owed if effect.in_line else self._follow_ups).append(effect.event)
                case SendOrder():
                    self.orders.append(effect)
                case DeclareQueue():
                    self.declared.append(effect.queue)
                case PublishTask():
                    self.published.append(effect)
        return decision

    def _run_admissions(self, snapshot: Snapshot) -> list[Event]:
        chosen: list[Event] = []
        for row in [row for row in snapshot.changes.dags.values() if free_runs(row)]:
            held = self.db.held_runs(row.dag_id)
            for run in held:
                snapshot.runs.fill(run.run_id, run)
            chosen += admit_runs(snapshot, row, held)
        return chosen


def name_of(task: TaskInstance | Attempt | Task) -> str:
    """Return how a test names the task instance that something is of."""
    return join_index(task.task_id, task.map_index)


def running(*chains: str, **fields: Any) -> World:
    """Return a world in which a boot of one slot is online and a run of this DAG has begun; see `dag`."""
    world = World(dag(*chains, **fields))
    world.tell(world.online())
    assert world.tell(world.trigger()).applied
    return world


def cut_slices(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Let one decision touch so few task instances that long work is cut into slices."""
    for module in ("choice", "changes", "expansion", "needs", "runs"):
        monkeypatch.setattr(f"headway.scheduler.core.{module}.ROWS_PER_DECISION_MAX", rows)
