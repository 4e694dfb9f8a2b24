"""Keywords: faults are told in the author's words, and a fault without a place as it is."""

import pytest

from headway.protocol.errors import InvalidDag
from headway.protocol.keywords import did_you_mean, make_task


def test_a_near_word_is_suggested_and_a_far_one_is_not():
    """A suggestion is worth nothing if it is a guess."""
    assert did_you_mean("retrys", ["queue", "retries"]) == " (did you mean 'retries'?)"
    assert not did_you_mean("xyz", ["queue", "retries"])


def test_a_command_of_no_kind_is_a_fault():
    """What msgspec says of it is passed on."""
    with pytest.raises(InvalidDag, match="task 'a': kind: invalid value 'brew'"):
        make_task("a", {"kind": "brew"}, {})


def test_upstream_tasks_are_names():
    """Anything else has its place named."""
    with pytest.raises(InvalidDag, match=r"task 'a': upstream\[0\]: expected text, got a whole number"):
        make_task("a", {"kind": "shell", "script": "x"}, {}, upstream=[1])
