"""Nothing runs, and nothing begins, beyond the lease."""

from headway.broker.port import Confirmed, Connected
from headway.protocol.messages import Finished, Grant, Heartbeat, Stop
from headway.protocol.states import EndReason
from headway.worker.core import lease
from headway.worker.core.lease import Lease
from headway.worker.core.values import ExtendLease, Remark, SignalChild
from shopfloor import Floor


def test_a_lease_counts_from_sending():
    """What was sent before an alarm and confirmed after it is as old as it is."""
    clock = Lease(300.0)
    clock.sent("h1", 1000.0, seq=1)
    assert not clock.holds(1000.0)
    assert clock.confirmed("h1", 1000.0)
    assert (clock.term_at, clock.kill_at) == (1285.0, 1295.0)
    assert clock.holds(1284.9)
    assert not clock.holds(1285.0)


def test_an_older_heartbeat_does_not_shorten_a_lease():
    """Confirms may come in any order; an unknown or lost one counts for nothing."""
    clock = Lease(300.0)
    clock.sent("h1", 1000.0, seq=1)
    clock.sent("h2", 1005.0, seq=2)
    clock.sent("h3", 1010.0, seq=3)
    assert clock.confirmed("h2", 1020.0)
    assert not clock.confirmed("h1", 1020.0)
    clock.unconfirmed("h3")
    assert not clock.confirmed("h3", 1020.0)
    assert clock.term_at == 1290.0


def test_a_short_lease_has_short_margins():
    """Half of it is left to work in."""
    clock = Lease(10.0)
    clock.sent("h1", 0.0, seq=1)
    clock.confirmed("h1", 0.0)
    assert (clock.term_at, clock.kill_at) == (5.0, 8.0)


def test_heartbeats_of_unknown_fate_are_bounded(monkeypatch):
    """The oldest ones are forgotten."""
    monkeypatch.setattr(lease, "_SENT_MAX", 2)
    clock = Lease(300.0)
    for number in range(3):
        clock.sent(f"h{number}", number, seq=number)
    assert not clock.confirmed("h0", 3.0)
    assert clock.confirmed("h1", 3.0)


def test_a_lease_that_is_renewed_in_time_goes_on_and_one_that_was_over_begins():
    """`began` is what tells a grant of this lease from one of the lease before."""
    clock = Lease(10.0)
    for seq, sent, confirmed, began in ((2, 0.0, 0.1, 2), (3, 4.0, 4.1, 2), (4, 9.1, 9.2, 4), (5, 9.3, 11.0, 4)):
        clock.sent(f"h{seq}", sent, seq=seq)
        assert clock.confirmed(f"h{seq}", confirmed)
        assert clock.began == began


def test_children_are_dead_by_the_end_of_the_lease():
    """TERM and KILL, counted from the last heartbeat that was confirmed, and reported when there is a broker again."""
    floor = Floor(lease_seconds=60.0).connect()
    floor.run()
    floor.live(10)
    sent = floor.now
    floor.disconnect()
    floor.wait(sent + 45 - floor.now - 0.1)
    assert floor.all(SignalChild) == []
    floor.wait(0.2)
    assert floor.all(SignalChild) == [SignalChild(token="t1")]
    floor.wait(10)
    assert floor.now < sent + 60
    assert floor.all(SignalChild)[1:] == [SignalChild(token="t1", kill=True)]
    floor.end(signal="SIGKILL")
    floor.connect()
    (result,) = floor.said(Finished)
    assert (result.reason, result.signal) == (EndReason.LEASE, "SIGKILL")
    assert "its lease of 1m ends" in result.detail


def test_an_outage_shorter_than_the_lease_hurts_nobody():
    """The child runs on and ends by itself."""
    floor = Floor().connect()
    floor.run()
    floor.disconnect()
    floor.wait(250)
    floor.connect()
    floor.live(250)
    assert floor.all(SignalChild) == []


