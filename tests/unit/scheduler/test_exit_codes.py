"""What becomes of a task as its process ends: by exit code, by the author's table, and by its budget of retries."""

from typing import Any

import pytest

from headway.protocol.states import EndReason
from world import World, running
from world.audit import audit

FAILED = ("failed", "failed", "exit_code")
RETRIED = ("up_for_retry", "failed", "exit_code")
SKIPPED = ("skipped", "skipped", "exit_code")
SUCCESS = ("success", "success", None)


def ended(world: World) -> tuple[str, str, str | None]:
    """Return the states of the task and of its attempt, and why the task is in its."""
    return world.task("a").state, world.attempt("a", try_number=1).state, world.task("a").reason


@pytest.mark.parametrize(
    ("fields", "code", "end"),
    [
        ({}, 0, SUCCESS),
        ({}, 1, FAILED),
        ({"retries": 1}, 1, RETRIED),
        ({}, 99, SKIPPED),
        ({"retries": 1}, 99, SKIPPED),
        ({"exit_codes": {99: "fail"}, "retries": 1}, 99, FAILED),
        ({"exit_codes": {0: "skip"}}, 0, SKIPPED),
        ({"exit_codes": {3: "success"}}, 3, SUCCESS),
        ({"exit_codes": {4: "fail"}, "retries": 1}, 4, FAILED),
        ({"exit_codes": {4: "fail"}, "retries": 1}, 5, RETRIED),
        ({"exit_codes": {4: "retry"}, "retries": 1, "retry_on": (5,)}, 4, RETRIED),
        ({"exit_codes": {4: "retry"}}, 4, FAILED),
        ({"retry_on": (5,), "retries": 1}, 5, RETRIED),
        ({"retry_on": (5,), "retries": 1}, 6, FAILED),
        ({"retries": 1}, 75, RETRIED),
        ({"poll_every": 60.0}, 75, ("up_for_reschedule", "polling", None)),
        ({"poll_every": 60.0, "exit_codes": {2: "poll"}}, 2, ("up_for_reschedule", "polling", None)),
        ({"poll_every": 60.0, "retries": 1}, 1, RETRIED),
        ({"poll_every": 60.0}, 99, SKIPPED),
    ],
)
def test_an_exit_code_decides(fields: dict[str, Any], code: int, end: tuple[str, str, str | None]):
    """What it means for the task and for its attempt."""
    world = running("a", a=fields)
    world.play("a", exit_code=code)
    assert ended(world) == end
    assert world.attempt("a", try_number=1).exit_code == code
    assert audit(world) == []


@pytest.mark.parametrize(
    ("retry_on", "fields", "state"),
    [
        (None, {"signal": "SIGSEGV"}, "up_for_retry"),
        ((1,), {"signal": "SIGSEGV"}, "failed"),
        (("signal",), {"signal": "SIGSEGV"}, "up_for_retry"),
        (("signal",), {"signal": "SIGKILL", "oom": True}, "failed"),
        (("out_of_memory",), {"signal": "SIGKILL", "oom": True}, "up_for_retry"),
        (("timeout",), {"signal": "SIGTERM", "reason": EndReason.TIMEOUT}, "up_for_retry"),
        (("signal",), {"signal": "SIGTERM", "reason": EndReason.TIMEOUT}, "failed"),
        ((), {"signal": "SIGKILL", "reason": EndReason.SHUTDOWN}, "queued"),
    ],
)
def test_an_end_without_a_code_has_a_word(retry_on: tuple | None, fields: dict[str, Any], state: str):
    """And one that is the infrastructure's is none of retry_on's business."""
    world = running("a", a={"retries": 1, "retry_on": retry_on})
    world.start("a")
    world.tell(world.finished("a", None, **fields))
    assert world.states() == {"a": state}


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"exit_codes": {4: "fail"}}, "its exit_codes say that 4 is final"),
        ({"retry_on": (5,)}, "its retry_on does not name exit code 4"),
    ],
)
def test_a_failure_that_is_final_says_why(fields: dict[str, Any], detail: str):
    """While a retry is left, somebody will ask."""
    world = running("a", a={"retries": 1} | fields)
    world.play("a", exit_code=4)
    assert (world.task("a").detail, world.task("a").retries_used) == (detail, 0)


def test_an_end_that_retry_on_does_not_name_says_its_word():
    """As it would stand there."""
    world = running("a", a={"retries": 1, "retry_on": ()})
    world.start("a")
    world.tell(world.finished("a", None, signal="SIGSEGV"))
    assert world.task("a").detail == "its retry_on does not name signal"


def test_a_skip_says_which_code_it_was():
    """And its downstreams follow their rules."""
    world = running("a >> b")
    world.play("a", exit_code=99)
    assert world.states() == {"a": "skipped", "b": "skipped"}
    assert world.task("a").detail == "exit code 99 means skip"
    assert world.run_state() == "success"


@pytest.mark.parametrize(
    ("code", "state"), [(0, "success"), (99, "skipped"), (1, "cancelled"), (75, "cancelled"), (4, "cancelled")]
)
def test_a_cancelled_task_that_ends_by_itself_may_have_done_its_work(code: int, state: str):
    """Success and skip are what it says; all else is the cancel."""
    world = running("a", a={"poll_every": 60.0, "exit_codes": {4: "fail"}})
    world.start("a")
    world.tell(world.cancel("a"))
    world.tell(world.finished("a", code))
    assert world.states() == {"a": state}


@pytest.mark.parametrize(
    ("retry_timeout", "tries"), [(None, 4), (1000.0, 4), (150.0, 3), (100.0, 2), (50.0, 1), (0.001, 1)]
)
def test_retries_have_a_budget_of_time(retry_timeout: float | None, tries: int):
    """From the first start on: a retry that would begin later is not made."""
    delays = {"retry_delay": 60.0, "retry_delay_max": 60.0}
    world = running("a", a={"retries": 3, "retry_timeout": retry_timeout} | delays)
    for _ in range(tries - 1):
        world.play("a", exit_code=1)
        world.ring("a", "retry")
    world.play("a", exit_code=1)
    assert world.states() == {"a": "failed"}
    assert world.task("a").reason == "exit_code"
    assert ("retry_timeout" in world.task("a").detail) == (tries < 4)
    assert audit(world) == []


def test_the_budget_of_time_does_not_count_the_wait_for_a_worker():
    """Before the first start nothing was tried."""
    world = running("a", a={"retries": 1, "retry_timeout": 100.0})
    world.later(1000)
    world.play("a", exit_code=1)
    assert world.states() == {"a": "up_for_retry"}
    assert world.task("a").begun_at == world.now
