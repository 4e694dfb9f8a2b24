"""Errors: the docstring is the message, the fields stay readable, the tree says whose fault it is."""

import inspect

import pytest

from headway.protocol import errors
from headway.protocol.errors import HeadwayError, InvalidName, MalformedMessage, UserError

CLASSES = [found for found in vars(errors).values() if inspect.isclass(found) and issubclass(found, HeadwayError)]


def test_the_docstring_is_the_message():
    """Fields fill the docstring and can be read afterwards."""
    error = InvalidName(what="queue", value="A", rule="use a-z")
    assert str(error) == "queue 'A' is not a legal name: use a-z."
    assert error.fields == {"what": "queue", "value": "A", "rule": "use a-z"}


def test_a_message_of_its_own_is_taken_as_it_is():
    """Braces in a message that was given mean nothing."""
    assert str(MalformedMessage("{not a field}")) == "{not a field}"


def test_without_a_docstring_an_error_says_nothing():
    """A class that somebody derives may have no docstring."""

    class Nameless(HeadwayError):
        pass

    Nameless.__doc__ = None
    assert not str(Nameless())


@pytest.mark.parametrize("kind", CLASSES)
def test_the_exit_code_says_whose_fault_it_is(kind):
    """A user's error ends the command with 2, any other with 1; each has a sentence to say."""
    assert kind.exit_code == (2 if issubclass(kind, UserError) else 1)
    assert kind.__doc__
