"""How long to wait before the next try to connect: exponential, and random so that a fleet does not return at once."""

from typing import Final

from tenacity import RetryCallState, Retrying
from tenacity.wait import wait_random_exponential

SECONDS_MIN: Final = 0.1
"""Sooner would race with the broker's cleaning up after the old connection."""

SECONDS_MAX: Final = 10.0
"""A thousand workers that each ask every five seconds on average are 200 logins a second, which a broker bears."""

STEADY_SECONDS: Final = 10.0
"""A connection that lived so long ended for a new reason; a shorter one counts as one more failure in a row."""

_WAIT: Final = wait_random_exponential(multiplier=0.25, min=SECONDS_MIN, max=SECONDS_MAX)


class Backoff:
    """The waits of one link, in a row: at most 0.25 s, 0.5 s, 1 s, ... 10 s."""

    def __init__(self) -> None:
        self._state = RetryCallState(retry_object=Retrying(), fn=None, args=(), kwargs={})

    def next_seconds(self, *, lived_seconds: float) -> float:
        """Return how long to wait after a connection that lived so long; 0 if none came about."""
        if lived_seconds >= STEADY_SECONDS:
            self._state.attempt_number = 1
        seconds = _WAIT(self._state)
        self._state.attempt_number += 1
        return seconds
