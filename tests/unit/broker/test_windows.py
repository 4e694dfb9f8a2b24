"""What is not answered yet, by delivery tag."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.broker.port import Confirmed, Unconfirmed
from headway.broker.windows import ConfirmWindow, TagWindow


def window_of(count: int) -> ConfirmWindow:
    """Return a window with m1, m2, ... outstanding."""
    window = ConfirmWindow()
    for number in range(1, count + 1):
        window.sent(f"m{number}")
    return window


def test_one_answer_answers_one_tag():
    """Without `multiple` the neighbours stay open."""
    window = window_of(3)
    assert window.acked(2, multiple=False) == [Confirmed("m2")]
    assert len(window) == 2


def test_multiple_answers_all_open_tags_up_to_it():
    """Oldest first, and only those that were not answered yet."""
    window = window_of(4)
    window.acked(2, multiple=False)
    assert window.acked(3, multiple=True) == [Confirmed("m1"), Confirmed("m3")]
    assert window.lost() == [Unconfirmed("m4", "lost")]


@pytest.mark.parametrize("multiple", [False, True])
def test_an_answer_to_nothing_is_nothing(*, multiple: bool):
    """A tag that was answered, or comes from a channel that is gone."""
    window = window_of(1)
    window.acked(1, multiple=multiple)
    assert window.acked(1, multiple=multiple) == []
    assert len(window) == 0


def test_a_returned_message_is_no_confirmed_one():
    """The broker returns it first and acks it afterwards; a second try under the same id starts afresh."""
    window = window_of(2)
    window.returned("m1")
    assert window.acked(2, multiple=True) == [Unconfirmed("m1", "returned"), Confirmed("m2")]
    window.sent("m1")
    assert window.acked(3, multiple=False) == [Confirmed("m1")]


def test_a_nack_is_a_refusal_even_of_a_returned_message():
    """And what was returned once does not count for a later try."""
    window = window_of(2)
    window.returned("m2")
    assert window.nacked(2, multiple=True) == [Unconfirmed("m1", "refused"), Unconfirmed("m2", "refused")]
    window.sent("m2")
    assert window.acked(3, multiple=False) == [Confirmed("m2")]


def test_what_is_lost_is_told_in_order_and_once():
    """When the channel is gone."""
    window = window_of(3)
    assert window.lost() == [Unconfirmed("m1", "lost"), Unconfirmed("m2", "lost"), Unconfirmed("m3", "lost")]
    assert window.lost() == []


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans())))
def test_each_value_is_taken_once_and_in_order_within_an_answer(answers: list[tuple[int, bool]]):
    """Whatever is answered in whatever order, nothing is lost and nothing comes twice."""
    window = TagWindow[int]()
    for tag in range(1, 51):
        window.open(tag, tag)
    taken = [window.take(tag, multiple=multiple) for tag, multiple in answers]
    assert all(values == sorted(values) for values in taken)
    assert sorted([*itertools.chain(*taken), *window.take_all()]) == list(range(1, 51))
    assert len(window) == 0
