"""The spawner where it may not signal all of its children: its frames by hand."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from headway.worker import spawner
from headway.worker.children import spawner_command
from processes import SECONDS_MAX

WITHOUT_RIGHT = ("setpriv", "--bounding-set", "-kill", "--inh-caps", "-kill")
AS_NOBODY = ("/usr/bin/setpriv", "--reuid", "65534", "--clear-groups", "/bin/sh", "-c", "echo; exec sleep infinity")


class LimitedSpawner:
    """A spawner that may not signal the processes of other users, as a worker that is not root."""

    def __init__(self) -> None:
        self._link, theirs = socket.socketpair()
        self._link.settimeout(SECONDS_MAX)
        self._frames, self._told = spawner.Frames(), list[list[bytes]]()
        command = [*WITHOUT_RIGHT, *spawner_command(theirs.fileno())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()

    def start(self, job: str, output: Path, *argv: str) -> int:
        """Start a child and return its process id."""
        self.tell("start", job, str(output), "", "", "", argv[0], str(len(argv)), *argv)
        verb, _, pid = self.hear()
        assert verb == b"started"
        return int(pid)

    def tell(self, *fields: str) -> None:
        """Send a frame."""
        self._link.sendall(spawner.pack(*(field.encode() for field in fields)))

    def hear(self) -> list[bytes]:
        """Return the next frame."""
        while not self._told:
            data = self._link.recv(1 << 16)
            assert data, "the spawner has ended"
            self._told += self._frames.feed(data)
        return self._told.pop(0)

    def end(self) -> None:
        """Let it go."""
        self._link.close()
        self.process.wait(SECONDS_MAX)


@pytest.fixture
def limited() -> Iterator[LimitedSpawner]:
    """Give a spawner."""
    made = LimitedSpawner()
    yield made
    made.end()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a child as another user without sudo")
def test_a_child_that_became_another_user_harms_no_other(limited: LimitedSpawner, tmp_path: Path):
    """It cannot be signalled, which ends neither the spawner nor its siblings; its end is told as any other."""
    os.mkfifo(tmp_path / "became")
    became = os.open(tmp_path / "became", os.O_RDWR)
    pid = limited.start("1", tmp_path / "became", *AS_NOBODY)
    os.read(became, 1)
    os.close(became)
    limited.tell("signal", "1", str(int(signal.SIGTERM)))
    limited.start("2", tmp_path / "output", "/bin/true")
    assert limited.hear()[:2] == [b"ended", b"2"]
    os.kill(pid, signal.SIGKILL)
    assert limited.hear()[:2] == [b"ended", b"1"]
