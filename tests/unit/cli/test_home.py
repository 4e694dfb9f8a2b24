"""One embedded Headway in a home at a time."""

import os
import subprocess
import sys

import pytest

from headway.cli.home import hold_home
from headway.protocol.errors import HomeTaken, WrongSettings

HOLD = """
import pathlib, sys
from headway.cli.home import hold_home
with hold_home(pathlib.Path(sys.argv[1]), doing="it"):
    print("held", flush=True)
    input()
"""


def test_a_second_one_is_told_who_works_there(tmp_path):
    """By what it does and its process id; when that is gone, however it went, the home is free."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(HomeTaken, match=f"in use by it \\(process {other.pid}\\): wait for it"),
            hold_home(tmp_path, doing=""),
        ):
            pass
        other.kill()
    with hold_home(tmp_path, doing=""):
        pass


def test_a_home_is_made_for_its_owner(tmp_path):
    """With the folders above it; outputs of tasks are nobody else's business."""
    home = tmp_path / "a" / "b"
    with hold_home(home, doing=""):
        assert home.stat().st_mode & 0o777 == 0o700


def test_a_home_that_cannot_be_is_a_wrong_setting(tmp_path):
    """A file stands in its place."""
    (tmp_path / "file").touch()
    with pytest.raises(WrongSettings, match="HEADWAY_HOME"), hold_home(tmp_path / "file", doing=""):
        pass


def test_the_note_of_who_was_there_before_does_not_linger(tmp_path):
    """A shorter one does not end in a longer one's words."""
    with hold_home(tmp_path, doing="something with a long name"):
        pass
    with hold_home(tmp_path, doing="it"):
        assert (tmp_path / "embedded.lock").read_text() == f"it (process {os.getpid()})"
