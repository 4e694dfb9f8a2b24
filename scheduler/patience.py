"""What a service of this room does while the database is away: it tries again, for as long as it takes."""

import logging
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_when_event_set, wait_random_exponential

from headway.protocol.errors import Unavailable

T = TypeVar("T")

log = logging.getLogger(__name__)

WAIT_SECONDS: Final = 0.2
WAIT_SECONDS_MAX: Final = 5.0
"""The first wait and the longest, with jitter: several services must not come back in step."""


def try_patiently(attempt: Callable[[], T], *, stopping: threading.Event) -> T:
    """Call until it succeeds; raise Unavailable once `stopping` is set, and any other error at once."""

    def say(state: RetryCallState) -> None:
        log.warning("trying again: %s", state.outcome and state.outcome.exception())

    retrying = Retrying(
        retry=retry_if_exception_type(Unavailable),
        wait=wait_random_exponential(multiplier=WAIT_SECONDS, max=WAIT_SECONDS_MAX),
        stop=stop_when_event_set(stopping),
        before_sleep=say,
        reraise=True,
    )
    return retrying(attempt)
