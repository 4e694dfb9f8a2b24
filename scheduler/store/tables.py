"""The schema. Each table that a decision changes has a Struct of the same field names in `core/rows.py`.

CHECKs name the closed sets of protocol/states.py: nothing but a legal state can be stored, whoever writes.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

from headway.protocol.states import AttemptState, RunKind, RunState, TaskState, WorkerState

from . import columns, dag_tables
from .columns import JsonText, UtcTime, count_column, one_of, text_column

metadata: Final = columns.metadata
MAY_BE_DUE: Final = dag_tables.MAY_BE_DUE
backfills: Final = dag_tables.backfills
dags: Final = dag_tables.dags
dag_values: Final = dag_tables.dag_values
dag_versions: Final = dag_tables.dag_versions

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

runs: Final = Table(
    "runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    text_column("dag_id"),
    Column("version", Integer, nullable=False),
    text_column("kind", "what it was made by"),
    text_column("state"),
    Column("hold", Text, comment="what it waits for before its task instances are made"),
    Column("logical_date", UtcTime, nullable=False),
    Column("data_interval_start", UtcTime, nullable=False),
    Column("data_interval_end", UtcTime, nullable=False),
    Column("params", JsonText, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("deadline", UtcTime, comment="when it should have ended"),
    Column("unfinished", Integer, nullable=False, comment="task instances that are not final"),
    count_column("failed_leaves", "tasks without downstreams that ended in anything but success"),
    count_column("created", "cursor: task instances made so far"),
    count_column("released", "cursor: tasks without upstreams made ready so far"),
    count_column("cancelled", "cursor: tasks looked at for a cancel so far"),
    Column("intent", Text, comment="what shall become of the run when its running tasks have ended"),
    Column("previous", Text, comment="the run before it, if some of its tasks depend on the past"),
    Column("next_runs", JsonText, nullable=False, comment="the runs of which it is the previous"),
    Column("tells_all", Boolean, nullable=False, comment="one of those is of another version of the DAG"),
    Column("backfill_id", Text, comment="the backfill that made it"),
    Column("rerun", Text, comment="the newest run of a backfill that ran its date again"),
    one_of("state", RunState),
    one_of("kind", RunKind),
    CheckConstraint("unfinished >= 0", name="unfinished"),
    CheckConstraint("hold IS NULL OR state = 'queued'", name="hold"),
    Index("ix_runs_dag_id_created_at", "dag_id", "created_at"),
    Index(
        "ix_runs_backfill_id",
        "backfill_id",
        postgresql_where=text("backfill_id IS NOT NULL"),
        sqlite_where=text("backfill_id IS NOT NULL"),
    ),
    Index(
        "ix_runs_held",
        "dag_id",
        "created_at",
        "logical_date",
        "run_id",
        postgresql_where=text("hold IS NOT NULL"),
        sqlite_where=text("hold IS NOT NULL"),
    ),
)

task_instances: Final = Table(
    "task_instances",
    metadata,
    text_column("run_id"),
    text_column("task_id"),
    Column("map_index", Integer, nullable=False, comment="-1: not mapped"),
    Column("position", Integer, nullable=False, comment="place in the DAG's fixed order"),
    text_column("dag_id"),
    text_column("state"),
    Column("since", UtcTime, nullable=False, comment="when it entered its state"),
    text_column("queue"),
    Column("priority", Integer, nullable=False),
    count_column("try_number", "the current attempt; 0 before the first"),
    count_column("granted_try", "the newest attempt that was granted; 0 before the first"),
    count_column("retries_used", "of the author's retries"),
    count_column("infra_used", "of infra_retries: granted attempts lost through no fault of the task"),
    count_column("up_success", "upstream tasks that ended in success"),
    count_column("up_failed", "upstream tasks that failed or were cancelled"),
    count_column("up_upstream_failed"),
    count_column("propagated", "cursor: downstream tasks that have heard of its end"),
    Column("hold", Text, comment="why it is scheduled and not queued"),
    Column("intent", Text, comment="what shall become of it when its child has ended"),
    Column("reason", Text),
    text_column("detail", default=""),
    PrimaryKeyConstraint("run_id", "task_id", "map_index"),
    one_of("state", TaskState),
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
    text_column("run_id"),
    text_column("task_id"),
    Column("map_index", Integer, nullable=False),
    Column("try_number", Integer, nullable=False),
    text_column("dag_id"),
    text_column("token", "proves that a sender was handed the attempt"),
    text_column("state"),
    text_column("queue"),
    Column("publications", Integer, nullable=False, comment="how often its message was published"),
    Column("queued_at", UtcTime, nullable=False),
    Column("published_at", UtcTime, nullable=False, comment="the last time"),
    count_column("returns", "how often in a row its message came back for the same reason"),
    Column("refused_by", JsonText, nullable=False, comment="boot and sequence number of each worker's last refusal"),
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
    text_column("detail", default=""),
    Column("ran_seconds", Float, comment="the worker's own measure; all times are the scheduler's"),
    Column("cpu_seconds", Float),
    Column("memory_peak_bytes", BigInteger),
    text_column("tail", "last lines of its output", default=""),
    Column("decided_by", Text, comment="the recorded event that ended it"),
    PrimaryKeyConstraint("run_id", "task_id", "map_index", "try_number"),
    one_of("state", AttemptState),
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
        "ix_attempts_published_at",
        "published_at",
        postgresql_where=text("state = 'queued'"),
        sqlite_where=text("state = 'queued'"),
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
    text_column("run_id"),
    text_column("task_id"),
    Column("map_index", Integer, nullable=False),
    text_column("value", "JSON"),
    PrimaryKeyConstraint("run_id", "task_id", "map_index"),
)

timers: Final = Table(
    "timers",
    metadata,
    text_column("run_id"),
    text_column("task_id", "empty: a timer of the run"),
    Column("map_index", Integer, nullable=False),
    text_column("timer"),
    text_column("dag_id"),
    Column("due", UtcTime, nullable=False),
    PrimaryKeyConstraint("run_id", "task_id", "map_index", "timer"),
    Index("ix_timers_due", "due"),
)

queues: Final = Table(
    "queues",
    metadata,
    Column("queue", Text, primary_key=True),
    count_column("queued", "attempts published and not yet granted"),
    count_column("waiting", "task instances that are scheduled"),
    count_column("slots", "slots of the workers that are online"),
    count_column("workers", "workers that are online"),
    count_column("mended", "messages and holders that were found missing, ever"),
    Column("full_at", UtcTime, comment="when the broker last refused a message because the queue was full"),
    text_column("fault", "why the broker could not make the queue", default=""),
)

workers: Final = Table(
    "workers",
    metadata,
    text_column("worker"),
    text_column("boot"),
    text_column("state"),
    text_column("host"),
    Column("pid", Integer, nullable=False),
    Column("queues", JsonText, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("lease_seconds", Float, nullable=False),
    Column("heartbeat_seconds", Float, nullable=False),
    text_column("headway_version"),
    Column("seq", BigInteger, nullable=False, comment="the last number heard from this boot"),
    Column("online_at", UtcTime, nullable=False),
    Column("last_heartbeat", UtcTime, nullable=False),
    Column("lease_due", UtcTime, nullable=False),
    PrimaryKeyConstraint("worker", "boot"),
    one_of("state", WorkerState),
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
    text_column("kind"),
    text_column("message_id"),
    text_column("user_id"),
    text_column("origin"),
    Column("dag_id", Text),
    Column("run_id", Text),
    Column("task_id", Text),
    Column("map_index", Integer),
    Column("try_number", Integer),
    text_column("body", "the event, as JSON"),
    text_column("verdict"),
    text_column("reason"),
    text_column("facts", "what the decision looked at outside its run, as JSON"),
    text_column("transitions", "the changes of state that it caused, as JSON"),
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

log_chunks: Final = Table(
    "log_chunks",
    metadata,
    text_column("run_id"),
    text_column("task_id"),
    Column("map_index", Integer, nullable=False),
    Column("try_number", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False, comment="of its first byte in the log on the worker"),
    Column("size", Integer, nullable=False, comment="bytes of the log that it stands for"),
    text_column("data"),
    Column("eof", Boolean, nullable=False, comment="nothing follows"),
    Column("stored_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("run_id", "task_id", "map_index", "try_number", "offset"),
    Index("ix_log_chunks_stored_at", "stored_at"),
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
    text_column("message_id"),
    text_column("exchange"),
    text_column("routing_key"),
    text_column("kind"),
    text_column("body"),
    Index("ix_outbox_message_id", "message_id", unique=True),
)

quarantine: Final = Table(
    "quarantine",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", UtcTime, nullable=False),
    text_column("queue"),
    text_column("reason"),
    text_column("routing_key"),
    text_column("user_id"),
    text_column("body", "as text; bytes that are not UTF-8 stand as \\xNN"),
    text_column("headers", "JSON"),
)
