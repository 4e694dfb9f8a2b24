"""What a decision may look at: rows as loaded, overlaid with what the batch has decided so far.

`Snapshot` belongs to the shell, which fills it, applies the changes after each decision and, after the commit, goes on
with it, so that what was just written need not be read again. A row that was looked for and not found is there as None,
and looking at one that was never loaded is a mistake of `needs.py`, hence a KeyError.
`Draft` is what one decision works on: it reads through to the snapshot and keeps its own changes, so that a decision
that comes to nothing is dropped without a trace.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Final

import msgspec

from headway.protocol.errors import Corrupt
from headway.protocol.kinds import Event, Role
from headway.protocol.messages import Drop, Grant, Stop, Task
from headway.protocol.names import UNMAPPED, DagId, QueueName, RunId, TaskId, WorkerName
from headway.protocol.states import FINAL_RUN_STATES, FINAL_TASK_STATES, OPEN_ATTEMPT_STATES, AttemptState
from headway.protocol.topology import NO_LIMITS, QueueLimits

from .deltas import QueueDelta, RoomDelta, moved, room_after
from .graph import Graph
from .loaded import ROWS_KEPT_MAX, Loaded
from .rows import (
    Attempt,
    AttemptKey,
    BackfillRow,
    BootKey,
    DagRow,
    Output,
    QueueRow,
    Room,
    RoomRow,
    Run,
    TaskInstance,
    TaskKey,
    Timer,
    TimerKey,
    VersionKey,
    Worker,
)

GRAPHS_KEPT_MAX: Final = 64
"""Compiled DAG versions that are kept: a run of each may be going on, and one of 100,000 tasks takes tens of MB."""

Fact = str | int | None


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """An event with what is recorded beside it. `ref` names the record; `seed` is where tokens come from."""

    event: Event
    partition: int
    ref: str
    message_id: str
    user_id: str
    origin: Role
    seed: str


class Transition(msgspec.Struct, frozen=True, array_like=True, order=True, gc=False):
    """One recorded change of state: of a task instance, an attempt (`try_number` set) or the run (`task_id` empty)."""

    subject: str
    task_id: str
    map_index: int
    try_number: int
    before: str
    after: str
    change: str
    reason: str


class SendOrder(msgspec.Struct, frozen=True):
    """Tell a worker, after the commit. May be lost: the worker asks again."""

    worker: WorkerName
    order: Grant | Drop | Stop


class PublishTask(msgspec.Struct, frozen=True):
    """Put a task message into the outbox."""

    message: Task
    publication: int

    @property
    def message_id(self) -> str:
        """Under which it leaves and, if nobody takes it, comes back."""
        return f"{self.message.token}.{self.publication}"


class DeclareQueue(msgspec.Struct, frozen=True):
    """Make sure that the queue exists on the broker."""

    queue: QueueName


class FollowUp(msgspec.Struct, frozen=True):
    """Let this event be decided next: in this batch, or through the broker if it is another scheduler's.

    One that is `in_line` always goes through the broker: it must be decided after all that waits in its partition's
    queue already, such as the `finished` of an attempt whose worker is thought dead.
    """

    event: Event
    in_line: bool = False


Effect = SendOrder | PublishTask | DeclareQueue | FollowUp


class Changes:
    """The rows that something changed, by table; None means deleted. `looks` are rooms whose first may go on now."""

    __slots__ = (
        "attempts",
        "backfills",
        "dags",
        "looks",
        "outputs",
        "queues",
        "rooms",
        "runs",
        "tasks",
        "timers",
        "workers",
    )

    def __init__(self) -> None:
        """Begin with nothing changed."""
        self.dags: dict[DagId, DagRow] = {}
        self.backfills: dict[str, BackfillRow] = {}
        self.runs: dict[RunId, Run] = {}
        self.tasks: dict[TaskKey, TaskInstance] = {}
        self.attempts: dict[AttemptKey, Attempt] = {}
        self.timers: dict[TimerKey, Timer | None] = {}
        self.workers: dict[BootKey, Worker] = {}
        self.outputs: dict[TaskKey, Output] = {}
        self.queues: dict[QueueName, QueueDelta] = {}
        self.rooms: dict[Room, RoomDelta] = {}
        self.looks: set[Room] = set()

    def merge(self, later: "Changes") -> None:
        """Overlay these changes with later ones."""
        self.dags.update(later.dags)
        self.backfills.update(later.backfills)
        self.runs.update(later.runs)
        self.tasks.update(later.tasks)
        self.attempts.update(later.attempts)
        self.timers.update(later.timers)
        self.workers.update(later.workers)
        self.outputs.update(later.outputs)
        for queue, delta in later.queues.items():
            self.queues.setdefault(queue, QueueDelta()).add(delta)
        for room, room_delta in later.rooms.items():
            self.rooms.setdefault(room, RoomDelta()).add(room_delta)
        self.looks |= later.looks


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What an event came to. An ignored one changes nothing; its effects can only be answers to who sent it."""

    applied: bool
    reason: str
    changes: Changes
    transitions: tuple[Transition, ...] = ()
    effects: tuple[Effect, ...] = ()
    facts: dict[str, Fact] = {}
    recorded: bool = True


