"""What must hold, looked at after every commit, every start of a child and every grant; and once more at the end.

The invariants of tests/world are asked of the rows that stand in the database, with what the scheduler owes itself
found in the outbox and in the broker's queues. Beside them: the recorded transitions, followed as they come (P1), who
was granted what (P2), and what children really did.
"""

import sqlite3
from typing import TYPE_CHECKING, Any, Final

import msgspec

from headway.broker.port import Outgoing
from headway.protocol.codec import decode_dag, decode_event, decode_order
from headway.protocol.kinds import ROLE_OF_KIND, Event
from headway.protocol.states import FINAL_RUN_STATES, OPEN_ATTEMPT_STATES, AttemptState, EndReason
from headway.protocol.topology import EVENTS
from headway.scheduler.audit import audit_runs
from headway.scheduler.core.replay import Subject, subject_of
from headway.scheduler.core.rows import Attempt, Output, QueueRow, RoomRow, Run, TaskInstance, Timer, VersionKey, Worker
from headway.scheduler.core.snapshot import Transition
from headway.scheduler.store import tables
from headway.scheduler.store.columns import JsonText
from headway.scheduler.store.load import unpack_value
from world.database import Database
from world.invariants import CHECKS, Before

if TYPE_CHECKING:
    from .cluster import Cluster
    from .machine import Child

KINDS: Final[dict[str, tuple[str, Any]]] = {
    "runs": ("runs", Run),
    "task_instances": ("tasks", TaskInstance),
    "attempts": ("attempts", Attempt),
    "timers": ("timers", Timer),
    "workers": ("workers", Worker),
    "queues": ("queues", QueueRow),
    "rooms": ("rooms", RoomRow),
    "outputs": ("outputs", Output),
}
KEYS: Final = {"runs": 1, "queues": 1, "rooms": 1, "workers": 2, "task_instances": 3, "outputs": 3}
"""How many columns make up the key of a table, where it is not four."""

JSON_COLUMNS: Final = frozenset(
    column.name for table in tables.metadata.tables.values() for column in table.c if isinstance(column.type, JsonText)
)

INFRASTRUCTURE: Final = frozenset({EndReason.LEASE, EndReason.SHUTDOWN, EndReason.LOST, EndReason.REFUSED})
"""Ends that a task is not to blame for."""


class Broken(AssertionError):
    """Something that must always hold does not."""


