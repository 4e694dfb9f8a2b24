"""Timers: the earliest first, each once, and no heap of old ones."""

from headway.worker.core.timers import Timer, Timers


def test_timers_are_served_in_the_order_in_which_they_are_due():
    """Whatever the order in which they were set."""
    timers = Timers()
    timers.start(Timer.ASK, "b", due=2.0)
    timers.start(Timer.ASK, "a", due=1.0)
    timers.start(Timer.KILL, "a", due=3.0)
    assert timers.next_due() == 1.0
    assert timers.take(0.9) is None
    assert [timers.take(2.5), timers.take(2.5), timers.take(2.5)] == [(Timer.ASK, "a"), (Timer.ASK, "b"), None]
    assert timers.next_due() == 3.0


def test_a_timer_that_is_moved_is_served_once():
    """At its last time."""
    timers = Timers()
    timers.start(Timer.HEARTBEAT, due=1.0)
    timers.start(Timer.HEARTBEAT, due=5.0)
    assert timers.due_of(Timer.HEARTBEAT) == 5.0
    assert timers.take(4.0) is None
    assert timers.take(5.0) == (Timer.HEARTBEAT, "")
    assert timers.next_due() is None


def test_a_cancelled_timer_is_not_served():
    """And cancelling what is not set is no fault."""
    timers = Timers()
    timers.start(Timer.ASK, "a", due=1.0)
    timers.cancel(Timer.ASK, "a")
    timers.cancel(Timer.ASK, "a")
    assert timers.take(9.0) is None


def test_cancelled_timers_do_not_pile_up():
    """An hour's timeout of each short task would be a leak."""
    timers = Timers()
    timers.start(Timer.HEARTBEAT, due=5.0)
    for number in range(5000):
        timers.start(Timer.TIMEOUT, f"t{number}", due=3600.0 + number)
        timers.cancel(Timer.TIMEOUT, f"t{number}")
    assert len(timers._heap) < 2000  # noqa: SLF001 - the leak would be nowhere else
    assert timers.take(5.0) == (Timer.HEARTBEAT, "")
    assert timers.next_due() is None
