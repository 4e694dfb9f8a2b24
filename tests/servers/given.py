"""A server that somebody else runs and that an environment variable names: a test may use it, not hurt it."""

from typing import NoReturn

import pytest


class Given:
    """The runner that runs nothing."""

    def start(self) -> None:
        """Nothing to do: it runs already."""

    def remove(self) -> None:
        """Nothing to do: it is not ours."""

    def ended(self, within: float) -> bool:
        """Whether there is no use in waiting: one that is given answers at once."""
        del within
        return True

    def log(self) -> str:
        """Say where to look."""
        return "it is given by its URL; look at its own log"

    def stop(self) -> NoReturn:
        """Skip the test."""
        pytest.skip("this test stops, kills or freezes a server, and the one that is given by URL is not ours")

    kill = freeze = thaw = stop

    def command(self, *args: str) -> NoReturn:
        """Skip the test."""
        pytest.skip(f"this test runs {args[0]} beside the server, and the one that is given by URL is not ours")
