"""A task that says "not yet": its attempt rests without a worker, and each poll of it is granted by itself."""

from typing import Any

import msgspec
import pytest

from headway.protocol.dag import Argv, OutputRef
from headway.protocol.messages import Drop, Stop
from headway.protocol.names import BootId, TaskId, WorkerName
from headway.protocol.states import EndReason
from headway.scheduler.core.rows import BootKey
from world import BOOT, World, running
from world.audit import audit

OTHER = BootKey(WorkerName("x"), BootId("x-1"))


def polled(times: int = 1, **fields: Any) -> World:
    """Return a world in which a task has said "not yet" so often, and rests."""
    world = running("a", a={"poll_every": 60.0} | fields)
    for _ in range(times - 1):
        world.play("a", exit_code=75)
        world.ring("a", "poll")
    world.play("a", exit_code=75)
    return world


def test_between_polls_nobody_holds_it():
    """Its attempt tells of the last poll, its timer of the next."""
    world = polled()
    attempt = world.attempt("a")
    assert (world.task("a").state, attempt.state, attempt.exit_code) == ("up_for_reschedule", "polling", 75)
    assert (world.timer("a", "poll").due - world.now).total_seconds() == 60
    assert world.db.queues["default"].queued == 0
    assert world.tell(world.heartbeat()).applied
    assert world.states() == {"a": "up_for_reschedule"}


def test_a_poll_is_the_same_attempt_and_another_grant():
    """Number, fence and budget stay; token, message and holder do not."""
    world = polled(2)
    world.ring("a", "poll")
    messages = [one.message for one in world.published]
    assert [(one.try_number, one.fence, one.poll) for one in messages] == [(1, 1, 1), (1, 1, 2), (1, 1, 3)]
    assert len({one.token for one in messages}) == len({one.message_id for one in world.published}) == 3
    assert {one.token.partition("-")[0] for one in messages} == {messages[0].token}
    attempt = world.attempt("a")
    assert (attempt.state, attempt.polls, attempt.worker, attempt.exit_code) == ("queued", 3, None, None)
    world.tell(world.online(OTHER))
    assert world.tell(world.started("a", OTHER)).applied
    world.tell(world.finished("a", 0))
    assert (world.states(), len(world.db.attempts), world.task("a").retries_used) == ({"a": "success"}, 1, 0)
    assert audit(world) == []


def test_whatever_is_said_of_an_earlier_poll_is_about_nothing():
    """Late, doubled or forged: its token is not the newest poll's."""
    world = running("a", a={"poll_every": 60.0})
    started, finished = [], []
    for _ in range(2):
        started.append(world.started("a"))
        world.start("a")
        finished.append(world.finished("a", 75))
        lost = world.worker_lost("a")
        if len(started) == 1:
            world.tell(finished[0])
            world.ring("a", "poll")
    for late in (started[0], finished[0], msgspec.structs.replace(lost, token=started[0].token)):
        assert world.tell(late).reason == "its token is not the attempt's"
    assert world.states() == {"a": "running"}
    assert isinstance(world.orders[-1].order, Drop)


def test_a_report_that_comes_twice_is_one():
    """The second one finds the attempt resting."""
    world = polled()
    doubled = world.finished("a", 75)
    assert world.tell(doubled).reason == "the attempt is polling"
    assert world.tell(world.started("a")).reason == "the attempt is polling"
    assert isinstance(world.orders[-1].order, Drop)


@pytest.mark.usefixtures("narrow")
def test_a_poll_waits_for_room_like_any_other():
    """Due is not published: another task has the only place."""
    world = running("a, b", a={"poll_every": 60.0})
    world.play("a", exit_code=75)
    assert world.states() == {"a": "up_for_reschedule", "b": "queued"}
    world.ring("a", "poll")
    assert (world.states()["a"], world.attempt("a").state) == ("scheduled", "polling")
    world.start("b")
    assert (world.states()["a"], world.attempt("a").polls) == ("queued", 2)
    assert audit(world) == []


