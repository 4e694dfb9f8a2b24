"""What is posted to an I/O thread: done once, in order, in slices, and with as few wake-ups as will do."""

import pytest

from headway.broker.inbox import Inbox
from headway.broker.timing import SLICE


class Loop:
    """The thread, played: `turn` is one round of its loop."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.wakes = 0
        self.done: list[int] = []

    def post(self, number: int) -> None:
        """Post an action that notes its number."""
        self.inbox.post(lambda: self.done.append(number))

    def wake(self) -> None:
        """Count this."""
        self.wakes += 1

    def turn(self) -> None:
        """Do a slice."""
        self.inbox.do_slice(lambda action: action())


def test_one_wake_up_is_for_all_that_is_posted():
    """What was posted before the thread began is done first."""
    loop = Loop()
    loop.post(1)
    loop.inbox.open(loop.wake)
    loop.post(2)
    loop.post(3)
    assert (loop.wakes, loop.done) == (1, [])
    loop.turn()
    assert (loop.wakes, loop.done) == (1, [1, 2, 3])
    loop.post(4)
    assert loop.wakes == 2


def test_a_flood_is_done_in_slices():
    """And what an action posts comes after all that was there."""
    loop = Loop()
    loop.inbox.open(loop.wake)
    loop.inbox.post(lambda: loop.post(-1))
    for number in range(SLICE):
        loop.post(number)
    loop.turn()
    assert loop.done == list(range(SLICE - 1))
    loop.turn()
    assert loop.done == [*range(SLICE), -1]


def test_an_error_loses_nothing_of_the_rest():
    """The thread is woken again for it."""
    loop = Loop()
    loop.inbox.open(loop.wake)
    loop.inbox.post(lambda: loop.done.append(1 // 0))
    loop.post(2)
    with pytest.raises(ZeroDivisionError):
        loop.turn()
    assert loop.wakes == 2
    loop.turn()
    assert loop.done == [2]


def test_after_the_end_all_is_done_at_once():
    """What is left, also of the slice that brought the end, and what is still posted, by whoever does."""
    loop = Loop()
    loop.inbox.open(loop.wake)
    loop.post(1)
    loop.inbox.post(loop.inbox.end)
    loop.post(2)
    loop.turn()
    loop.post(3)
    assert loop.done == [1, 2, 3]
