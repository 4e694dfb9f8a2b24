"""How children end, and what the result says."""

import msgspec
import pytest

from headway.protocol.messages import Finished, Heartbeat, Offline, Started
from headway.protocol.states import EndReason
from headway.worker.core.values import (
    ChildEnded,
    ChildNotStarted,
    ChildStarted,
    Exit,
    Remark,
    SignalChild,
    SpawnerEnded,
)
from shopfloor import Floor


def test_a_result_says_all_that_is_known():
    """Exit code, times, resources, output and tail; no reason where the exit says all."""
    floor = Floor().connect()
    floor.run()
    seq = floor.said(Started)[0].seq
    floor.end(
        exit_code=0,
        ran_seconds=1.5,
        cpu_seconds=0.5,
        memory_peak_bytes=1000,
        output=msgspec.Raw(b"[1]"),
        tail="bye",
        pid=42,
    )
    (result,) = floor.said(Finished)
    assert (result.exit_code, result.signal, result.reason, result.detail) == (0, None, None, "")
    assert (result.ran_seconds, result.cpu_seconds, result.memory_peak_bytes) == (1.5, 0.5, 1000)
    assert (result.output, result.tail, result.pid, result.host) == (msgspec.Raw(b"[1]"), "bye", 42, "host")
    assert (result.worker, result.boot, result.token) == ("w-1", "boot-1", "t1")
    assert result.seq > seq


def test_only_success_has_an_output():
    """What a failed task wrote is not for others."""
    floor = Floor().connect()
    floor.run()
    floor.end(exit_code=3, output=msgspec.Raw(b"[1]"))
    assert floor.said(Finished)[0].output is None


def test_the_message_says_what_success_is():
    """An output goes with these codes, and with 0 only if it is one of them."""
    floor = Floor().connect()
    for token, exit_code in (("t1", 3), ("t2", 0)):
        floor.run(token, success_codes=(3,))
        floor.end(token, exit_code=exit_code, output=msgspec.Raw(b"[1]"))
    assert [result.output for result in floor.said(Finished)] == [msgspec.Raw(b"[1]"), None]
    floor.run("t3", success_codes=(3,))
    floor.end("t3", exit_code=3, output_fault="no JSON")
    assert floor.said(Finished)[-1].reason is EndReason.BAD_OUTPUT


def test_out_of_memory_is_said_without_a_reason():
    """What to make of the evidence is the scheduler's matter."""
    floor = Floor().connect()
    floor.run()
    floor.end(signal="SIGKILL", oom=True)
    (result,) = floor.said(Finished)
    assert (result.signal, result.oom, result.reason) == ("SIGKILL", True, None)


@pytest.mark.parametrize(("exit_code", "reason"), [(0, EndReason.BAD_OUTPUT), (1, None)])
def test_success_with_a_bad_output_is_none(exit_code, reason):
    """Exit code 0 does not help; of a failure the exit code says more."""
    floor = Floor().connect()
    floor.run()
    floor.end(exit_code=exit_code, output_fault="no JSON")
    (result,) = floor.said(Finished)
    assert (result.reason, result.detail) == (reason, "no JSON" if reason else "")


def test_a_timeout_ends_a_child_with_grace():
    """TERM when the time is over, KILL ten seconds later, and the reason even if it then exits with 0."""
    floor = Floor().connect()
    floor.run(timeout_seconds=60.0)
    floor.live(59)
    assert floor.all(SignalChild) == []
    floor.live(2)
    assert floor.all(SignalChild) == [SignalChild(token="t1")]
    floor.live(10)
    assert floor.all(SignalChild)[1:] == [SignalChild(token="t1", kill=True)]
    floor.end(exit_code=0)
    (result,) = floor.said(Finished)
    assert (result.reason, result.detail) == (EndReason.TIMEOUT, "it ran longer than its timeout of 1m")


def test_a_child_that_could_not_start_is_reported():
    """Without exit code and signal; its slot is free again."""
    floor = Floor().connect()
    floor.run()
    floor.fail_to_start()
    (result,) = floor.said(Finished)
    assert (result.reason, result.exit_code, result.signal) == (EndReason.NOT_STARTED, None, None)
    assert result.detail == "no such program"
    assert floor.idle() == 1


