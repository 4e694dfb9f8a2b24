"""docs/states.md is what the tables say."""

import subprocess
import sys
from pathlib import Path

from headway.protocol.diagram import draw_states

PAGE = Path(__file__).parents[3] / "docs/states.md"


def test_the_page_is_drawn_from_the_tables():
    """It is stale? `python -m headway.protocol.diagram > docs/states.md`."""
    assert PAGE.read_text("utf-8") == draw_states()


def test_changes_between_the_same_states_share_an_arrow():
    """What leads from scheduled to failed stands on one line."""
    assert "    scheduled --> failed: fail\n" in draw_states()


def test_the_command_in_its_header_draws_it():
    """The module prints the page."""
    command = [sys.executable, "-m", "headway.protocol.diagram"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == draw_states()
