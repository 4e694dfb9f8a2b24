"""Bookkeeping of what the other side has not answered yet, by delivery tag: pure, one for each channel.

A tag answered with `multiple` answers all open tags up to it. A tag that is not open any more is nothing: AMQP closes
the channel of a client that settles twice, so the second time ends here.
"""

from collections import OrderedDict
from typing import Generic, Literal, TypeVar

from .port import Confirmed, Unconfirmed

T = TypeVar("T")


class TagWindow(Generic[T]):
    """Values by tag, in the order in which they were opened.

    An OrderedDict, because taking the first key of a plain dict again and again walks over all that were deleted.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[int, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, tag: int, value: T) -> None:
        """Await an answer for this tag, which is above all earlier ones."""
        self._open[tag] = value

    def take(self, tag: int, *, multiple: bool) -> list[T]:
        """Return the values that this answer is about, oldest first, and forget them."""
        if not multiple:
            return [self._open.pop(tag)] if tag in self._open else []
        taken = []
        while self._open and next(iter(self._open)) <= tag:
            taken.append(self._open.popitem(last=False)[1])
        return taken

    def take_all(self) -> list[T]:
        """Return what nobody will answer any more, oldest first, and forget it."""
        values = list(self._open.values())
        self._open.clear()
        return values


class ConfirmWindow:
    """The messages of one channel in confirm mode that the broker has not confirmed, as their ids."""

    def __init__(self) -> None:
        self._sent = TagWindow[str]()
        self._tag = 0
        self._returned: set[str] = set()

    def __len__(self) -> int:
        return len(self._sent)

    def sent(self, message_id: str) -> None:
        """Count a message that was published: both sides number them from 1."""
        self._tag += 1
        self._sent.open(self._tag, message_id)

    def returned(self, message_id: str) -> None:
        """Remember that no queue took this message: the broker says so first and confirms it afterwards."""
        self._returned.add(message_id)

    def acked(self, tag: int, *, multiple: bool) -> list[Confirmed | Unconfirmed]:
        """Say what became of the messages that the broker acked."""
        return [self._answer(message_id) for message_id in self._sent.take(tag, multiple=multiple)]

    def nacked(self, tag: int, *, multiple: bool) -> list[Unconfirmed]:
        """Say which messages the broker refused."""
        return self._failed(self._sent.take(tag, multiple=multiple), "refused")

    def lost(self) -> list[Unconfirmed]:
        """Say which messages will never be answered, because their channel is gone."""
        return self._failed(self._sent.take_all(), "lost")

    def _answer(self, message_id: str) -> Confirmed | Unconfirmed:
        if message_id not in self._returned:
            return Confirmed(message_id)
        self._returned.discard(message_id)
        return Unconfirmed(message_id, "returned")

    def _failed(self, message_ids: list[str], reason: Literal["refused", "lost"]) -> list[Unconfirmed]:
        self._returned.difference_update(message_ids)
        return [Unconfirmed(message_id, reason) for message_id in message_ids]
