"""How a service lives as a process: until it ends by itself, or SIGTERM or SIGINT asks it to."""

import signal
from types import FrameType
from typing import Protocol


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

    def handle(_number: int, _frame: FrameType | None) -> None:
        service.stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        service.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
