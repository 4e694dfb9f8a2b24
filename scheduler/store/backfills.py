"""Backfills, as the command line shows them."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Engine, select

from . import tables as t
from .engine import translated
from .reads import to


class BackfillLine(msgspec.Struct, frozen=True, kw_only=True):
    """A backfill and how far it is."""

    backfill_id: str
    dag_id: str
    begin_date: datetime
    end_date: datetime
    max_active: int
    reverse: bool
    reprocess: str
    params: dict[str, Any]
    made: int
    skipped: int
    active: int
    failed: int
    next_date: datetime | None
    created_at: datetime
    finished_at: datetime | None


def list_backfills(engine: Engine, *, dag_id: str | None, limit: int) -> list[BackfillLine]:
    """Return backfills, the newest first."""
    c = t.backfills.c
    statement = select(t.backfills).order_by(c.created_at.desc(), c.backfill_id).limit(limit)
    if dag_id is not None:
        statement = statement.where(c.dag_id == dag_id)
    with translated(engine), engine.connect() as connection:
        return [to(BackfillLine, row) for row in connection.execute(statement)]
