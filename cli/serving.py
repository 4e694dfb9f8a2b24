"""How a service lives as a process: until it ends by itself, or SIGTERM or SIGINT asks it to."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, Protocol

END_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
"""What systemd, Docker and Ctrl-C send."""


class Service(Protocol):
    """Something that runs until it is told to stop, once or with more urgency each time."""

    def run(self) -> None:
        """Run until the end; raise what cannot be mended."""
        ...

    def stop(self) -> None:
        """Ask for the end. Called from a signal handler."""
        ...


def serve(service: Service) -> None:
    """Run a service; each signal is a call of `stop`."""
    with signals_handled(service.stop, *END_SIGNALS):
        service.run()


@contextmanager
def signals_handled(act: Callable[[], None], *numbers: signal.Signals) -> Iterator[None]:
    """Let signals call `act` until the context ends. In the main thread."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        act()

    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