class Snapshot:
    """Rows as loaded and as decided since. `replayed` holds recorded facts while an audit decides again."""

    def __init__(self, limits: Mapping[QueueName, QueueLimits] = NO_LIMITS) -> None:
        """Begin with nothing loaded and nothing decided; `limits` are those of queues that have their own."""
        self.limits = limits
        self.dags: Loaded[DagId, DagRow] = Loaded()
        self.backfills: Loaded[str, BackfillRow] = Loaded()
        self.runs: Loaded[RunId, Run] = Loaded()
        self.tasks: Loaded[TaskKey, TaskInstance] = Loaded()
        self.attempts: Loaded[AttemptKey, Attempt] = Loaded()
        self.timers: Loaded[TimerKey, Timer] = Loaded()
        self.outputs: Loaded[TaskKey, Output] = Loaded()
        self.gathered: set[TaskKey] = set()  # mapped tasks of whose instances all outputs are loaded
        self.workers: Loaded[BootKey, Worker] = Loaded()
        self.boots: dict[WorkerName, set[BootKey]] = {}
        self.held: dict[BootKey, set[AttemptKey]] = {}
        self.queues: dict[QueueName, QueueRow] = {}
        self.rooms: dict[Room, RoomRow] = {}
        self.graphs: dict[VersionKey, Graph] = {}
        self.digests: dict[str, bool] = {}
        self.messages: dict[str, bool] = {}
        self.changes = Changes()
        self.replayed: dict[str, Fact] | None = None

    def apply(self, changes: Changes) -> None:
        """Overlay the rows with what a decision changed."""
        self.dags.overlay(changes.dags)
        self.backfills.overlay(changes.backfills)
        self.runs.overlay(changes.runs)
        self.tasks.overlay(changes.tasks)
        self.attempts.overlay(changes.attempts)
        self.workers.overlay(changes.workers)
        self.outputs.overlay(changes.outputs)
        for key in changes.workers:
            self.boots.setdefault(key.worker, set()).add(key)
        for timer_key, timer in changes.timers.items():
            self.timers.rows[timer_key] = timer
        self.changes.merge(changes)

    def settle(self) -> None:
        """Begin a new batch after a commit: the rows stay, as what the database now holds."""
        self.dags.settle(lambda _: False)
        self.backfills.settle(lambda row: row.finished_at is not None)
        self.runs.settle(lambda run: run.state in FINAL_RUN_STATES)
        self.tasks.settle(lambda task: task.state in FINAL_TASK_STATES)
        self.attempts.settle(lambda attempt: attempt.state not in OPEN_ATTEMPT_STATES)
        self.workers.settle(lambda _: False)
        if not self.workers.rows:
            self.boots.clear()
        self.timers.forget()
        self.outputs.forget()
        for passing in (self.held, self.digests, self.messages, self.gathered):
            passing.clear()
        self.queues = {queue: moved(row, self.changes.queues.get(queue)) for queue, row in self.queues.items()}
        if len(self.rooms) > ROWS_KEPT_MAX:
            self.rooms.clear()
        self.rooms.update({room: self.room(room) for room in self.changes.rooms if room in self.rooms})
        if len(self.graphs) > GRAPHS_KEPT_MAX:
            self.graphs.clear()
        self.changes = Changes()

    def room(self, room: Room) -> RoomRow:
        """Return a room as the batch has made it; raise KeyError where it was not loaded."""
        return room_after(self.rooms[room], self.changes.rooms.get(room))

    def forget_workers(self) -> None:
        """Keep nothing about workers: heartbeats change them, and leave no record that would say so."""
        self.workers.forget()
        self.boots.clear()

    def graph_of(self, run: Run) -> Graph:
        """Return the compiled version that a run stays on."""
        return self.graphs[VersionKey(run.dag_id, run.version)]

    def held_by(self, boot: BootKey) -> Iterator[Attempt]:
        """Yield the running attempts that were granted to a boot, as the batch sees them."""
        keys = self.held.get(boot, set()) | {
            key for key, row in self.changes.attempts.items() if (row.worker, row.boot) == boot
        }
        for key in sorted(keys):
            attempt = self.attempts.rows[key]
            if attempt is not None and attempt.state is AttemptState.RUNNING:
                yield attempt


