"""Tables that line up, times in UTC, and nothing that a terminal would obey."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from headway.cli.printing import between, plain, plain_lines, print_json, print_table, show_duration, show_time

NOON = datetime(2026, 3, 1, 12, 0, 0, 999_999, tzinfo=UTC)


def test_a_table_lines_up(capsys: pytest.CaptureFixture[str]):
    """Text to the left, numbers to the right, a dash for nothing, no blanks at the end."""
    print_table(("NAME", "N", "LAST"), [("a", 5, "x"), ("longer", 123, None)])
    assert capsys.readouterr().out == "NAME      N  LAST\na         5  x\nlonger  123  -\n"


def test_a_table_without_rows_is_nothing(capsys: pytest.CaptureFixture[str]):
    """No header stands alone."""
    print_table(("NAME",), [])
    assert capsys.readouterr().out == ""


def test_cells_show_every_kind(capsys: pytest.CaptureFixture[str]):
    """Times, lists, truth and fractions as people read them."""
    print_table(("A", "B", "C", "D"), [(NOON, ["x", "y"], True, 0.5)])
    assert capsys.readouterr().out.splitlines()[1] == "2026-03-01 12:00:00Z  x,y  yes  0.5"


def test_a_time_is_shown_in_utc():
    """Whatever its offset."""
    assert show_time(NOON.astimezone(timezone(timedelta(hours=9)))) == "2026-03-01 12:00:00Z"
    assert show_time(None) == "-"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0ms"),
        (0.0417, "42ms"),
        (1.25, "1.2s"),
        (119.99, "120.0s"),
        (125.7, "2m5s"),
        (7199, "1h59m59s"),
        (7261, "2h1m"),
        (3 * 86400 + 3700, "3d1h"),
    ],
)
def test_a_duration_has_the_precision_that_one_reads(seconds: float | None, text: str):
    """Milliseconds below a second, hours above two days."""
    assert show_duration(seconds) == text


def test_what_has_not_ended_took_no_time_yet():
    """A dash stands for it."""
    assert between(None, NOON) == "-"
    assert between(NOON, NOON + timedelta(seconds=2)) == "2.0s"


def test_foreign_text_cannot_move_the_cursor():
    """Control characters are replaced, lines become blanks where one line is wanted."""
    assert plain("a\x1b[2Jb\nc\td é") == "a\ufffd[2Jb c d é"
    assert plain_lines("a\n\x07b\n") == "a\n\ufffdb\n"


def test_json_is_one_document_with_times_in_utc(capsys: pytest.CaptureFixture[str]):
    """RFC 3339, and nothing else on stdout."""
    print_json([{"at": NOON, "x": None}])
    assert msgspec.json.decode(capsys.readouterr().out) == [{"at": "2026-03-01T12:00:00.999999Z", "x": None}]
