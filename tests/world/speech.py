"""What workers, the broker, the clock and operators can say, addressed to a database as it stands."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from headway.cli.addressing import split_index
from headway.protocol.dag import Dag
from headway.protocol.dag_events import Backfill, DagVersion
from headway.protocol.messages import (
    AttemptMessage,
    BootMessage,
    Cancel,
    Capacity,
    Continue,
    DeliveryLimit,
    Expired,
    Finished,
    Heartbeat,
    Held,
    Instance,
    LeaseTimer,
    Missing,
    NotHeld,
    Offline,
    Online,
    Refused,
    Rejected,
    RunTimer,
    Started,
    TaskTimer,
    TimerKind,
    Trigger,
    Unroutable,
    WorkerLost,
)
from headway.protocol.names import BootId, QueueName, RunId, TaskId, WorkerName
from headway.scheduler.core.rows import Attempt, AttemptKey, BootKey, Run, TaskInstance, TaskKey, Timer, TimerKey
from headway.scheduler.core.timers import NO_TASK

from .dags import digest_of
from .database import Database

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
RUN: Final = RunId("run-1")
BOOT: Final = BootKey(WorkerName("w"), BootId("w-1"))

_HELD: Final = ("dag_id", "run_id", "task_id", "map_index", "try_number")

LEASE_SECONDS: Final = 300.0
HEARTBEAT_SECONDS: Final = 5.0

A = TypeVar("A", bound=AttemptMessage)
B = TypeVar("B", bound=BootMessage)


class Speech:
    """Makes events. Whatever a caller does not give is taken from the database, as an honest sender would have it."""

    def __init__(self) -> None:
        self.db = Database()
        self.now = START
        self.seq = 0

    def run(self, run_id: str = RUN) -> Run:
        """Return a run."""
        return self.db.runs[RunId(run_id)]

    def task(self, name: str, run_id: str = RUN) -> TaskInstance:
        """Return a task instance; one of a mapped task is named `name[index]`."""
        return self.db.tasks[key_of(name, run_id)]

    def attempt(self, name: str, run_id: str = RUN, try_number: int | None = None) -> Attempt:
        """Return an attempt of a task instance, by default the current one."""
        number = self.task(name, run_id).try_number if try_number is None else try_number
        return self.db.attempts[AttemptKey(*key_of(name, run_id), number)]

    def timer(self, name: str, kind: TimerKind, run_id: str = RUN) -> Timer | None:
        """Return a stored timer."""
        return self.db.timers.get(TimerKey(*key_of(name, run_id), kind))

    # --- workers ------------------------------------------------------------------------------------------------------

    def started(self, name: str, boot: BootKey = BOOT, **fields: Any) -> Started:
        """A worker asks for the task's attempt."""
        return self._about(Started, name, **(self._said_by(boot) | fields))

    def finished(self, name: str, exit_code: int | None = 0, **fields: Any) -> Finished:
        """Its holder reports the end of the task's attempt."""
        holder = self._said_by(self._holder(name, fields))
        return self._about(Finished, name, **(holder | {"exit_code": exit_code} | fields))

    def refused(self, name: str, boot: BootKey = BOOT, **fields: Any) -> Refused:
        """A worker cannot run the task's attempt."""
        return self._about(Refused, name, **(self._said_by(boot) | {"detail": "it cannot"} | fields))

    def online(self, boot: BootKey = BOOT, **fields: Any) -> Online:
        """A boot began."""
        return self._of_boot(Online, boot, fields)

    def heartbeat(self, boot: BootKey = BOOT, *names: str, **fields: Any) -> Heartbeat:
        """A boot lives and holds the current attempts of these tasks."""
        held = tuple(
            Held(**{name: getattr(row, name) for name in _HELD}, state="running") for row in map(self.attempt, names)
        )
        return self._of_boot(Heartbeat, boot, {"held": held} | fields)

    def offline(self, boot: BootKey = BOOT) -> Offline:
        """A boot ended in good order."""
        return Offline(**self._said_by(boot))

    # --- broker -------------------------------------------------------------------------------------------------------

    def expired(self, name: str, **fields: Any) -> Expired:
        """Nobody took the task's message in time."""
        return self._about(Expired, name, **({"queue": self.task(name).queue} | fields))

    def rejected(self, name: str, **fields: Any) -> Rejected:
        """A worker could not read the task's message."""
        return self._about(Rejected, name, **({"queue": self.task(name).queue} | fields))

    def delivery_limit(self, name: str, **fields: Any) -> DeliveryLimit:
        """The task's message came back too often."""
        return self._about(DeliveryLimit, name, **({"queue": self.task(name).queue} | fields))

    def unroutable(self, name: str, **fields: Any) -> Unroutable:
        """There is no queue for the task's message."""
        return self._about(Unroutable, name, **({"queue": self.task(name).queue} | fields))

    # --- clock and scheduler ------------------------------------------------------------------------------------------

    def due(self, timer: Timer, listening_since: datetime = START - timedelta(days=400)) -> TaskTimer | RunTimer:
        """A stored timer is due."""
        if timer.task_id == NO_TASK:
            return RunTimer(dag_id=timer.dag_id, run_id=timer.run_id, timer=timer.timer, due=timer.due)
        return TaskTimer(**msgspec.structs.asdict(timer), listening_since=listening_since)

    def lease_due(self, boot: BootKey = BOOT, listening_since: datetime = START) -> LeaseTimer:
        """A boot's lease may have run out."""
        due = self.db.workers[boot].lease_due
        return LeaseTimer(**boot._asdict(), due=due, listening_since=listening_since)

    def worker_lost(self, name: str, **fields: Any) -> WorkerLost:
        """The holder of the task's attempt is dead."""
        return self._about(WorkerLost, name, **(self._holder(name, fields)._asdict() | {"detail": "dead"} | fields))

    def not_held(self, name: str, **fields: Any) -> NotHeld:
        """The holder of the task's attempt lives and does not hold it."""
        return self._about(NotHeld, name, **(self._holder(name, fields)._asdict() | {"detail": "not held"} | fields))

    def missing(self, name: str, **fields: Any) -> Missing:
        """The broker does not have the newest message of the task's attempt."""
        newest = self.attempt(name, fields.get("run_id", RUN), fields.get("try_number"))
        return self._about(Missing, name, **({"publication": newest.publications} | fields))

    def capacity(self, *names: str, run_id: str = RUN, queue: str = "default") -> Capacity:
        """There is room for these tasks."""
        keys = [key_of(name, run_id) for name in names]
        instances = tuple(Instance(task_id=key.task_id, map_index=key.map_index) for key in keys)
        run = self.run(run_id)
        return Capacity(dag_id=run.dag_id, run_id=run.run_id, queue=QueueName(queue), instances=instances)

    def go_on(self, step: str, cursor: int, name: str | None = None, run_id: str = RUN) -> Continue:
        """Do the next slice."""
        fields: dict[str, Any] = {"step": step, "cursor": cursor, "task_id": name}
        return Continue(dag_id=self.run(run_id).dag_id, run_id=RunId(run_id), **fields)

    # --- operators ----------------------------------------------------------------------------------------------------

    def version(self, value: Dag, file: str = "etl.py") -> DagVersion:
        """A file holds this DAG; the value is stored already."""
        digest = digest_of(value)
        self.db.values[digest] = value
        return DagVersion(
            dag_id=value.dag_id,
            digest=digest,
            file=file,
            task_count=len(value.tasks),
            schedule=value.plan,
            max_active_runs=value.max_active_runs,
        )

    def trigger(self, run_id: str = RUN, dag_id: str = "etl", **params: Any) -> Trigger:
        """Start a run."""
        return Trigger(**_ids(dag_id=dag_id, run_id=run_id), logical_date=START, params=params)

    def backfill(self, hours: int, dag_id: str = "etl", **fields: Any) -> Backfill:
        """Run a DAG for the hours before now, now included."""
        begin = self.now - timedelta(hours=hours - 1)
        named = _ids(dag_id=dag_id, backfill_id=f"{dag_id}__backfill")
        return Backfill(**(named | {"begin": begin, "end": self.now} | fields))

    def cancel(self, name: str | None = None, run_id: str = RUN, dag_id: str = "etl") -> Cancel:
        """End a run or one of its tasks."""
        if name is None:
            return Cancel(**_ids(dag_id=dag_id, run_id=run_id))
        return Cancel(**_ids(dag_id=dag_id, **key_of(name, run_id)._asdict()))

    # --- how they are made --------------------------------------------------------------------------------------------

    def _about(self, kind: type[A], name: str, *, run_id: str = RUN, try_number: int | None = None, **fields: Any) -> A:
        row = self.attempt(name, run_id, try_number)
        address = {
            key: getattr(row, key) for key in ("dag_id", "run_id", "task_id", "map_index", "try_number", "token")
        }
        return kind(**(address | fields))

    def _holder(self, name: str, fields: dict[str, Any]) -> BootKey:
        row = self.attempt(name, fields.get("run_id", RUN), fields.get("try_number"))
        return BOOT if row.worker is None or row.boot is None else BootKey(row.worker, row.boot)

    def _said_by(self, boot: BootKey) -> dict[str, Any]:
        self.seq += 1
        return {**boot._asdict(), "seq": self.seq}

    def _of_boot(self, kind: type[B], boot: BootKey, fields: dict[str, Any]) -> B:
        of_itself = {
            "host": "host",
            "pid": 7,
            "queues": ("default",),
            "slots": 1,
            "lease_seconds": LEASE_SECONDS,
            "heartbeat_seconds": HEARTBEAT_SECONDS,
            "headway_version": "0",
        }
        return kind(**(self._said_by(boot) | of_itself | fields))

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


def key_of(name: str, run_id: str = RUN) -> TaskKey:
    """Return the key of a task instance."""
    task_id, index = split_index(name)
    return TaskKey(RunId(run_id), TaskId(task_id), index)


def _ids(**values: Any) -> dict[str, Any]:
    return values