@pytest.mark.parametrize("polls", [1, 3])
def test_a_poller_gives_up_at_its_time(polls: int):
    """Counted from its first start, and final whatever retries are left."""
    world = polled(polls, poll_timeout=300.0, retries=5)
    begun = world.task("a").begun_at
    world.ring("a", "poll_timeout")
    assert (world.now - begun).total_seconds() == 300
    assert (world.states(), world.run_state(), world.db.timers) == ({"a": "failed"}, "failed", {})
    assert (world.task("a").reason, world.attempt("a").reason) == ("poll_timeout", "poll_timeout")
    assert world.task("a").detail == "it said 'not yet' until its poll_timeout of 5m was over"
    assert (world.attempt("a").state, world.attempt("a").exit_code) == ("failed", 75)
    assert audit(world) == []


def test_a_poll_that_is_queued_at_the_end_of_the_time_is_withdrawn():
    """Nobody has it, and nobody gets it."""
    world = polled(poll_timeout=70.0)
    world.ring("a", "poll")
    asked = world.started("a")
    world.ring("a", "poll_timeout")
    assert (world.states(), world.attempt("a").state) == ({"a": "failed"}, "withdrawn")
    world.tell(asked)
    assert isinstance(world.orders[-1].order, Drop)


@pytest.mark.parametrize(("code", "state"), [(0, "success"), (75, "failed"), (99, "skipped")])
def test_a_poll_that_runs_at_the_end_of_the_time_is_heard(code: int, state: str):
    """It may find at last what it waits for; "not yet" is too late."""
    world = polled(poll_timeout=70.0)
    world.ring("a", "poll")
    world.start("a")
    assert world.timer("a", "poll_timeout") is None
    world.later(1000)
    world.tell(world.finished("a", code))
    assert world.states() == {"a": state}
    assert (world.task("a").reason == "poll_timeout") == (code == 75)


def test_a_retry_does_not_begin_the_time_anew():
    """As with Airflow: it polls once, and that is all."""
    world = running("a", a={"poll_every": 60.0, "poll_timeout": 100.0, "retries": 1, "retry_delay": 200.0})
    world.play("a", exit_code=1)
    world.ring("a", "retry")
    world.play("a", exit_code=75)
    assert (world.states(), world.task("a").reason) == ({"a": "failed"}, "poll_timeout")


def test_a_lost_poll_is_a_lost_attempt():
    """Another attempt polls in its place, and a late "not yet" adds nothing to that."""
    world = polled()
    world.ring("a", "poll")
    world.start("a")
    late = world.finished("a", 75)
    world.tell(world.worker_lost("a"))
    assert (world.states(), world.task("a").try_number, world.task("a").infra_used) == ({"a": "queued"}, 2, 1)
    assert world.tell(late).reason == "the attempt is lost, and this says no more"
    assert world.attempt("a").polls == 1
    assert isinstance(world.orders[-1].order, Stop)
    assert audit(world) == []


@pytest.mark.parametrize(("code", "state"), [(0, "success"), (99, "skipped")])
def test_a_lost_poll_that_found_what_it_waited_for_counts(code: int, state: str):
    """While no other was granted."""
    world = polled()
    world.ring("a", "poll")
    world.start("a")
    late = world.finished("a", code)
    world.tell(world.worker_lost("a"))
    world.tell(late)
    assert (world.states(), world.attempt("a").state) == ({"a": state}, "withdrawn")


def test_a_poll_that_answers_gives_the_infrastructures_budget_back():
    """Else a poller of a week could not outlive two workers."""
    world = running("a", a={"poll_every": 60.0, "infra_retries": 1})
    for _ in range(3):
        world.play("a", exit_code=75)
        world.ring("a", "poll")
        world.start("a")
        world.tell(world.worker_lost("a"))
        assert (world.states(), world.task("a").infra_used) == ({"a": "queued"}, 1)
    world.start("a")
    world.tell(world.worker_lost("a"))
    assert world.states() == {"a": "failed"}


