"""When a failed task is tried again: fixed or exponential, with a cap and a jitter that can be decided again."""

import zlib
from typing import Final

from headway.protocol.dag import Task
from headway.protocol.names import Token

JITTER: Final = 0.1
"""Largest share by which a delay is lengthened, so that tasks that failed together do not return together."""


def retry_delay(task: Task, *, retries_used: int, token: Token) -> float:
    """Return the seconds until retry number `retries_used` + 1.

    `retry_delay * retry_backoff ** retries_used`, capped by `retry_delay_max`, lengthened by up to 10%. The jitter
    comes from the failed attempt's token, so an audit finds the same one.
    """
    exponent = min(retries_used, 1000)
    try:
        delay = min(task.retry_delay * task.retry_backoff**exponent, task.retry_delay_max)
    except OverflowError:
        delay = task.retry_delay_max if task.retry_delay else 0.0
    return delay * (1 + JITTER * (zlib.crc32(token.encode()) / 0xFFFFFFFF))
