"""A password in our environment is none of a task's business, though it runs as the same user."""

import subprocess
import sys

PROGRAM = """
import ctypes, os, subprocess, sys
from headway.cli.secrecy import hide_environment
if os.geteuid() == 0:  # which may look anywhere
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as a process is that began as this user
if "hide" in sys.argv:
    hide_environment()
raise SystemExit(subprocess.run(["/bin/cat", f"/proc/{os.getpid()}/environ"], env={}).returncode)
"""


def peek(*words: str) -> subprocess.CompletedProcess[str]:
    """Let a child of a process that has a password look into its environment."""
    command = [sys.executable, "-c", PROGRAM, *words]
    return subprocess.run(command, env={"PASSWORD": "hunter2"}, capture_output=True, text=True, check=False)


def test_a_child_cannot_read_what_is_hidden():
    """Without hiding it could."""
    assert "hunter2" in peek().stdout
    hidden = peek("hide")
    assert "hunter2" not in hidden.stdout
    assert "Permission denied" in hidden.stderr
