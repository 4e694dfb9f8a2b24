"""The schema. Each table that a decision changes has a Struct of the same field names in `core/rows.py`.

Times are timestamps with time zone on PostgreSQL; SQLite has none, so they stand there as RFC 3339 text in UTC, which
sorts like time. Dictionaries and lists stand as JSON text. CHECKs name the closed sets of protocol/states.py: nothing
but a legal state can be stored, whoever writes.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.types import TypeEngine

from headway.protocol.states import AttemptState, RunState, TaskState, WorkerState


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC time."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Use the database's own type where it has one."""
        return dialect.type_descriptor(TIMESTAMP(timezone=True) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | str | None:
        """Write text in UTC with six digits of a second, which sorts like time."""
        if value is None or dialect.name == "postgresql":
            return value
        return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"

    def process_result_value(self, value: datetime | str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy passes it
        """Return the time in UTC."""
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        return value.astimezone(UTC) if value is not None else None


class JsonText(TypeDecorator[Any]):
    """A dictionary or list as JSON text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:  # noqa: ARG002 - a fixed signature
        """Write JSON, the same for every dialect."""
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> object:  # noqa: ARG002 - the same
        """Read JSON, the same for every dialect."""
        return None if value is None else msgspec.json.decode(value)


metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(name: str, states: type[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{state}'" for state in states)
    return CheckConstraint(f"{name} IN ({listed})", name=name)


def _text(name: str, comment: str = "", *, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=False, comment=comment or None, server_default=default)


def _count(name: str, comment: str = "") -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0", comment=comment or None)


partitions: Final = Table(
    "partitions",
    metadata,
    Column(
        "partition",
        Integer,
        primary_key=True,
        autoincrement=False,
        comment="0 to 15 by crc32 of the DAG's id; 16 for workers",
    ),
    Column(
        "epoch",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="for several schedulers, to number their turns; not used yet",
    ),
    Column(
        "seq", BigInteger, nullable=False, server_default="0", comment="number of the last recorded event, without gaps"
    ),
)

dags: Final = Table(
    "dags",
    metadata,
    Column("dag_id", Text, primary_key=True),
    Column("version", Integer, nullable=False, comment="the newest; runs stay on theirs"),
    _text("digest", "sha256 of the encoded value"),
    _text("file"),
    Column("task_count", Integer, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

dag_values: Final = Table(
    "dag_values",
    metadata,
    Column("digest", Text, primary_key=True),
    _text("value", "the DAG value as zlib-compressed JSON in base64; never changed"),
)

dag_versions: Final = Table(
    "dag_versions",
    metadata,
    Column("dag_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    _text("digest"),
    PrimaryKeyConstraint("dag_id", "version"),
)

runs: Final = Table(
    "runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    _text("dag_id"),
    Column("version", Integer, nullable=False),
    _text("state"),
    Column("logical_date", UtcTime, nullable=False),
    Column("params", JsonText, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("unfinished", Integer, nullable=False, comment="task instances that are not final"),
    _count("failed_leaves", "tasks without downstreams that ended in anything but success"),
    _count("created", "cursor: task instances made so far"),
    _count("released", "cursor: tasks without upstreams made ready so far"),
    _count("cancelled", "cursor: tasks looked at for a cancel so far"),
    Column("intent", Text, comment="what shall become of the run when its running tasks have ended"),
    _one_of("state", RunState),
    CheckConstraint("unfinished >= 0", name="unfinished"),
    Index("ix_runs_dag_id_created_at", "dag_id", "created_at"),
)

task_instances: Final = Table(
    "task_instances",
    metadata,
    _text("run_id"),
    _text("task_id"),
    Column("map_index", Integer, nullable=False, comment="-1: not mapped"),
    Column("position", Integer, nullable=False, comment="place in the DAG's fixed order"),
    _text("dag_id"),
    _text("state"),
    Column("since", UtcTime, nullable=False, comment="when it entered its state"),
    _text("queue"),
    Column("priority", Integer, nullable=False),
    _count("try_number", "the current attempt; 0 before the first"),
    _count("retries_used", "of the author's retries"),
    _count("infra_used", "of infra_retries: granted attempts lost through no fault of the task"),
    _count("up_success", "upstream tasks that ended in success"),
    _count("up_failed", "upstream tasks that failed or were cancelled"),
    _count("up_upstream_failed"),
    _count("propagated", "cursor: downstream tasks that have heard of its end"),
    Column("hold", Text, comment="why it is scheduled and not queued"),
    Column("intent", Text, comment="what shall become of it when its child has ended"),
    Column("reason", Text),
    _text("detail", default=""),
    PrimaryKeyConstraint("run_id", "task_id", "map_index"),
    _one_of("state", TaskState),
    CheckConstraint("(state = 'scheduled') = (hold IS NOT NULL)", name="hold"),
    Index(
        "ix_task_instances_ready",
        "queue",
        text("priority DESC"),
        "since",
        "run_id",
        "position",
        postgresql_where=text("state = 'scheduled'"),
        sqlite_where=text("state = 'scheduled'"),
    ),
    postgresql_with={"fillfactor": "70"},
)

attempts: Final = Table(
    "attempts",
    metadata,
    _text("run_id"),
    _text("task_id"),
    Column("map_index", Integer, nullable=False),
    Column("try_number", Integer, nullable=False),
    _text("dag_id"),
    _text("token", "proves that a sender was handed the attempt"),
    _text("state"),
    _text("queue"),
    Column("publications", Integer, nullable=False, comment="how often its message was published"),
    Column("queued_at", UtcTime, nullable=False),
    Column("worker", Text, comment="who was granted it: set once, never changed"),
    Column("boot", Text),
    Column(
        "granted_seq",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="the worker's number of the `started` that was granted",
    ),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("host", Text),
    Column("pid", Integer),
    Column("exit_code", Integer),
    Column("signal", Text),
    Column("oom", Boolean, nullable=False),
    Column("reason", Text),
    _text("detail", default=""),
    Column("ran_seconds", Float, comment="the worker's own measure; all times are the scheduler's"),
    Column("cpu_seconds", Float),
    Column("memory_peak_bytes", BigInteger),
    _text("tail", "last lines of its output", default=""),
    Column("decided_by", Text, comment="the recorded event that ended it"),
    PrimaryKeyConstraint("run_id", "task_id", "map_index", "try_number"),
    _one_of("state", AttemptState),
    CheckConstraint("(worker IS NULL) = (boot IS NULL)", name="holder"),
    CheckConstraint("state <> 'running' OR worker IS NOT NULL", name="granted"),
    Index(
        "ix_attempts_open",
        "run_id",
        "task_id",
        "map_index",
        unique=True,
        postgresql_where=text("state IN ('queued', 'running')"),
        sqlite_where=text("state IN ('queued', 'running')"),
    ),
    Index(
        "ix_attempts_held",
        "worker",
        "boot",
        postgresql_where=text("state = 'running'"),
        sqlite_where=text("state = 'running'"),
    ),
    postgresql_with={"fillfactor": "70"},
)

outputs: Final = Table(
    "outputs",
    metadata,
    _text("run_id"),
    _text("task_id"),
    Column("map_index", Integer, nullable=False),
    _text("value", "JSON"),
    PrimaryKeyConstraint("run_id", "task_id", "map_index"),
)

timers: Final = Table(
    "timers",
    metadata,
    _text("run_id"),
    _text("task_id"),
    Column("map_index", Integer, nullable=False),
    _text("timer"),
    _text("dag_id"),
    Column("due", UtcTime, nullable=False),
    PrimaryKeyConstraint("run_id", "task_id", "map_index", "timer"),
    Index("ix_timers_due", "due"),
)

queues: Final = Table(
    "queues",
    metadata,
    Column("queue", Text, primary_key=True),
    _count("queued", "attempts published and not yet granted"),
    _count("waiting", "task instances that are scheduled"),
    _count("slots", "slots of the workers that are online"),
)

workers: Final = Table(
    "workers",
    metadata,
    _text("worker"),
    _text("boot"),
    _text("state"),
    _text("host"),
    Column("pid", Integer, nullable=False),
    Column("queues", JsonText, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("lease_seconds", Float, nullable=False),
    Column("heartbeat_seconds", Float, nullable=False),
    _text("headway_version"),
    Column("seq", BigInteger, nullable=False, comment="the last number heard from this boot"),
    Column("online_at", UtcTime, nullable=False),
    Column("last_heartbeat", UtcTime, nullable=False),
    Column("lease_due", UtcTime, nullable=False),
    PrimaryKeyConstraint("worker", "boot"),
    _one_of("state", WorkerState),
    Index(
        "ix_workers_lease_due",
        "lease_due",
        postgresql_where=text("state = 'online'"),
        sqlite_where=text("state = 'online'"),
    ),
)

events: Final = Table(
    "events",
    metadata,
    Column("partition", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False, comment="without gaps within a partition"),
    Column("at", UtcTime, nullable=False, comment="the `now` that it was decided with"),
    Column("decide_version", Integer, nullable=False),
    _text("kind"),
    _text("message_id"),
    _text("user_id"),
    _text("origin"),
    Column("dag_id", Text),
    Column("run_id", Text),
    Column("task_id", Text),
    Column("map_index", Integer),
    Column("try_number", Integer),
    _text("body", "the event, as JSON"),
    _text("verdict"),
    _text("reason"),
    _text("facts", "what the decision looked at outside its run, as JSON"),
    _text("transitions", "the changes of state that it caused, as JSON"),
    PrimaryKeyConstraint("partition", "seq"),
    CheckConstraint("verdict IN ('applied', 'ignored')", name="verdict"),
    Index("ix_events_run_id", "run_id", "seq"),
    Index(
        "ix_events_operator",
        "message_id",
        unique=True,
        postgresql_where=text("origin = 'operator'"),
        sqlite_where=text("origin = 'operator'"),
    ),
)

outbox: Final = Table(
    "outbox",
    metadata,
    Column(
        "id",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
        comment="in the order of deciding",
    ),
    _text("message_id"),
    _text("exchange"),
    _text("routing_key"),
    _text("kind"),
    _text("body"),
    Index("ix_outbox_message_id", "message_id", unique=True),
)

quarantine: Final = Table(
    "quarantine",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", UtcTime, nullable=False),
    _text("queue"),
    _text("reason"),
    _text("routing_key"),
    _text("user_id"),
    _text("body", "as text; bytes that are not UTF-8 stand as \\xNN"),
    _text("headers", "JSON"),
)
