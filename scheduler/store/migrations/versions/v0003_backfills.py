"""Backfills."""

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision: Final = "0003"
down_revision: Final = "0002"
branch_labels: Final = None
depends_on: Final = None

UTC_TIME: Final = sa.Text().with_variant(TIMESTAMP(timezone=True), "postgresql")
COUNTS: Final = {
    "made": "dates that got a run",
    "skipped": "dates that had one",
    "active": "runs that go on, or were asked for",
    "failed": "runs that ended otherwise than in success",
}


def upgrade() -> None:
    """Create the table of backfills."""
    op.create_table(
        "backfills",
        sa.Column("backfill_id", sa.Text(), nullable=False),
        sa.Column("dag_id", sa.Text(), nullable=False),
        sa.Column(
            "schedule", sa.Text(), nullable=False, comment="the DAG's at that time: its dates are the backfill's"
        ),
        sa.Column("begin_date", UTC_TIME, nullable=False),
        sa.Column("end_date", UTC_TIME, nullable=False),
        sa.Column("max_active", sa.Integer(), nullable=False, comment="runs at a time"),
        sa.Column("reverse", sa.Boolean(), nullable=False, comment="the last date first"),
        sa.Column("reprocess", sa.Text(), nullable=False, comment="which dates that have a run are run again"),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("next_date", UTC_TIME, comment="cursor: the next date, empty when all had their turn"),
        sa.Column("asked", sa.Text(), nullable=False, comment="runs that were asked for and have not begun"),
        *(
            sa.Column(name, sa.Integer(), nullable=False, server_default="0", comment=comment)
            for name, comment in COUNTS.items()
        ),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("finished_at", UTC_TIME),
        sa.CheckConstraint("active >= 0 AND made >= 0", name=op.f("ck_backfills_runs")),
        sa.PrimaryKeyConstraint("backfill_id", name=op.f("pk_backfills")),
    )
