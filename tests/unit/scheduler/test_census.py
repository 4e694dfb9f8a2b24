"""The census: what lacks in two looks in a row is missed, and nothing else."""

from datetime import timedelta

import pytest

from headway.broker.port import QueueDepth
from headway.protocol.messages import Missing
from headway.scheduler.census import LOOK_SECONDS, Census

NAME = "headway.q.io"


class Stored:
    """A store that holds these old messages of one queue."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = tokens

    def long_queued(self, age: timedelta) -> dict[str, list[Missing]]:
        """Return them, if they are asked for by the promised age."""
        assert age == timedelta(seconds=10)
        return {"io": [missing(token) for token in self.tokens]} if self.tokens else {}


def missing(token: str, publication: int = 1) -> Missing:
    """A message is missing."""
    return Missing(dag_id="d", run_id="r", task_id="t", try_number=1, token=token, publication=publication)


class Office:
    """A census with its clock, its store and the broker's answers."""

    def __init__(self, *tokens: str) -> None:
        self.stored = Stored(*tokens)
        self.measured: list[str] = []
        self.census = Census(self.stored, self.measured.append)
        self.now = 1000.0

    def look(self, ready: int | None, after: float = LOOK_SECONDS) -> list[str]:
        """Look, after this time, at a queue of which so many messages are ready; return whose message is missed."""
        self.now += after
        self.census.look(self.now)
        return [event.token for event in self.census.hear(QueueDepth(NAME, ready, 3))]


def test_what_lacks_twice_is_missed():
    """The oldest first, as many as lack: a queue is emptied from its head."""
    office = Office("a", "b", "c")
    assert office.look(1) == []
    assert office.look(1) == ["a", "b"]
    assert office.measured == [NAME, NAME]


@pytest.mark.parametrize("ready", [0, None])
def test_an_empty_queue_and_one_that_is_not_there_have_nothing(ready: int | None):
    """All that the database believes is missed."""
    office = Office("a", "b")
    office.look(ready)
    assert office.look(ready) == ["a", "b"]


def test_what_is_in_a_workers_hand_for_a_moment_is_not_missed():
    """The second look finds it granted, and another in hand."""
    office = Office("a", "b")
    assert office.look(1) == []
    office.stored.tokens = ("b", "c")
    assert office.look(1) == []
    assert office.look(2) == []
    assert office.look(1) == []


def test_a_queue_that_holds_all_or_more_lacks_nothing():
    """Doubles are there too."""
    office = Office("a")
    assert [office.look(ready) for ready in (1, 5, 1)] == [[], [], []]


def test_looks_have_a_distance():
    """However often it is asked, and however many messages lack."""
    office = Office("a")
    assert office.look(0) == []
    assert office.look(0, after=LOOK_SECONDS - 0.1) == []
    assert office.look(0, after=0.2) == ["a"]
    assert office.measured == [NAME, NAME]


def test_an_answer_counts_once():
    """And one that nobody asked for says nothing."""
    office = Office("a")
    office.look(0)
    assert office.look(0) == ["a"]
    assert office.census.hear(QueueDepth(NAME, 0, 0)) == []
    assert office.census.hear(QueueDepth("headway.q.other", 0, 0)) == []


def test_a_queue_without_old_messages_is_left_in_peace():
    """And what was suspected there is forgotten."""
    office = Office("a")
    office.look(0)
    office.stored.tokens = ()
    office.look(0)
    office.stored.tokens = ("a",)
    assert office.look(0) == []
    assert office.measured == [NAME, NAME]


def test_after_a_cut_connection_it_begins_anew():
    """What workers had in hand goes back, and may not be ready yet."""
    office = Office("a")
    office.look(0)
    office.census.forget()
    assert office.look(0) == []
    assert office.look(0) == ["a"]
