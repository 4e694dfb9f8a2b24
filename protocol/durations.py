"""Durations as authors write them: seconds as a number, or text like `90s`, `10m`, `1h30m`, `2d`."""

import re
from typing import Final

from .errors import InvalidDuration
from .limits import DURATION_SECONDS_MAX

_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
DURATION_PATTERN: Final = f"^({_PART.pattern})+$"
"""What a duration in text looks like, for those who check it elsewhere."""

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: object) -> float:
    """Return the seconds that `value` says; raise InvalidDuration for anything else, zero and above only."""
    seconds = _seconds(value)
    if seconds is None or not 0 <= seconds <= DURATION_SECONDS_MAX:
        raise InvalidDuration(value=value)
    return seconds


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, int | float):
        return float(value)
    parts = _PART.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def format_duration(seconds: float) -> str:
    """Write seconds, to the microsecond, the way `parse_duration` reads them: 90.0 becomes `1m30s`, 0.25 `250ms`."""
    if seconds < 1:
        return f"{_decimal(seconds * 1000)}ms"
    rest, text = seconds, ""
    for unit in ("d", "h", "m"):
        count, rest = divmod(rest, _SECONDS[unit])
        text += f"{count:.0f}{unit}" if count else ""
    return text + (f"{_decimal(rest)}s" if rest or not text else "")


def _decimal(number: float) -> str:
    return f"{number:.6f}".rstrip("0").rstrip(".")