def test_reports_about_unknown_children_change_nothing():
    """What is not running cannot end."""
    floor = Floor().connect()
    floor.do(ChildStarted(token="t9"))
    floor.do(ChildEnded(token="t9", pid=1, exit_code=0))
    floor.do(ChildNotStarted(token="t9", reason=EndReason.NOT_STARTED, detail=""))
    floor.deliver()
    floor.do(ChildEnded(token="t1", pid=1, exit_code=0))
    assert floor.said(Finished) == []


def test_three_failed_starts_in_a_row_make_a_pause():
    """No consumers for five seconds, then all of them again; a further failure doubles it."""
    floor = Floor(slots=2).connect()
    for token in ("t1", "t2", "t3"):
        floor.run(token)
        floor.fail_to_start(token)
    assert "3 children in a row could not be started" in floor.all(Remark)[0].text
    floor.gone()
    assert floor.taps == {}
    floor.live(6)
    assert floor.idle() == 2
    floor.run("t4")
    floor.fail_to_start("t4")
    floor.gone()
    floor.live(9)
    assert floor.taps == {}
    floor.live(2)
    assert floor.idle() == 2


def test_a_child_that_starts_ends_the_count():
    """And a bad input is the task's own fault: it does not count."""
    floor = Floor().connect()
    for token, reason in [
        ("t1", EndReason.NOT_STARTED),
        ("t2", EndReason.NOT_STARTED),
        ("t3", EndReason.BAD_INPUT),
        ("t4", None),
        ("t5", EndReason.NOT_STARTED),
    ]:
        floor.run(token)
        if reason is None:
            floor.end(token)
        else:
            floor.fail_to_start(token, reason)
    assert floor.all(Remark) == []
    assert floor.idle() == 1


def test_what_is_asked_for_in_a_pause_still_runs():
    """Its message is acked when its consumer is gone: no other may follow. A failure in a pause does not prolong it."""
    floor = Floor(slots=5).connect()
    tokens = [f"t{number}" for number in range(5)]
    tags = [floor.deliver(token) for token in tokens]
    for token in tokens[:4]:
        floor.grant(token)
        floor.fail_to_start(token)
    floor.grant("t4")
    floor.end("t4")
    assert (tags[4], "ack") not in floor.outcomes()
    floor.gone()
    assert (tags[4], "ack") in floor.outcomes()
    floor.live(6)
    assert floor.idle() == 5


def test_what_is_parked_goes_back_in_a_pause():
    """Another worker may be able to start it."""
    floor = Floor(queues=("io", "cpu")).connect()
    for token in ("t1", "t2", "t3"):
        floor.deliver(token, queue="io")
        parked = floor.deliver("t9", queue="cpu") if token == "t3" else None
        floor.grant(token)
        floor.fail_to_start(token)
    floor.gone()
    assert (parked, "requeue") in floor.outcomes()
    assert floor.taps == {}


def test_the_end_of_the_spawner_ends_the_worker():
    """Its children are reported as killed, what was asked for goes back, and the end is not in order."""
    floor = Floor(slots=2).connect()
    floor.run("t1")
    asked = floor.deliver("t2")
    floor.do(SpawnerEnded(detail="the spawner died"))
    floor.children.clear()
    (result,) = floor.said(Finished)
    assert (result.signal, result.reason, result.detail) == ("SIGKILL", EndReason.SHUTDOWN, "the spawner died")
    floor.gone()
    assert (asked, "requeue") in floor.outcomes()
    floor.confirm()
    floor.confirm()
    assert len(floor.said(Offline)) == 1
    assert floor.all(Exit) == [Exit(in_order=False)]


def test_the_end_of_the_spawner_in_a_drain_only_spoils_it():
    """The drain goes on, and is not in order any more."""
    floor = Floor().connect()
    floor.run()
    floor.stop()
    floor.do(SpawnerEnded(detail="the spawner died"))
    floor.gone()
    floor.confirm()
    floor.confirm()
    assert floor.all(Exit) == [Exit(in_order=False)]


def test_what_runs_and_what_is_not_confirmed_is_held():
    """A heartbeat lists asked, running and spooled attempts, and no parked ones."""
    floor = Floor(slots=3, queues=("io", "cpu")).connect()
    floor.run("t1", queue="io")
    floor.end("t1")
    floor.run("t2", queue="io")
    floor.deliver("t3", queue="io")
    floor.deliver("t4", queue="cpu")
    floor.deliver("t5", queue="cpu")
    floor.wait(5.0)
    held = {held.task_id: held.state for held in floor.said(Heartbeat)[-1].held}
    assert held == {"task-t1": "spooled", "task-t2": "running", "task-t3": "asked", "task-t4": "asked"}
