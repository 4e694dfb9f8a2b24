"""What the scheduler's orders mean in each phase, and that no token is started twice."""

import pytest

from headway.broker.port import Outcome
from headway.protocol.messages import Drop, Finished, Grant, Online, Started, Stop
from headway.protocol.states import EndReason
from headway.worker.core import bench
from headway.worker.core.values import Remark, SignalChild, StartChild, WriteSpool
from shopfloor import Floor, task


def test_a_grant_starts_the_child_once():
    """However often it is granted, while it runs and after it ended."""
    floor = Floor().connect()
    floor.run()
    floor.order(Grant)
    floor.end()
    floor.order(Grant)
    assert [effect.task.token for effect in floor.all(StartChild)] == ["t1"]
    assert floor.all(Remark) == []


def test_each_poll_is_started_once():
    """The same attempt, with a token of its own each time: what is still said of an earlier poll starts nothing."""
    floor = Floor().connect()
    polls = [task(token, task_id="a", poll=number) for number, token in enumerate(("t1", "t1-x", "t1-y"), start=1)]
    for poll in polls:
        floor.deliver(poll)
        floor.order(Grant, poll.token)
        floor.end(poll.token, exit_code=75)
        for earlier in polls[: poll.poll]:
            floor.deliver(earlier)
            floor.order(Grant, earlier.token)
            floor.order(Stop, earlier.token)
    assert [effect.task.poll for effect in floor.all(StartChild)] == [1, 2, 3]
    assert [(event.token, event.exit_code) for event in floor.said(Finished)] == [(poll.token, 75) for poll in polls]
    assert floor.core.next_due() is not None
    assert floor.idle() == 1


def test_the_memory_of_started_tokens_is_bounded(monkeypatch):
    """The oldest token is forgotten first."""
    monkeypatch.setattr(bench, "PAST_MAX", 2)
    floor = Floor().connect()
    for token in ("t1", "t2", "t3"):
        floor.run(token)
        floor.end(token)
    floor.deliver("t3")
    floor.deliver("t1")
    assert [event.token for event in floor.said(Started)] == ["t1", "t2", "t3", "t1"]


def test_an_attempt_that_has_just_ended_is_not_started_again(monkeypatch):
    """However many were started while it ran: its message or its grant may still come for the second time."""
    monkeypatch.setattr(bench, "PAST_MAX", 2)
    floor = Floor(slots=4).connect()
    for token in ("t1", "t2", "t3"):
        floor.run(token)
    floor.end("t1")
    floor.run("t4")
    floor.deliver("t1")
    floor.order(Grant, "t1")
    assert [effect.task.token for effect in floor.all(StartChild)] == ["t1", "t2", "t3", "t4"]


@pytest.mark.parametrize("kind", [Grant, Drop, Stop])
def test_an_order_for_another_boot_changes_nothing(kind):
    """It is remarked upon, and that is all."""
    floor = Floor().connect()
    floor.deliver()
    floor.order(kind, boot="boot-0")
    assert (floor.all(StartChild), floor.outcomes(), floor.said(Finished)) == ([], [], [])
    assert "for boot boot-0" in floor.all(Remark)[0].text


@pytest.mark.parametrize("kind", [Grant, Drop, Stop])
def test_an_order_about_an_unknown_attempt_changes_nothing(kind):
    """Nobody asked for it here."""
    floor = Floor().connect()
    floor.order(kind, "t9")
    assert [type(effect) for effect in floor.new] == [Remark]
    assert "not known here" in floor.all(Remark)[0].text


def test_a_running_child_is_not_dropped():
    """A drop that comes too late is a remark: what the scheduler does not want any more it stops."""
    floor = Floor().connect()
    floor.run()
    floor.order(Drop)
    assert "drop" in floor.all(Remark)[0].text
    assert floor.children.keys() == {"t1"}


def test_stop_ends_a_child_with_grace():
    """TERM at once, KILL after ten seconds, and the result says who wanted it."""
    floor = Floor().connect()
    floor.run()
    floor.order(Stop)
    assert floor.all(SignalChild) == [SignalChild(token="t1")]
    floor.live(9)
    assert len(floor.all(SignalChild)) == 1
    floor.live(2)
    assert floor.all(SignalChild)[1:] == [SignalChild(token="t1", kill=True)]
    floor.end(signal="SIGKILL")
    (result,) = floor.said(Finished)
    assert (result.reason, result.signal, result.exit_code) == (EndReason.CANCELLED, "SIGKILL", None)


def test_a_second_stop_changes_nothing():
    """The first reason counts, and its time to kill."""
    floor = Floor().connect()
    floor.run()
    floor.order(Stop)
    floor.wait(5)
    floor.order(Stop, reason=EndReason.TIMEOUT)
    floor.wait(5)
    assert floor.all(SignalChild) == [SignalChild(token="t1"), SignalChild(token="t1", kill=True)]
    floor.end(signal="SIGKILL")
    assert floor.said(Finished)[0].reason is EndReason.CANCELLED


def test_a_child_that_ends_by_itself_in_time_is_not_killed():
    """No KILL may reach whoever has its number next."""
    floor = Floor().connect()
    floor.run()
    floor.order(Stop)
    floor.end(exit_code=0)
    floor.live(30)
    assert floor.all(SignalChild) == [SignalChild(token="t1")]
    assert floor.said(Finished)[0].reason is EndReason.CANCELLED


def test_stop_of_an_attempt_that_was_never_started_ends_it():
    """Its grant was lost; one that still comes is not obeyed."""
    floor = Floor().connect()
    tag = floor.deliver()
    floor.order(Stop)
    (result,) = floor.said(Finished)
    assert (result.reason, result.exit_code, result.signal) == (EndReason.CANCELLED, None, None)
    assert "before it was started" in result.detail
    assert floor.outcomes() == [(tag, Outcome.ACK)]
    floor.order(Grant)
    assert floor.all(StartChild) == []


def test_a_grant_without_a_lease_waits_for_one():
    """Nothing is started before a heartbeat was confirmed; then it is asked for again at once."""
    floor = Floor()
    floor.connect_only()
    floor.confirm(Online)
    floor.deliver()
    floor.order(Grant)
    assert floor.all(StartChild) == []
    assert "no lease" in floor.all(Remark)[0].text
    floor.confirm()
    assert len(floor.said(Started)) == 2
    floor.order(Grant)
    assert floor.children.keys() == {"t1"}


def test_a_result_is_spooled_before_it_is_published():
    """The file is written first, and the message acked last."""
    floor = Floor().connect()
    floor.run()
    floor.end()
    names = [type(effect).__name__ for effect in floor.new]
    assert names == ["WriteSpool", "Publish", "Settle"]
    assert floor.all(WriteSpool)[0].event == floor.said(Finished)[0]


def test_an_attempt_can_come_back_after_a_drop():
    """The scheduler may publish the same attempt once more."""
    floor = Floor().connect()
    floor.deliver()
    floor.order(Drop)
    floor.run()
    assert floor.children.keys() == {"t1"}
    assert floor.children["t1"] == task()