def test_the_spawner_is_told_how_long_children_may_live():
    """It kills them even if this process is frozen."""
    floor = Floor(lease_seconds=60.0).connect()
    first = floor.all(ExtendLease)[-1].until
    assert first == floor.now + 55
    floor.live(5)
    assert floor.all(ExtendLease)[-1].until == first + 5


def test_a_child_that_the_spawner_ended_says_so():
    """We were frozen, and find it dead."""
    floor = Floor().connect()
    floor.run()
    floor.end(signal="SIGKILL", lease_ended=True)
    assert floor.said(Finished)[0].reason is EndReason.LEASE


def test_whoever_slept_too_long_starts_nothing():
    """A grant from before the sleep is not obeyed; with a new lease it is asked for again."""
    floor = Floor().connect()
    floor.deliver()
    floor.now += 3600
    floor.grant("t1")
    assert floor.children == {}
    assert "no lease" in floor.all(Remark)[0].text
    floor.confirm()
    floor.wait(0.1)
    floor.grant("t1")
    assert floor.children.keys() == {"t1"}


def test_the_end_of_a_lease_does_not_soften_a_stop():
    """The earlier KILL stands, and so does the first reason."""
    floor = Floor(lease_seconds=60.0).connect()
    floor.run()
    floor.wait(44)
    floor.order(Stop)
    floor.wait(10.0)
    assert floor.all(SignalChild) == [SignalChild(token="t1"), SignalChild(token="t1", kill=True)]
    floor.end(signal="SIGKILL")
    assert floor.said(Finished)[0].reason is EndReason.CANCELLED


def test_the_end_of_a_lease_hastens_a_slow_end():
    """A stop with grace beyond the lease is cut short."""
    floor = Floor(lease_seconds=20.0).connect()
    floor.run()
    floor.wait(9)
    floor.order(Stop)
    floor.wait(7.1)
    assert floor.all(SignalChild)[-1] == SignalChild(token="t1", kill=True)


def test_what_is_asked_for_without_a_lease_is_asked_again_with_the_next():
    """At once, not after the usual wait."""
    floor = Floor(lease_seconds=60.0).connect()
    floor.deliver()
    floor.disconnect()
    floor.wait(100)
    floor.do(Connected())
    floor.order(Grant)
    assert floor.children == {}
    (heartbeat,) = [key for key, event in floor.in_flight.items() if isinstance(event, Heartbeat)]
    del floor.in_flight[heartbeat]
    floor.do(Confirmed(heartbeat))
    assert [type(effect).__name__ for effect in floor.new] == ["ExtendLease", "Publish"]


def test_a_grant_of_an_earlier_lease_is_not_obeyed():
    """It may be about to be taken away for the silence between the two; one decided since is obeyed."""
    floor = Floor(lease_seconds=60.0).connect()
    floor.deliver()
    before = floor.said(Heartbeat)[-1].seq
    floor.disconnect()
    floor.wait(100)
    floor.connect_only()
    floor.confirm()
    since = floor.said(Heartbeat)[-1].seq
    floor.order(Grant, heard=before)
    assert floor.children == {}
    assert "before this worker's present lease was known" in floor.all(Remark)[-1].text
    floor.order(Grant, heard=since)
    assert floor.children.keys() == {"t1"}


def test_a_child_that_is_to_be_kept_outlives_the_lease():
    """Its result is reported as any other when somebody hears it; its neighbour is ended."""
    floor = Floor(lease_seconds=60.0, slots=2).connect()
    floor.run("t1", on_partition="keep")
    floor.run("t2")
    floor.wait(100)
    assert {effect.token for effect in floor.all(SignalChild)} == {"t2"}
    assert any("is kept, though the lease is over" in remark.text for remark in floor.all(Remark))
    floor.end("t1", exit_code=0)
    assert (floor.said(Finished)[-1].reason, floor.said(Finished)[-1].exit_code) == (None, 0)
