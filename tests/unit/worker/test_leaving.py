"""The end of a worker: what is not granted goes back, what runs may end, what ended arrives."""

from headway.broker.port import Outcome
from headway.protocol.messages import Finished, Grant, Heartbeat, Offline, Online
from headway.protocol.states import EndReason
from headway.worker.core.values import Exit, Remark, SignalChild
from shopfloor import Floor


def test_an_idle_worker_leaves_at_once():
    """Consumers are cancelled, `offline` is said and confirmed, and that is the end."""
    floor = Floor(slots=2).connect()
    floor.stop()
    assert len(floor.closing) == 2
    assert floor.said(Offline) == []
    floor.gone()
    assert len(floor.said(Offline)) == 1
    assert not floor.is_over
    floor.confirm()
    assert floor.all(Exit) == [Exit(in_order=True)]


def test_what_is_not_granted_goes_back():
    """Asked for, parked or refused: requeued when all consumers are gone, and held no more."""
    floor = Floor(slots=2, queues=("io", "cpu")).connect()
    asked = floor.deliver("t1", queue="io")
    refused = floor.deliver("t2", queue="io", refusal="no")
    parked = floor.deliver("t3", queue="cpu")
    floor.stop()
    assert floor.outcomes() == []
    floor.gone()
    assert sorted(floor.outcomes()) == [(tag, Outcome.REQUEUE) for tag in (asked, refused, parked)]
    floor.confirm()
    floor.confirm()
    assert floor.is_over


def test_running_children_end_in_peace():
    """However long they take; their messages are acked, heartbeats go on, and nothing new is taken."""
    floor = Floor(slots=2).connect()
    tag = floor.run()
    floor.stop()
    floor.gone()
    assert (tag, Outcome.ACK) in floor.outcomes()
    assert floor.taps == {}
    beats = len(floor.said(Heartbeat))
    floor.live(100)
    assert len(floor.said(Heartbeat)) == beats + 20
    assert (floor.all(SignalChild), floor.is_over) == ([], False)
    floor.end()
    assert floor.said(Offline) == []
    floor.confirm()
    assert len(floor.said(Offline)) == 1
    floor.confirm()
    assert floor.is_over


def test_the_time_to_drain_is_bounded_if_that_is_wanted():
    """Then children get TERM and, ten seconds later, KILL."""
    floor = Floor(drain_seconds=30.0).connect()
    floor.run()
    floor.stop()
    floor.live(29)
    assert floor.all(SignalChild) == []
    floor.live(12)
    assert floor.all(SignalChild) == [SignalChild(token="t1"), SignalChild(token="t1", kill=True)]
    floor.end(signal="SIGKILL")
    assert floor.said(Finished)[0].reason is EndReason.SHUTDOWN


def test_the_second_stop_ends_children():
    """Nobody wants to wait."""
    floor = Floor().connect()
    floor.run()
    floor.stop()
    floor.stop()
    assert floor.all(SignalChild) == [SignalChild(token="t1")]
    floor.end(signal="SIGTERM")
    (result,) = floor.said(Finished)
    assert (result.reason, result.detail) == (EndReason.SHUTDOWN, "its worker was stopped at once")


def test_a_grant_that_crosses_with_the_drain_is_answered():
    """It is not obeyed; the scheduler learns at once that nothing runs."""
    floor = Floor().connect()
    floor.deliver()
    floor.stop()
    floor.order(Grant)
    floor.order(Grant)
    assert floor.children == {}
    (result,) = floor.said(Finished)
    assert (result.reason, result.exit_code) == (EndReason.SHUTDOWN, None)
    assert "before the grant came" in result.detail


def test_a_message_that_comes_during_the_drain_goes_back():
    """It was on its way when the consumer was cancelled."""
    floor = Floor().connect()
    floor.stop()
    late = floor.deliver()
    floor.gone()
    assert floor.outcomes() == [(late, Outcome.REQUEUE)]


def test_an_asked_attempt_without_a_message_is_forgotten_in_a_drain():
    """The broker has it already."""
    floor = Floor().connect()
    floor.deliver()
    floor.disconnect()
    floor.stop()
    floor.gone()
    floor.wait(11)
    assert floor.is_over
    assert floor.outcomes() == []


def test_the_end_does_not_wait_for_ever():
    """Without a broker it is over after ten seconds, and what is in the spool stays there."""
    floor = Floor().connect()
    floor.run()
    floor.disconnect()
    floor.end()
    floor.stop()
    floor.gone()
    floor.wait(9)
    assert not floor.is_over
    floor.wait(2)
    assert floor.is_over
    assert "1 results stay in the spool" in floor.all(Remark)[0].text


def test_what_is_lost_on_the_way_is_sent_before_the_end():
    """A reconnect within the time serves."""
    floor = Floor().connect()
    floor.run()
    floor.disconnect()
    floor.end()
    floor.stop()
    floor.gone()
    floor.connect()
    assert (len(floor.said(Finished)), len(floor.said(Offline)), len(floor.said(Online))) == (1, 1, 1)
    floor.confirm()
    assert floor.all(Exit) == [Exit(in_order=True)]


def test_a_boot_that_was_never_online_does_not_go_offline():
    """It was stopped before the broker was there, and says neither; nor does it consume."""
    floor = Floor()
    floor.stop()
    assert floor.is_over
    assert floor.said(Offline) == []


def test_spooled_results_are_sent_by_a_boot_that_is_stopped_early():
    """There is a connection in time for them, and that is all it is used for."""
    floor = Floor(spooled=(("s1", task_result()),))
    floor.stop()
    floor.connect_only()
    assert (len(floor.said(Finished)), floor.said(Online), floor.said(Heartbeat)) == (1, [], [])
    floor.confirm()
    assert floor.is_over
    assert floor.taps == {}


def test_a_boot_that_is_stopped_while_it_says_online_takes_nothing():
    """Its confirm comes too late."""
    floor = Floor()
    floor.connect_only()
    floor.stop()
    floor.confirm()
    floor.confirm()
    assert floor.taps == {}
    assert floor.all(Exit) == [Exit(in_order=True)]


def test_a_pause_ends_in_a_drain():
    """Its timer does not open what the drain closed."""
    floor = Floor().connect()
    for token in ("t1", "t2", "t3"):
        floor.run(token)
        floor.fail_to_start(token)
    floor.stop()
    floor.live(8)
    assert floor.closing == list(floor.taps)


def task_result() -> Finished:
    """Return a result of an earlier boot."""
    floor = Floor().connect()
    floor.run()
    floor.end()
    return floor.said(Finished)[0]
