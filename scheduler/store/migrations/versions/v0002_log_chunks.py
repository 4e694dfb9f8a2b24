"""What tasks wrote, in pieces."""

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision: Final = "0002"
down_revision: Final = "0001"
branch_labels: Final = None
depends_on: Final = None

UTC_TIME: Final = sa.Text().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """Create the table of output."""
    op.create_table(
        "log_chunks",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("map_index", sa.Integer(), nullable=False),
        sa.Column("try_number", sa.Integer(), nullable=False),
        sa.Column("poll", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False, comment="of its first byte in what this poll wrote"),
        sa.Column("size", sa.Integer(), nullable=False, comment="bytes of the log that it stands for"),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("eof", sa.Boolean(), nullable=False, comment="nothing follows"),
        sa.Column("stored_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint(
            "run_id", "task_id", "map_index", "try_number", "poll", "offset", name=op.f("pk_log_chunks")
        ),
    )
    op.create_index("ix_log_chunks_stored_at", "log_chunks", ["stored_at"])
