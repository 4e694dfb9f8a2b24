"""What goes to stdout: one JSON document for scripts, or aligned text for whoever is woken by it."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click
import msgspec

from headway.protocol.durations import format_duration

F = TypeVar("F", bound=Callable[..., Any])

NOTHING: Final = "-"
_REPLACEMENT: Final = "\ufffd"
_DAYS_FROM_SECONDS: Final = 2 * 86400
_HOURS_FROM_SECONDS: Final = 2 * 3600
_MINUTES_FROM_SECONDS: Final = 120


def json_option(function: F) -> F:
    """Add `--json`."""
    option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and nothing else.")
    return option(function)


def print_json(value: object) -> None:
    """Print a document; times are RFC 3339 in UTC."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows below their header, aligned: numbers to the right, all else to the left."""
    if not rows:
        return
    lines = [tuple(header), *(tuple(_cell(value) for value in row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    numbers = [all(isinstance(row[place], int | float | None) for row in rows) for place in range(len(header))]
    for line in lines:
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numbers, strict=True)
        )
        click.echo("  ".join(cells).rstrip())


def plain(text: str) -> str:
    """Return text of foreign origin on one line, without what a terminal would obey."""
    return "".join(c if c.isprintable() else " " if c.isspace() else _REPLACEMENT for c in text)


def plain_lines(text: str) -> str:
    """Return text of foreign origin, its lines kept, without what a terminal would obey."""
    return "\n".join(plain(line.expandtabs()) for line in text.split("\n"))


def show_time(time: datetime | None) -> str:
    """Write a time in UTC to the second."""
    return NOTHING if time is None else time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def show_duration(seconds: float | None) -> str:
    """Write a duration with as much precision as anybody reads."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < _MINUTES_FROM_SECONDS:
        return f"{seconds:.1f}s"
    step = 1 if seconds < _HOURS_FROM_SECONDS else 60 if seconds < _DAYS_FROM_SECONDS else 3600
    return format_duration(seconds // step * step)


def between(start: datetime | None, end: datetime | None) -> str:
    """Write how long something took; nothing for what has not begun, or not ended."""
    return NOTHING if start is None or end is None else show_duration((end - start).total_seconds())


def _cell(value: object) -> str:
    match value:
        case None | "":
            return NOTHING
        case datetime():
            return show_time(value)
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case list() | tuple():
            return plain(",".join(map(str, value)))
        case _:
            return plain(str(value))