def test_a_boot_that_dies_between_two_polls_takes_nothing_with_it():
    """It holds none of them."""
    world = polled()
    world.tell(world.online(BootKey(BOOT.worker, BootId("w-2"))))
    assert world.states() == {"a": "up_for_reschedule"}
    world.ring("a", "poll")
    assert world.states() == {"a": "queued"}


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("state", ["up_for_reschedule", "scheduled", "queued", "running"])
@pytest.mark.parametrize("name", ["a", None])
def test_a_poller_can_be_cancelled_at_any_time(state: str, name: str | None):
    """What rests ends at once, as cancelled; what is queued is withdrawn; what runs is told to stop."""
    world = running("a, b", a={"poll_every": 60.0, "poll_timeout": 300.0})
    world.play("a", exit_code=75)
    if state != "up_for_reschedule":
        world.ring("a", "poll")
    if state in ("queued", "running"):
        world.start("b")
    if state == "running":
        world.start("a")
    assert world.states()["a"] == state
    world.tell(world.cancel(name))
    if state == "running":
        assert isinstance(world.orders[-1].order, Stop)
        world.tell(world.finished("a", None, signal="SIGTERM", reason=EndReason.CANCELLED))
    assert world.states()["a"] == "cancelled"
    assert world.attempt("a").state == ("withdrawn" if state == "queued" else "cancelled")
    assert [timer for timer in world.db.timers if timer.task_id == "a"] == []
    assert audit(world) == []


def test_a_poll_that_nobody_takes_runs_out_of_patience():
    """The author's queued_timeout counts for each poll."""
    world = polled(queued_timeout=30.0, on_queued_timeout="fail")
    assert world.timer("a", "queued_timeout") is None
    world.ring("a", "poll")
    world.ring("a", "queued_timeout")
    assert (world.states(), world.attempt("a").state) == ({"a": "failed"}, "withdrawn")


@pytest.mark.usefixtures("narrow")
def test_a_held_poll_that_runs_out_of_patience_ends_with_its_attempt():
    """It was never published again."""
    world = running("a, b", a={"poll_every": 60.0, "queued_timeout": 30.0, "on_queued_timeout": "fail"})
    world.play("a", exit_code=75)
    world.ring("a", "poll")
    world.ring("a", "queued_timeout")
    assert (world.states()["a"], world.attempt("a").state) == ("failed", "failed")


def test_a_message_of_a_poll_that_was_lost_is_published_again():
    """The same poll, with the same token."""
    world = polled()
    world.ring("a", "poll")
    world.tell(world.expired("a"))
    world.tell(world.missing("a"))
    last = [(one.message.poll, one.publication) for one in world.published[-3:]]
    assert last == [(2, 1), (2, 2), (2, 3)]
    assert len({one.message.token for one in world.published[-3:]}) == 1


def test_the_wire_says_which_codes_are_success():
    """So that a worker hands over the output of those and of no others."""
    world = running("a", a={"exit_codes": {3: "success"}})
    assert world.published[-1].message.success_codes == (0, 3)


def test_an_output_that_is_gone_ends_a_poll_with_its_attempt():
    """No rule takes an output away today, and a poller must not stay open if one does."""
    takes = Argv(args=("x", OutputRef(task_id=TaskId("a"))))
    world = running("a >> b", b={"poll_every": 60.0, "command": takes})
    world.start("a")
    world.tell(world.finished("a", 0, output=msgspec.Raw(b"1")))
    world.play("b", exit_code=75)
    world.db.outputs.clear()
    world.restart()
    world.ring("b", "poll")
    assert (world.states()["b"], world.attempt("b").state, world.attempt("b").reason) == (
        "failed",
        "failed",
        "bad_input",
    )