class Judge:
    """Looks at one cluster. `db` and `owed` are what the invariants of tests/world ask of a world."""

    def __init__(self, cluster: "Cluster") -> None:
        self.db = Database()
        self.owed: list[Event] = []
        self._cluster = cluster
        self._seen: dict[str, dict[Any, tuple[Any, ...]]] = {name: {} for name in KINDS}
        self._columns: dict[str, list[str]] = {}
        self._last_event = 0
        self._states: dict[tuple[str, Subject], str] = {}
        self._holders: dict[str, tuple[str, str]] = {}
        self._decoded: dict[str, Event | None] = {}
        self.events = 0

    # --- after each step ----------------------------------------------------------------------------------------------

    def committed(self) -> None:
        """Look at what a transaction has left."""
        before = Before.of(self.db)
        connection = self._cluster.disk.judged
        changed = [name for name in KINDS if self._read(connection, name)]
        self._fold(connection)
        if changed:
            self._collect_owed(connection)
            for check in CHECKS:
                check(self, before)  # type: ignore[arg-type]

    def published(self, message: Outgoing) -> None:
        """Look at an order before it leaves: an attempt is granted to one boot, ever."""
        if message.kind == "grant":
            order = decode_order(message.body)
            holder = (message.routing_key, order.boot)
            if self._holders.setdefault(order.token, holder) != holder:
                raise Broken(f"{order.task_id} try {order.try_number} was granted twice")

    def child_begins(self, child: "Child") -> None:
        """Look who else runs."""
        task = child.task
        if task.token in self._cluster.children:
            raise Broken(f"{task.task_id} try {task.try_number} was started twice")
        for other in self._cluster.children.values():
            same = [(one.run_id, one.task_id, one.map_index) for one in (other.task, task)]
            if same[0] == same[1] and other.ended is None:
                raise Broken(f"{task.task_id} runs as try {task.try_number} and as try {other.task.try_number}")

    def end(self) -> None:
        """Look at everything once more: all has ended, is recorded, and is what really happened."""
        for run in self.db.runs.values():
            if run.state not in FINAL_RUN_STATES:
                raise Broken(f"run {run.run_id} is {run.state} long after all has healed")
        for task in self.db.tasks.values():
            self._count(task)
        self._find_lost_events()
        for left in self._cluster.spooled():
            raise Broken(f"the result of {left.task_id} try {left.try_number} stays in the spool")
        differences = list(audit_runs(self._cluster.disk.engine()))
        if differences:
            raise Broken(f"the audit finds {differences[0]}")
        odd = self._cluster.disk.judged.execute("SELECT reason, body FROM quarantine").fetchall()
        if odd:
            raise Broken(f"quarantined: {odd[0]}")

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read(self, connection: sqlite3.Connection, table: str) -> bool:
        """Take over the rows of a table that have changed; say whether any has."""
        name, kind = KINDS[table]
        rows: dict[Any, Any] = getattr(self.db, name)
        seen = self._seen[table]
        cursor = connection.execute(f"SELECT * FROM {table}")  # noqa: S608 - one of KINDS
        columns = self._columns.setdefault(table, [column[0] for column in cursor.description])
        found: dict[Any, tuple[Any, ...]] = {}
        changed = False
        for row in cursor.fetchall():  # a reader that stops half way, by an error, would keep the file locked
            key = self._key(table, row)
            found[key] = row
            if seen.get(key) != row:
                changed = True
                made = self._struct(kind, columns, row)
                rows.update([made])
                if table == "attempts":
                    self._compare(made[1])
        for key in seen.keys() - found.keys():
            changed = True
            old = self._struct(kind, columns, seen[key])[0]
            del rows[old]
        self._seen[table] = found
        return changed

    def _key(self, table: str, row: tuple[Any, ...]) -> Any:
        return row[
            : {"runs": 1, "queues": 1, "rooms": 1, "workers": 2, "task_instances": 3, "outputs": 3}.get(table, 4)
        ]

    def _struct(self, kind: Any, columns: list[str], row: tuple[Any, ...]) -> tuple[Any, Any]:
        fields = dict(zip(columns, row, strict=True))
        for name in JSON_COLUMNS & fields.keys():
            fields[name] = None if fields[name] is None else msgspec.json.decode(fields[name])
        made = msgspec.convert(fields, kind, strict=False)
        if isinstance(made, Run):
            self._learn(VersionKey(made.dag_id, made.version))
            return made.run_id, made
        if isinstance(made, QueueRow):
            return made.queue, made.limited(self._cluster.plan.limits)
        if isinstance(made, RoomRow):
            return made.room, made
        if isinstance(made, Output):
            return (made.run_id, made.task_id, made.map_index), made
        return made.key, made

    def _learn(self, version: VersionKey) -> None:
        """Take over a DAG version, for the graph of its runs."""
        if version in self.db.versions:
            return
        digest, value = self._cluster.disk.judged.execute(
            "SELECT digest, value FROM dag_versions JOIN dag_values USING (digest) WHERE dag_id = ? AND version = ?",
            version,
        ).fetchone()
        self.db.versions[version] = digest
        self.db.values[digest] = decode_dag(unpack_value(value))

    def _fold(self, connection: sqlite3.Connection) -> None:
        """Follow the transitions that were recorded since, and compare with the rows (P1)."""
        new = connection.execute(
            "SELECT rowid, run_id, transitions, kind, task_id, try_number, verdict, reason, body FROM events"
            " WHERE rowid > ? ORDER BY rowid",
            (self._last_event,),
        ).fetchall()
        for rowid, run_id, transitions, *said in new:
            self._cluster.kernel.say(f"decided: {run_id} {' '.join(map(str, said))}")
            self._last_event = rowid
            self.events += 1
            for one in msgspec.json.decode(transitions, type=list[Transition]):
                subject = (run_id, subject_of(one))
                was = self._states.get(subject, "waiting" if one.subject == "task" else "")
                if was != one.before:
                    raise Broken(f"{subject} is recorded to leave {one.before!r}, and it was {was!r}")
                self._states[subject] = one.after
        for run in self.db.runs.values():
            self._compare_fold(run.run_id, ("run", "", 0, 0), run.state)
        for task in self.db.tasks.values():
            self._compare_fold(task.run_id, ("task", task.task_id, task.map_index, 0), task.state)
        for row in self.db.attempts.values():
            self._compare_fold(row.run_id, ("attempt", row.task_id, row.map_index, row.try_number), row.state)

    def _compare_fold(self, run_id: str, subject: Subject, state: str) -> None:
        folded = self._states.get((run_id, subject), "waiting")
        if folded != state:
            raise Broken(f"{subject} of {run_id} is {state!r}, and its transitions end at {folded!r}")

    def _collect_owed(self, connection: sqlite3.Connection) -> None:
        """Find what the scheduler has said to itself and not decided yet."""
        self.owed = []
        for message_id, body in connection.execute("SELECT message_id, body FROM outbox WHERE exchange = ?", (EVENTS,)):
            self._owe(message_id, body)
        for held in self._cluster.rabbit.queues.values():
            if held.declared.name.startswith(EVENTS):
                for message in held.everything():
                    if message.user_id == "scheduler" and message.exchange == EVENTS:
                        self._owe(message.message_id, message.body)

    def _owe(self, message_id: str, body: bytes | str) -> None:
        if message_id not in self._decoded:
            event = decode_event(body.encode() if isinstance(body, str) else body)
            self._decoded[message_id] = event if ROLE_OF_KIND[type(event)] == "scheduler" else None
        event = self._decoded[message_id]
        if event is not None:
            self.owed.append(event)

    # --- what really happened -----------------------------------------------------------------------------------------

    def _compare(self, attempt: Attempt) -> None:
        """What is stored of an attempt that has just changed is what its child did."""
        child = self._cluster.children.get(attempt.token)
        name = f"{attempt.task_id} try {attempt.try_number}"
        if child is not None and attempt.worker is None:
            raise Broken(f"{name} ran and was never granted")
        if child is not None and child.ended is None and attempt.state not in OPEN_ATTEMPT_STATES:
            raise Broken(f"{name} is {attempt.state} ({attempt.reason}: {attempt.detail}) while its child lives")
        if attempt.exit_code is not None and (child is None or child.code != attempt.exit_code):
            raise Broken(f"{name} is said to have exited with {attempt.exit_code}")
        if attempt.state is AttemptState.SUCCESS and (child is None or child.code != 0):
            raise Broken(f"{name} is a success and was none")

    def _find_lost_events(self) -> None:
        """What the broker has confirmed was decided, and recorded (P3); only a heartbeat need not be."""
        cluster = self._cluster
        recorded = {row[0] for row in cluster.disk.judged.execute("SELECT message_id FROM events")}
        waiting = {one.message_id for held in cluster.rabbit.queues.values() for one in held.everything()}
        for message_id in cluster.rabbit.kept.keys() - recorded - waiting:
            kind = cluster.rabbit.kept[message_id]
            if kind not in ("heartbeat", "lease_timer"):
                raise Broken(f"a {kind} was confirmed by the broker and never decided")

    def _count(self, task: TaskInstance) -> None:
        """A user's retries are spent by the task, and by nobody else."""
        mine = [row for row in self.db.attempts.values() if row.key[:3] == task.key]
        blamed = [row for row in mine if row.state is AttemptState.FAILED and row.reason not in INFRASTRUCTURE]
        if task.retries_used > len(blamed):
            raise Broken(f"{task.task_id} has used {task.retries_used} retries and failed {len(blamed)} times")
        if sum(row.state is AttemptState.SUCCESS for row in mine) > 1:
            raise Broken(f"{task.task_id} succeeded twice")
