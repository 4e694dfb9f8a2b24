"""Messages: each kind of event has a sender, and no two kinds share a name."""

from typing import get_args

from headway.protocol.kinds import ROLE_OF_KIND, Event, Role, kind_of
from headway.protocol.messages import Task, WorkerOrder


def test_every_kind_of_event_has_a_role_that_may_send_it():
    """The table of senders is complete and names only known roles."""
    assert set(ROLE_OF_KIND) == set(get_args(Event))
    assert set(ROLE_OF_KIND.values()) == set(get_args(Role))


def test_kinds_are_words_of_their_own():
    """A kind is one word of a routing key, and stands for one message."""
    kinds = [kind_of(message) for message in (Task, *get_args(Event), *get_args(WorkerOrder))]
    assert len(set(kinds)) == len(kinds)
    assert all(kind.replace("_", "").isalpha() and kind.islower() for kind in kinds)
