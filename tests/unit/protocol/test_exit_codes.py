"""What an exit code means: the usual table, the author's own rows before it, and how both are read."""

from typing import Any

import pytest

from headway.protocol.dag import Shell, Task
from headway.protocol.errors import InvalidDag
from headway.protocol.exit_codes import may_retry, outcome_of, success_codes
from headway.protocol.keywords import make_task
from headway.protocol.names import TaskId


def task(**fields: Any) -> Task:
    """Return a task with these keywords, as an author writes them."""
    return make_task("a", {"kind": "shell", "script": "true"}, fields)


@pytest.mark.parametrize(
    ("keywords", "code", "outcome"),
    [
        ({}, 0, "success"),
        ({}, 1, "retry"),
        ({}, 75, "retry"),
        ({}, 99, "skip"),
        ({}, 255, "retry"),
        ({}, None, "retry"),
        ({"poll_every": 60}, 75, "poll"),
        ({"poll_every": 60}, 1, "retry"),
        ({"poll_every": 60, "exit_codes": {3: "poll", 75: "fail"}}, 3, "poll"),
        ({"poll_every": 60, "exit_codes": {3: "poll", 75: "fail"}}, 75, "fail"),
        ({"exit_codes": {0: "skip"}}, 0, "skip"),
        ({"exit_codes": {99: "retry"}}, 99, "retry"),
        ({"exit_codes": {3: "success"}}, 3, "success"),
        ({"exit_codes": {"3": "fail"}}, 3, "fail"),
        ({"exit_codes": {3: "fail"}}, 4, "retry"),
        ({"retry_on": [3]}, 3, "retry"),
        ({"retry_on": [3]}, 4, "fail"),
        ({"retry_on": [3]}, 0, "success"),
        ({"retry_on": []}, 1, "fail"),
        ({"retry_on": [3], "exit_codes": {4: "retry", 3: "fail"}}, 4, "retry"),
        ({"retry_on": [3], "exit_codes": {4: "retry", 3: "fail"}}, 3, "fail"),
    ],
)
def test_a_code_means_what_the_table_says(keywords: dict, code: int, outcome: str):
    """What the author says goes before what is usual."""
    assert outcome_of(task(**keywords), code) == outcome


@pytest.mark.parametrize(
    ("retry_on", "end", "may"),
    [(None, "signal", True), ([], "signal", False), (["signal", 3], "signal", True), (["signal", 3], "timeout", False)],
)
def test_ends_without_a_code_have_words(retry_on: list | None, end: str, *, may: bool):
    """A signal, a timeout and their like stand in retry_on by name."""
    assert may_retry(task(retry_on=retry_on), end) is may


@pytest.mark.parametrize(
    ("exit_codes", "codes"), [({}, (0,)), ({0: "fail"}, ()), ({7: "success", 3: "success", 4: "skip"}, (0, 3, 7))]
)
def test_a_worker_is_told_which_codes_are_success(exit_codes: dict, codes: tuple[int, ...]):
    """In order, so that a message is the same each time."""
    assert success_codes(task(exit_codes=exit_codes)) == codes


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"exit_codes": [3]}, "exit_codes: expected a mapping, got [3]"),
        ({"exit_codes": {256: "fail"}}, "exit_codes: 256 is no exit code: they go from 0 to 255"),
        ({"exit_codes": {"x": "fail"}}, "exit_codes: 'x' is no exit code: they go from 0 to 255"),
        ({"exit_codes": {True: "fail"}}, "exit_codes: True is no exit code: they go from 0 to 255"),
        (
            {"exit_codes": {3: "ignore"}},
            "exit_codes: 'ignore', said of exit code 3, is none of 'success', 'fail', 'skip', 'retry', 'poll'",
        ),
        ({"exit_codes": {3: ["fail"]}}, "exit_codes: ['fail'], said of exit code 3, is none of 'success', "),
        ({"exit_codes": {3: "fail", "03": "skip"}}, "exit_codes: exit code 3 stands there twice"),
        ({"retry_on": 3}, "retry_on: expected a list, got 3"),
        ({"retry_on": [-1]}, "retry_on: -1 is neither an exit code from 0 to 255 nor one of 'signal', "),
        ({"retry_on": ["lost"]}, "retry_on: 'lost' is neither an exit code from 0 to 255 nor one of 'signal', "),
    ],
)
def test_a_table_that_means_nothing_is_refused(keywords: dict, message: str):
    """With the value, and what is legal."""
    with pytest.raises(InvalidDag) as refused:
        task(**keywords)
    assert f"task 'a': {message}" in str(refused.value)


def test_a_value_needs_no_table():
    """A task that says nothing has the usual one."""
    assert Task(task_id=TaskId("a"), command=Shell(script="true")) == task(exit_codes={}, retry_on=None)
