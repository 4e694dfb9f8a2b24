"""What a test may do to a server, however it is run: start, stop, kill, restart, freeze and thaw it.

`Runner` is the port with three adapters: a process of ours (process.py), a container (docker.py), and a server that
somebody else runs (given.py), which a test can use but not hurt.
"""

import time
from typing import Protocol

# A RabbitMQ node takes five seconds, and twenty on a busy machine of two cores; two minutes mean that it will not come.
START_SECONDS_MAX = 120
POLL_SECONDS = 0.05


class Unavailable(Exception):
    """There is no such server here; the text says what is missing and what to do."""


class StartFailed(Exception):
    """The server ended or stayed silent instead of starting; its last lines follow."""


class Runner(Protocol):
    """How a server is run."""

    def start(self) -> None:
        """Run it; nothing where it runs. A frozen one is thawed."""

    def stop(self) -> None:
        """Ask it to end and wait until it has."""

    def kill(self) -> None:
        """End it as a power cut would: nothing is said, nothing is saved."""

    def freeze(self) -> None:
        """Give it no more CPU time; its connections stay open and silent."""

    def thaw(self) -> None:
        """Take back `freeze`."""

    def ended(self, within: float) -> bool:
        """Whether it ends within so many seconds from now."""

    def command(self, *args: str) -> str:
        """Run a program beside it and return what that printed."""

    def log(self) -> str:
        """Return what it wrote last."""

    def remove(self) -> None:
        """End it and take away all that it stored."""


class Server:
    """A server under test. `origin` says in one sentence where it came from."""

    def __init__(self, runner: Runner, origin: str) -> None:
        self.runner = runner
        self.origin = origin

    def answers(self) -> bool:
        """Whether it serves clients now."""
        raise NotImplementedError

    def start(self) -> None:
        """Run it, if it does not, and wait until it serves clients."""
        self.runner.start()
        give_up = time.monotonic() + START_SECONDS_MAX
        while not self.answers():
            if self.runner.ended(within=POLL_SECONDS) or time.monotonic() > give_up:
                text = f"{type(self).__name__} did not start ({self.origin}):\n{self.runner.log()}"
                raise StartFailed(text)

    def stop(self) -> None:
        """Shut it down in good order."""
        self.runner.stop()

    def kill(self) -> None:
        """Kill it with SIGKILL, with everything it was doing."""
        self.runner.kill()

    def restart(self) -> None:
        """Stop it in good order and start it with what it stored, on the same ports."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop its clock: it neither answers nor closes a connection until `thaw`."""
        self.runner.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self.runner.thaw()

    def close(self) -> None:
        """End it for good and remove its data."""
        self.runner.remove()
