"""The tables of DAGs: what is known of each, its versions and its backfills. `tables.py` names them all."""

from typing import Final

from sqlalchemy import Boolean, CheckConstraint, Column, Index, Integer, PrimaryKeyConstraint, Table, Text, text

from .columns import JsonText, UtcTime, count_column, metadata, text_column

MAY_BE_DUE: Final = "NOT paused AND active_runs < max_active_runs"
"""Of a DAG: its schedule counts now. At its limit of runs it is due as soon as one of them ends."""

dags: Final = Table(
    "dags",
    metadata,
    Column("dag_id", Text, primary_key=True),
    Column("version", Integer, nullable=False, comment="the newest; runs stay on theirs"),
    text_column("digest", "sha256 of the encoded value"),
    text_column("file"),
    Column("task_count", Integer, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("schedule", JsonText, comment="when it is due by itself"),
    Column("max_active_runs", Integer, nullable=False),
    Column("paused", Boolean, nullable=False),
    count_column("active_runs", "runs that are neither final nor held"),
    count_column("waiting_runs", "runs that are held until one more may go on"),
    Column("next_date", UtcTime, comment="the date that it is due next, unless it is paused"),
    Column("last_date", UtcTime, comment="the last date that it was due"),
    Column("last_run", Text, comment="the run of that date"),
    CheckConstraint("active_runs >= 0 AND waiting_runs >= 0", name="runs"),
    Index("ix_dags_next_date", "next_date", postgresql_where=text(MAY_BE_DUE), sqlite_where=text(MAY_BE_DUE)),
)

dag_values: Final = Table(
    "dag_values",
    metadata,
    Column("digest", Text, primary_key=True),
    text_column("value", "the DAG value as zlib-compressed JSON in base64; never changed"),
)

dag_versions: Final = Table(
    "dag_versions",
    metadata,
    Column("dag_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    text_column("digest"),
    PrimaryKeyConstraint("dag_id", "version"),
)

backfills: Final = Table(
    "backfills",
    metadata,
    Column("backfill_id", Text, primary_key=True),
    text_column("dag_id"),
    Column("schedule", JsonText, nullable=False, comment="the DAG's at that time: its dates are the backfill's"),
    Column("begin_date", UtcTime, nullable=False),
    Column("end_date", UtcTime, nullable=False),
    Column("max_active", Integer, nullable=False, comment="runs at a time"),
    Column("reverse", Boolean, nullable=False, comment="the last date first"),
    text_column("reprocess", "which dates that have a run are run again"),
    Column("params", JsonText, nullable=False),
    Column("next_date", UtcTime, comment="cursor: the next date, empty when all had their turn"),
    Column("asked", JsonText, nullable=False, comment="runs that were asked for and have not begun"),
    count_column("made", "dates that got a run"),
    count_column("skipped", "dates that had one"),
    count_column("active", "runs that go on, or were asked for"),
    count_column("failed", "runs that ended otherwise than in success"),
    Column("created_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    CheckConstraint("active >= 0 AND made >= 0", name="runs"),
)
