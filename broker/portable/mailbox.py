"""A queue in memory: letters in their order, and who takes them. Pure; hub.py carries letters to it.

What it does as RabbitMQ does, because the services rely on it: consumers in turn, each up to its prefetch; only the
first one of a single-active-consumer queue; what was handed out and comes back goes to its old place, marked; a full
queue refuses what is published, or drops its oldest letters. It has no clock, so nothing expires.
"""

import bisect
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from headway.protocol.topology import Queue

_SINGLE: Final = "x-single-active-consumer"
_DELIVERIES_MAX: Final = "x-delivery-limit"
_LENGTH_MAX: Final = "x-max-length"
_BYTES_MAX: Final = "x-max-length-bytes"
_OVERFLOW: Final = "x-overflow"


@dataclass(slots=True, eq=False)
class Receipt:
    """Tells a publisher once every queue that took its message is done with it; or at once, if that is agreed."""

    tell: Callable[[], None]
    open: int = 0

    def close_one(self) -> None:
        """Count one queue that is done."""
        self.open -= 1
        if not self.open:
            self.tell()


@dataclass(slots=True, eq=False)
class Letter:
    """A message in one queue."""

    content: dict[str, Any]  # as kombu's virtual channels have it; shared by all queues that took it, never changed
    exchange: str
    routing_key: str
    headers: dict[str, Any]
    receipt: Receipt | None = None
    place: int = 0
    returns: int = 0

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.content["body"])

    def finish(self) -> None:
        """Have nothing more to do with it."""
        if self.receipt is not None:
            self.receipt.close_one()


@dataclass(slots=True, eq=False)
class Taker:
    """A consumer: where its letters go, and how many of them may be unsettled."""

    deliver: Callable[["Taker", Letter], None]
    prefetch: int
    unsettled: int = 0


@dataclass(slots=True, eq=False)
class Mailbox:
    """A queue. `owner` is the connection that it is exclusive to."""

    queue: Queue
    owner: object | None = None
    ready: deque[Letter] = field(default_factory=deque)
    takers: deque[Taker] = field(default_factory=deque)
    _places: int = 0
    _bytes: int = 0

    @property
    def _keeps(self) -> bool:
        """Whether what it took stays, though it is full."""
        return self.queue.arguments.get(_OVERFLOW) == "reject-publish"

    @property
    def refuses(self) -> bool:
        """Whether the queue refuses what is published to it now."""
        return self._keeps and self._is_full(room_for=1)

    def put(self, letter: Letter) -> None:
        """Take a letter, and hand out what can be; what there is no room for then is dropped, oldest first."""
        self._places += 1
        letter.place = self._places
        self.ready.append(letter)
        self._bytes += letter.size
        self.hand_out()
        while self.ready and not self._keeps and self._is_full():
            self._take().finish()

    def put_back(self, letter: Letter) -> bool:
        """Take back a letter that was handed out; return False if that was once too often. It is not handed out yet."""
        letter.returns += 1
        limit = int(self.queue.arguments.get(_DELIVERIES_MAX, -1))
        if 0 <= limit < letter.returns:
            return False
        index = bisect.bisect(self.ready, letter.place, key=lambda other: other.place)
        self.ready.insert(index, letter)
        self._bytes += letter.size
        return True

    def add(self, taker: Taker) -> None:
        """Let a consumer have letters from now on."""
        self.takers.append(taker)
        self.hand_out()

    def remove(self, taker: Taker) -> None:
        """Let a consumer have no more; the next one of a single-active-consumer queue begins at `hand_out`."""
        if taker in self.takers:
            self.takers.remove(taker)

    def hand_out(self) -> None:
        """Hand out what is ready to those who have room."""
        while self.ready and (taker := self._next_taker()) is not None:
            taker.unsettled += 1
            taker.deliver(taker, self._take())

    def _take(self) -> Letter:
        letter = self.ready.popleft()
        self._bytes -= letter.size
        return letter

    def _is_full(self, *, room_for: int = 0) -> bool:
        """Whether there are more letters or bytes than the queue may hold, or as many, if one more is to come."""
        limits = (len(self.ready), _LENGTH_MAX), (self._bytes, _BYTES_MAX)
        return any(
            held + room_for > int(limit)
            for held, name in limits
            if (limit := self.queue.arguments.get(name)) is not None
        )

    def _next_taker(self) -> Taker | None:
        """Return whose turn it is among those who have room."""
        if self.queue.arguments.get(_SINGLE):
            first = self.takers[0] if self.takers else None
            return first if first is not None and first.unsettled < first.prefetch else None
        for _ in range(len(self.takers)):
            self.takers.rotate(-1)
            if self.takers[-1].unsettled < self.takers[-1].prefetch:
                return self.takers[-1]
        return None