class Draft:
    """One decision in the making: reads the snapshot through its own changes."""

    __slots__ = ("changes", "effects", "envelope", "facts", "lists", "now", "snapshot", "transitions")

    def __init__(self, snapshot: Snapshot, envelope: Envelope, now: datetime) -> None:
        """Begin a decision about `envelope` at `now`, aware UTC."""
        self.snapshot = snapshot
        self.envelope = envelope
        self.now = now
        self.changes = Changes()
        self.transitions: list[Transition] = []
        self.effects: list[Effect] = []
        self.facts: dict[str, Fact] = {}
        self.lists: dict[TaskKey, str] = {}  # outputs of mapped tasks that were put together

    def fact(self, name: str, compute: Callable[[], Fact]) -> Fact:
        """Look at something outside the run; it is recorded, and an audit reads the record instead."""
        replayed = self.snapshot.replayed
        value = compute() if replayed is None else replayed.get(name)
        self.facts[name] = value
        return value

    def dag(self, dag_id: DagId) -> DagRow | None:
        """Return a DAG, or None where there is none: an audit of a run knows of none."""
        return self.changes.dags.get(dag_id) or self.snapshot.dags.rows[dag_id]

    def backfill(self, backfill_id: str) -> BackfillRow | None:
        """Return a backfill, or None where there is none: an audit of a run knows of none."""
        return self.changes.backfills.get(backfill_id) or self.snapshot.backfills.rows[backfill_id]

    def run(self, run_id: RunId) -> Run | None:
        """Return a run, or None where there is none."""
        return self.changes.runs.get(run_id) or self.snapshot.runs.rows[run_id]

    def run_of(self, task: TaskInstance) -> Run:
        """Return the run that a task instance belongs to; raise Corrupt where there is none."""
        run = self.run(task.run_id)
        if run is None:
            raise Corrupt(detail=f"task instance {task.task_id} has no run {task.run_id}")
        return run

    def task(self, key: TaskKey) -> TaskInstance | None:
        """Return a task instance, or None where there is none."""
        return self.changes.tasks.get(key) or self.snapshot.tasks.rows[key]

    def attempt(self, key: AttemptKey) -> Attempt | None:
        """Return an attempt, or None where there is none."""
        return self.changes.attempts.get(key) or self.snapshot.attempts.rows[key]

    def output(self, run_id: RunId, task_id: TaskId, map_index: int = UNMAPPED) -> Output | None:
        """Return what a task instance wrote, or None where it wrote nothing."""
        key = TaskKey(run_id, task_id, map_index)
        return self.changes.outputs.get(key) or self.snapshot.outputs.rows[key]

    def outputs_of(self, node: TaskKey, size: int) -> list[Output | None]:
        """Return what each instance of a mapped task wrote; raise KeyError where they were not loaded."""
        if node not in self.snapshot.gathered:
            raise KeyError(node)
        rows, (run_id, task_id, _) = self.snapshot.outputs.rows, node
        return [rows.get(TaskKey(run_id, task_id, index)) for index in range(size)]

    def graph(self, run: Run) -> Graph:
        """Return the compiled version that a run stays on."""
        return self.snapshot.graph_of(run)

    def queue(self, queue: QueueName) -> QueueDelta:
        """Return what this decision adds to a queue's counters, to be added to."""
        return self.changes.queues.setdefault(queue, QueueDelta())

    def room(self, room: Room) -> RoomDelta:
        """Return what this decision adds to a room, to be added to."""
        return self.changes.rooms.setdefault(room, RoomDelta())

    def applied(self, reason: str = "", *, recorded: bool = True) -> Decision:
        """End with everything that was changed."""
        return Decision(
            applied=True,
            reason=reason,
            changes=self.changes,
            transitions=tuple(self.transitions),
            effects=tuple(self.effects),
            facts=self.facts,
            recorded=recorded,
        )

    def ignored(self, reason: str, *answers: Effect) -> Decision:
        """End with nothing changed, and the reason."""
        return Decision(applied=False, reason=reason, changes=Changes(), effects=answers, facts=self.facts)
