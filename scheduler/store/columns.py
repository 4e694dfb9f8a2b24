"""What the tables are made of: types that PostgreSQL and SQLite store alike, and how columns are written down.

Times are timestamps with time zone on PostgreSQL; SQLite has none, so they stand there as RFC 3339 text in UTC, which
sorts like time. Dictionaries and lists stand as JSON text.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from sqlalchemy import CheckConstraint, Column, Dialect, Integer, MetaData, Text, TypeDecorator
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.types import TypeEngine

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)


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


def one_of(name: str, states: type[StrEnum]) -> CheckConstraint:
    """Return the constraint that a column holds one of these states."""
    listed = ", ".join(f"'{state}'" for state in states)
    return CheckConstraint(f"{name} IN ({listed})", name=name)


def text_column(name: str, comment: str = "", *, default: str | None = None) -> Column[str]:
    """Return a column of text that is always there."""
    return Column(name, Text, nullable=False, comment=comment or None, server_default=default)


def count_column(name: str, comment: str = "") -> Column[int]:
    """Return a column that counts from zero."""
    return Column(name, Integer, nullable=False, server_default="0", comment=comment or None)
