"""Durations: what authors write becomes seconds, and nothing else does."""

import pytest

from headway.protocol.durations import format_duration, parse_duration
from headway.protocol.errors import InvalidDuration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("2d", 172800),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("0s", 0),
        (0, 0),
        (1.5, 1.5),
        ("366d", 366 * 86400),
    ],
)
def test_durations_are_read(text, seconds):
    """Numbers are seconds; text is a list of numbers with units."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", ["", "10", "1w", "1h 30m", "-1s", "1h30", "h", -1, 1e12, float("nan"), float("inf"), True, None, ["1s"]]
)
def test_anything_else_is_refused(value):
    """The error repeats the value and says what to write."""
    with pytest.raises(InvalidDuration, match="is not a duration: write seconds as a number") as caught:
        parse_duration(value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.25, "250ms"),
        (1, "1s"),
        (59.5, "59.5s"),
        (90, "1m30s"),
        (3600, "1h"),
        (90061.5, "1d1h1m1.5s"),
        (60.00001, "1m0.00001s"),
    ],
)
def test_durations_are_written_as_they_are_read(seconds, text):
    """Units that are zero are left out."""
    assert format_duration(seconds) == text
