"""Crash points: how one is named, and that a process ends there at the pass that was named."""

import signal
import subprocess
import sys

import pytest

from headway.cli.crash_points import CrashAt, CrashPoint, read_crash_at
from headway.cli.settings import read_settings
from headway.protocol.errors import WrongSettings

PROGRAM = """
from headway.cli.crash_points import CrashAt, CrashPoint, Fuse
fuse = Fuse(CrashAt(CrashPoint.AFTER_GRANT, 2))
for point in (CrashPoint.BEFORE_ACK, CrashPoint.AFTER_GRANT, CrashPoint.BEFORE_ACK, CrashPoint.AFTER_GRANT):
    print(point, flush=True)
    fuse.passes(point)
print("it lives")
"""


def test_without_the_variable_nothing_crashes():
    """Absent and empty are the same."""
    assert read_crash_at(None) is None
    assert read_settings({"HOME": "/h", "HEADWAY_CONFIG": "/dev/null", "HEADWAY_CRASH_AT": ""}).crash_at is None


def test_a_point_is_named_with_its_pass():
    """The first pass need not be said."""
    assert read_crash_at("worker.after_grant") == CrashAt(CrashPoint.AFTER_GRANT, 1)
    assert read_crash_at("scheduler.before_ack:7") == CrashAt(CrashPoint.BEFORE_ACK, 7)


@pytest.mark.parametrize("text", ["worker", "worker.after_grant:0", "worker.after_grant:x", ":1"])
def test_what_names_no_point_or_pass_is_refused(text: str):
    """With the points that there are."""
    with pytest.raises(WrongSettings, match=r"write POINT or POINT:N.*worker\.after_grant"):
        read_crash_at(text)


def test_a_process_ends_at_that_pass_and_not_before():
    """By SIGKILL, which nothing can catch."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(done.stdout.splitlines()) == 4
