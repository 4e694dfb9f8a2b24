"""When the DAG files are looked at."""

import queue

import pytest

from headway.protocol.errors import Unavailable
from headway.scheduler.scanner import Scanner

SECONDS_MAX = 10


def test_it_looks_when_it_is_asked():
    """And not otherwise, before its time."""
    looks: queue.SimpleQueue[int] = queue.SimpleQueue()
    scanner = Scanner(lambda: looks.put(1), seconds=3600)
    scanner.start()
    with pytest.raises(queue.Empty):
        looks.get(timeout=0.05)
    for _ in range(2):
        scanner.look()
        assert looks.get(timeout=SECONDS_MAX)
    scanner.stop()
    assert looks.empty()


def test_one_that_was_never_asked_ends():
    """The broker was away all the time."""
    scanner = Scanner(lambda: None, seconds=SECONDS_MAX)
    scanner.start()
    scanner.stop()
    assert not scanner._thread.is_alive()  # noqa: SLF001 - it must not hang


@pytest.mark.parametrize("error", [Unavailable(what="it", detail="away"), ValueError("a mistake of ours")])
def test_a_look_that_fails_is_not_the_last(error: Exception):
    """Whatever it failed of."""
    looks: queue.SimpleQueue[int] = queue.SimpleQueue()

    def scan() -> None:
        looks.put(1)
        raise error

    scanner = Scanner(scan, seconds=0.001)
    scanner.start()
    scanner.look()
    assert [looks.get(timeout=SECONDS_MAX) for _ in range(3)] == [1, 1, 1]
    scanner.stop()
