"""Rooms: pools, limits, and the lines before them."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0004"
down_revision: Final = "0003"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Create the table of rooms."""
    op.create_table(
        "rooms",
        sa.Column("room", sa.Text(), nullable=False, comment="a pool, limit, line, queue, or lane of a DAG in one"),
        sa.Column("slots", sa.Integer(), nullable=True, comment="how many places a limit has"),
        sa.Column("used", sa.Integer(), nullable=False, server_default="0", comment="places that are taken"),
        sa.Column(
            "waiting", sa.Integer(), nullable=False, server_default="0", comment="task instances that wait for it"
        ),
        sa.Column(
            "turn", sa.BigInteger(), nullable=False, server_default="0", comment="served last; of a lane, given last"
        ),
        sa.Column("lacks", sa.Text(), nullable=True, comment="the limit that kept the first of a line waiting"),
        sa.CheckConstraint("used >= 0", name=op.f("ck_rooms_used")),
        sa.CheckConstraint("waiting >= 0", name=op.f("ck_rooms_waiting")),
        sa.PrimaryKeyConstraint("room", name=op.f("pk_rooms")),
    )
    waited_for = sa.text("waiting > 0")
    op.create_index("ix_rooms_lacks", "rooms", ["lacks"], postgresql_where=waited_for, sqlite_where=waited_for)
