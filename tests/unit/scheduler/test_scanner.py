"""When the DAG files are looked at."""

import queue

import pytest

from headway.protocol.errors import Unavailable
from headway.scheduler.scanner import Scanner

SECONDS_MAX = 10


def test_it_looks_at_once_and_when_it_is_asked():
    """And not otherwise, before its time."""
    looks: queue.SimpleQueue[int] = queue.SimpleQueue()
    scanner = Scanner(lambda: looks.put(1), seconds=3600)
    scanner.start()
    assert looks.get(timeout=SECONDS_MAX)
    scanner.look()
    assert looks.get(timeout=SECONDS_MAX)
    scanner.stop()
    assert looks.empty()


@pytest.mark.parametrize("error", [Unavailable(what="it", detail="away"), ValueError("a mistake of ours")])
def test_a_look_that_fails_is_not_the_last(error: Exception):
    """Whatever it failed of."""
    looks: queue.SimpleQueue[int] = queue.SimpleQueue()

    def scan() -> None:
        looks.put(1)
        raise error

    scanner = Scanner(scan, seconds=0.001)
    scanner.start()
    assert [looks.get(timeout=SECONDS_MAX) for _ in range(3)] == [1, 1, 1]
    scanner.stop()
