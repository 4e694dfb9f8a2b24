"""Many rows in one statement: a JSON array goes in as one parameter and the database reads it as a table.

One round trip and a few microseconds of Python a row, on PostgreSQL (json_to_recordset) and on SQLite (json_each)
alike; msgspec writes the array straight from the Structs. PostgreSQL's text cannot hold U+0000, so it is replaced.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Column, Dialect, Subquery, Table, text
from sqlalchemy.types import TypeEngine

from .columns import UtcTime

_encoder: Final = msgspec.json.Encoder()
_NUL: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""An escaped U+0000: behind an odd number of backslashes, since an even one is text that shows a backslash."""

_REPLACEMENT: Final = rb"\1\\ufffd"


def encode_rows(rows: Iterable[object]) -> str:
    """Write rows (Structs or dictionaries) as the parameter of a rows source."""
    return _without_nul(_encoder.encode(rows if isinstance(rows, list) else list(rows)))


def encode_guarded(pairs: Iterable[tuple[object, object]]) -> str:
    """Write rows, each with its guard's fields beside its own."""
    parts = [_encoder.encode(row)[:-1] + b"," + _encoder.encode(guard)[1:] for row, guard in pairs]
    return _without_nul(b"[" + b",".join(parts) + b"]")


def _without_nul(encoded: bytes) -> str:
    return (_NUL.sub(_REPLACEMENT, encoded) if rb"\u0000" in encoded else encoded).decode()


def rows_source(
    dialect: Dialect, columns: Sequence[Column[Any]], *, extra: dict[str, TypeEngine[Any]] | None = None
) -> Subquery:
    """Return a table `given` with these columns, read from the JSON array in the parameter `given_rows`."""
    types = {column.name: column.type for column in columns} | (extra or {})
    if dialect.name == "postgresql":
        declared = ", ".join(f'"{name}" {kind.compile(dialect)}' for name, kind in types.items())
        source = f"SELECT * FROM json_to_recordset(CAST(:given_rows AS json)) AS given_({declared})"  # noqa: S608 - below
    else:
        picked = ", ".join(f'{_extract(name, kind)} AS "{name}"' for name, kind in types.items())
        source = f"SELECT {picked} FROM json_each(:given_rows)"  # noqa: S608 - our own names
    return text(source).columns(**types).subquery("given")


def _extract(name: str, kind: TypeEngine[Any]) -> str:
    value = f"json_extract(value, '$.{name}')"
    if not isinstance(kind, UtcTime):
        return value
    # msgspec leaves out a fraction of zero, and `Z` sorts after `.`: with six digits, text sorts like time.
    return f"CASE length({value}) WHEN 20 THEN substr({value}, 1, 19) || '.000000Z' ELSE {value} END"


def picked(table: Table, *names: str) -> list[Column[Any]]:
    """Return columns of a table by name."""
    return [table.c[name] for name in names]
