"""docs/faults.md names every fault once, and no test that is not there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (F\d+) \|(.*)\|$", (ROOT / "docs/faults.md").read_text("utf-8"), re.MULTILINE)


def test_every_fault_has_a_row():
    """F1 to F38, in order."""
    assert [number for number, _ in ROWS] == [f"F{number}" for number in range(1, 39)]


def test_every_test_that_is_named_is_there():
    """In the file that the row names; a row without a test says why."""
    for number, row in ROWS:
        what, expected, tests, numbers = (cell.strip() for cell in row.split("|"))
        assert what, number
        assert expected, number
        if tests != "-":
            file, _, names = tests.partition(": ")
            text = (ROOT / "tests/faults" / file).read_text("utf-8")
            assert all(f"def {name}(" in text for name in re.findall(r"`(\w+)`", names)), number
            assert re.fullmatch(r"(\d+ / 0 / 0 / \d+(; )?)+", numbers), number
