"""The first schema."""

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision: Final = "0001"
down_revision: Final = None
branch_labels: Final = None
depends_on: Final = None

PARTITIONS: Final = 17
UTC_TIME: Final = sa.Text().with_variant(TIMESTAMP(timezone=True), "postgresql")
ROW_NUMBER: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create every table, and the row of each partition."""
    _create_partitions()
    _create_dags()
    _create_runs()
    _create_task_instances()
    _create_attempts()
    _create_timers_and_outputs()
    _create_queues_and_workers()
    _create_events()
    _create_messages()


def _text(name: str, comment: str | None = None, *, default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, comment=comment, server_default=default)


def _maybe_text(name: str, comment: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=True, comment=comment)


def _number(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, comment=comment)


def _count(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, comment=comment, server_default="0")


def _large(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False, comment=comment, server_default="0")


def _time(name: str, comment: str | None = None, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, UTC_TIME, nullable=nullable, comment=comment)


def _where(condition: str) -> dict[str, Any]:
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def _create_partitions() -> None:
    partitions = op.create_table(
        "partitions",
        sa.Column(
            "partition",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="0 to 15 by crc32 of the DAG's id; 16 for workers",
        ),
        sa.Column(
            "epoch",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="for several schedulers, to number their turns; not used yet",
        ),
        sa.Column(
            "seq",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="number of the last recorded event, without gaps",
        ),
        sa.PrimaryKeyConstraint("partition", name=op.f("pk_partitions")),
    )
    op.bulk_insert(partitions, [{"partition": number} for number in range(PARTITIONS)])


def _create_dags() -> None:
    op.create_table(
        "dags",
        _text("dag_id"),
        _number("version", "the newest; runs stay on theirs"),
        _text("digest", "sha256 of the encoded value"),
        _text("file"),
        _number("task_count"),
        _time("updated_at"),
        _maybe_text("schedule", "when it is due by itself"),
        _number("max_active_runs"),
        sa.Column("paused", sa.Boolean(), nullable=False),
        _count("active_runs", "runs that are neither final nor held"),
        _count("waiting_runs", "runs that are held until one more may go on"),
        _time("next_date", "the date that it is due next, unless it is paused", nullable=True),
        _time("last_date", "the last date that it was due", nullable=True),
        _maybe_text("last_run", "the run of that date"),
        sa.CheckConstraint("active_runs >= 0 AND waiting_runs >= 0", name=op.f("ck_dags_runs")),
        sa.PrimaryKeyConstraint("dag_id", name=op.f("pk_dags")),
    )
    op.create_index(
        "ix_dags_next_date", "dags", ["next_date"], **_where("NOT paused AND active_runs < max_active_runs")
    )
    op.create_table(
        "dag_values",
        _text("digest"),
        _text("value", "the DAG value as zlib-compressed JSON in base64; never changed"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_dag_values")),
    )
    op.create_table(
        "dag_versions",
        _text("dag_id"),
        _number("version"),
        _text("digest"),
        sa.PrimaryKeyConstraint("dag_id", "version", name=op.f("pk_dag_versions")),
    )


def _create_runs() -> None:
    op.create_table(
        "runs",
        _text("run_id"),
        _text("dag_id"),
        _number("version"),
        _text("kind", "what it was made by"),
        _text("state"),
        _maybe_text("hold", "what it waits for before its task instances are made"),
        _time("logical_date"),
        _time("data_interval_start"),
        _time("data_interval_end"),
        _text("params"),
        _time("created_at"),
        _time("started_at", nullable=True),
        _time("finished_at", nullable=True),
        _time("deadline", "when it should have ended", nullable=True),
        _number("unfinished", "task instances that are not final"),
        _count("failed_leaves", "tasks that decide the run and ended in neither success nor skipped"),
        _count("created", "cursor: task instances made so far"),
        _count("released", "cursor: tasks without upstreams made ready so far"),
        _count("cancelled", "cursor: tasks looked at for a cancel so far"),
        _maybe_text("intent", "what shall become of the run when its running tasks have ended"),
        _maybe_text("previous", "the run before it, if some of its tasks depend on the past"),
        _text("next_runs", "the runs of which it is the previous"),
        sa.Column("tells_all", sa.Boolean(), nullable=False, comment="one of those is of another version of the DAG"),
        _maybe_text("backfill_id", "the backfill that made it"),
        _maybe_text("rerun", "the newest run of a backfill that ran its date again"),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'success', 'failed', 'cancelled')", name=op.f("ck_runs_state")
        ),
        sa.CheckConstraint("kind IN ('manual', 'scheduled', 'backfill')", name=op.f("ck_runs_kind")),
        sa.CheckConstraint("unfinished >= 0", name=op.f("ck_runs_unfinished")),
        sa.CheckConstraint("hold IS NULL OR state = 'queued'", name=op.f("ck_runs_hold")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_runs")),
    )
    op.create_index("ix_runs_dag_id_created_at", "runs", ["dag_id", "created_at"])
    op.create_index("ix_runs_backfill_id", "runs", ["backfill_id"], **_where("backfill_id IS NOT NULL"))
    held = ["dag_id", "created_at", "logical_date", "run_id"]
    op.create_index("ix_runs_held", "runs", held, **_where("hold IS NOT NULL"))


def _create_task_instances() -> None:
    states = (
        "'waiting', 'scheduled', 'queued', 'running', 'mapped', 'up_for_retry', 'up_for_reschedule', 'success', "
        "'failed', 'skipped', 'upstream_failed', 'cancelled'"
    )
    op.create_table(
        "task_instances",
        _text("run_id"),
        _text("task_id"),
        _number("map_index", "-1: not mapped"),
        _number("position", "place in the DAG's fixed order"),
        _text("dag_id"),
        _text("state"),
        _time("since", "when it entered its state"),
        _text("queue"),
        _number("priority"),
        _count("try_number", "the current attempt; 0 before the first"),
        _count("granted_try", "the newest attempt that was granted; 0 before the first"),
        _time("begun_at", "when its first attempt was first granted", nullable=True),
        _count("retries_used", "of the author's retries"),
        _count("infra_used", "of infra_retries: granted attempts lost through no fault of the task"),
        _count("up_success", "upstream tasks that ended in success"),
        _count("up_failed", "upstream tasks that failed or were cancelled"),
        _count("up_upstream_failed"),
        _count("up_skipped"),
        _count("up_unchosen", "upstream branches that go another way"),
        _count("setup_success", "of the setups that it depends on"),
        _count("setup_failed"),
        _count("setup_skipped"),
        _count("propagated", "cursor: downstream tasks that have heard of its end"),
        _maybe_text("hold", "why it is scheduled and not queued"),
        _text("room", "where it waits while it is scheduled", default=""),
        _large("turn", "its place in that room"),
        _maybe_text("intent", "what shall become of it when its child has ended"),
        _maybe_text("reason"),
        _text("detail", default=""),
        _maybe_text("mapped", "of a mapped task that was expanded: what is counted of its instances"),
        sa.CheckConstraint(f"state IN ({states})", name=op.f("ck_task_instances_state")),
        sa.CheckConstraint(
            "state <> 'mapped' OR (mapped IS NOT NULL AND map_index = -1)", name=op.f("ck_task_instances_mapped")
        ),
        sa.CheckConstraint("(state = 'scheduled') = (hold IS NOT NULL)", name=op.f("ck_task_instances_hold")),
        sa.PrimaryKeyConstraint("run_id", "task_id", "map_index", name=op.f("pk_task_instances")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "ix_task_instances_ready",
        "task_instances",
        ["room", sa.text("priority DESC"), "turn", "since", "run_id", "position", "map_index"],
        **_where("state = 'scheduled'"),
    )


def _create_attempts() -> None:
    states = (
        "'queued', 'running', 'polling', 'success', 'failed', 'skipped', 'lost', 'withdrawn', 'refused', 'cancelled'"
    )
    op.create_table(
        "attempts",
        _text("run_id"),
        _text("task_id"),
        _number("map_index"),
        _number("try_number"),
        _text("dag_id"),
        _text("token", "proves that a sender was handed the attempt"),
        _text("state"),
        _text("queue"),
        _number("publications", "how often its message was published"),
        sa.Column(
            "polls",
            sa.Integer(),
            server_default="1",
            nullable=False,
            comment="the newest; the row tells of that one",
        ),
        _time("queued_at"),
        _time("published_at", "the last time"),
        _count("returns", "how often in a row its message came back for the same reason"),
        _text("refused_by", "boot and sequence number of each worker's last refusal"),
        _maybe_text("worker", "who was granted it: set once for each poll"),
        _maybe_text("boot"),
        sa.Column(
            "granted_seq",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="the worker's number of the `started` that was granted",
        ),
        _time("started_at", nullable=True),
        _time("finished_at", nullable=True),
        _maybe_text("host"),
        sa.Column("pid", sa.Integer()),
        sa.Column("exit_code", sa.Integer()),
        _maybe_text("signal"),
        sa.Column("oom", sa.Boolean(), nullable=False),
        _maybe_text("reason"),
        _text("detail", default=""),
        sa.Column("ran_seconds", sa.Float(), comment="the worker's own measure; all times are the scheduler's"),
        sa.Column("cpu_seconds", sa.Float()),
        sa.Column("memory_peak_bytes", sa.BigInteger()),
        _text("tail", "last lines of its output", default=""),
        _maybe_text("decided_by", "the recorded event that ended it"),
        sa.CheckConstraint(f"state IN ({states})", name=op.f("ck_attempts_state")),
        sa.CheckConstraint("(worker IS NULL) = (boot IS NULL)", name=op.f("ck_attempts_holder")),
        sa.CheckConstraint("state <> 'running' OR worker IS NOT NULL", name=op.f("ck_attempts_granted")),
        sa.PrimaryKeyConstraint("run_id", "task_id", "map_index", "try_number", name=op.f("pk_attempts")),
        postgresql_with={"fillfactor": "70"},
    )
    columns = ["run_id", "task_id", "map_index"]
    is_open = _where("state IN ('queued', 'running', 'polling')")
    op.create_index("ix_attempts_open", "attempts", columns, unique=True, **is_open)
    op.create_index("ix_attempts_published_at", "attempts", ["published_at"], **_where("state = 'queued'"))
    op.create_index("ix_attempts_held", "attempts", ["worker", "boot"], **_where("state = 'running'"))


def _create_timers_and_outputs() -> None:
    op.create_table(
        "timers",
        _text("run_id"),
        _text("task_id", "empty: a timer of the run"),
        _number("map_index"),
        _text("timer"),
        _text("dag_id"),
        _time("due"),
        sa.PrimaryKeyConstraint("run_id", "task_id", "map_index", "timer", name=op.f("pk_timers")),
    )
    op.create_index("ix_timers_due", "timers", ["due"])
    op.create_table(
        "outputs",
        _text("run_id"),
        _text("task_id"),
        _number("map_index"),
        _text("value", "JSON"),
        sa.PrimaryKeyConstraint("run_id", "task_id", "map_index", name=op.f("pk_outputs")),
    )


def _create_queues_and_workers() -> None:
    op.create_table(
        "queues",
        _text("queue"),
        _count("queued", "attempts published and not yet granted"),
        _count("waiting", "task instances that are scheduled"),
        _count("slots", "slots of the workers that are online"),
        _count("workers", "workers that are online"),
        _count("mended", "messages and holders that were found missing, ever"),
        _time("full_at", "when the broker last refused a message because the queue was full", nullable=True),
        _text("fault", "why the broker could not make the queue", default=""),
        sa.PrimaryKeyConstraint("queue", name=op.f("pk_queues")),
    )
    op.create_table(
        "workers",
        _text("worker"),
        _text("boot"),
        _text("state"),
        _text("host"),
        _number("pid"),
        _text("queues"),
        _number("slots"),
        sa.Column("lease_seconds", sa.Float(), nullable=False),
        sa.Column("heartbeat_seconds", sa.Float(), nullable=False),
        _text("headway_version"),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="the last number heard from this boot"),
        _time("online_at"),
        _time("last_heartbeat"),
        _time("lease_due"),
        sa.CheckConstraint("state IN ('online', 'lost', 'ended')", name=op.f("ck_workers_state")),
        sa.PrimaryKeyConstraint("worker", "boot", name=op.f("pk_workers")),
    )
    op.create_index("ix_workers_lease_due", "workers", ["lease_due"], **_where("state = 'online'"))


def _create_events() -> None:
    op.create_table(
        "events",
        _number("partition"),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="without gaps within a partition"),
        _time("at", "the `now` that it was decided with"),
        _number("decide_version"),
        _text("kind"),
        _text("message_id"),
        _text("user_id"),
        _text("origin"),
        _maybe_text("dag_id"),
        _maybe_text("run_id"),
        _maybe_text("task_id"),
        sa.Column("map_index", sa.Integer()),
        sa.Column("try_number", sa.Integer()),
        _text("body", "the event, as JSON"),
        _text("verdict"),
        _text("reason"),
        _text("facts", "what the decision looked at outside its run, as JSON"),
        _text("transitions", "the changes of state that it caused, as JSON"),
        sa.CheckConstraint("verdict IN ('applied', 'ignored')", name=op.f("ck_events_verdict")),
        sa.PrimaryKeyConstraint("partition", "seq", name=op.f("pk_events")),
    )
    op.create_index("ix_events_run_id", "events", ["run_id", "seq"])
    op.create_index("ix_events_operator", "events", ["message_id"], unique=True, **_where("origin = 'operator'"))


def _create_messages() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", ROW_NUMBER, autoincrement=True, nullable=False, comment="in the order of deciding"),
        _text("message_id"),
        _text("exchange"),
        _text("routing_key"),
        _text("kind"),
        _text("body"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index("ix_outbox_message_id", "outbox", ["message_id"], unique=True)
    op.create_table(
        "quarantine",
        sa.Column("id", ROW_NUMBER, autoincrement=True, nullable=False),
        _time("at"),
        _text("queue"),
        _text("reason"),
        _text("routing_key"),
        _text("user_id"),
        _text("body", "as text; bytes that are not UTF-8 stand as \\xNN"),
        _text("headers", "JSON"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
    )
