"""One half of an adapter: a link, and the session that lives on its connection.

A session is the life of one connection: what it knows goes with it, so nothing has to be put back after a failure. It
says `ready` at most once, then `lost` at most once. It is ended by its own failure, by that of its connection, or
from above, and reports what it leaves behind before anybody is told that it is over.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from headway.protocol.errors import HeadwayError

from .address import Address
from .failures import translate
from .port import Sink

Action = Callable[[], None]
Crashed = Callable[[Exception], None]


class Link(Protocol):
    """What has a thread and makes connections on it, of whatever kind its client library has."""

    def start(self) -> None:
        """Start the thread; what was posted before is done now."""

    def post(self, action: Action) -> None:
        """Do this on the I/O thread, after all that was posted before; where that is over, here and now."""

    def finish(self, *, timeout_seconds: float) -> None:
        """End the connection, waiting at most so long for the broker's goodbye, and the thread. From outside it."""

    def connect(self, *, opened: Callable[[Any], None], lost: Callable[[Exception], None]) -> None:
        """Begin to connect: one call of `opened`, or one of `lost`, or later both. I/O thread only, as all below."""

    def abandon(self) -> None:
        """Give the connection up: `lost` is not called any more."""

    def call_later(self, seconds: float, action: Action) -> None:
        """Do this after so many seconds."""


@dataclass(frozen=True, slots=True)
class Reports:
    """Whom a session tells what happens, that it is ready, and that it is over and why. Called on the link's thread."""

    sink: Sink
    ready: Action
    lost: Callable[[HeadwayError], None]


class Session(Protocol):
    """The life of one connection."""

    def begin(self) -> None:
        """Set up what is needed on the connection that just opened; `ready` follows, or `lost`."""

    def end(self) -> None:
        """Report what is left behind, and say nothing more."""


S = TypeVar("S", bound=Session)


class Half(Generic[S]):
    """A link with at most one session. `session` is for the link's thread; the other methods may be called from any."""

    def __init__(self, link: Link, address: Address, sink: Sink, *, make: Callable[[Any, Reports], S]) -> None:
        self.link = link
        self.session: S | None = None
        self._address = address
        self._sink = sink
        self._make = make

    def connect(self, *, ready: Action, lost: Callable[[HeadwayError], None]) -> None:
        """Begin to connect; `ready`, `lost`, or both in this order are called on the link's thread."""
        self.link.post(partial(self._connect, Reports(self._sink, ready, lost)))

    def drop(self, *, then: Action) -> None:
        """End the session and its connection, and do `then` once all that it leaves behind is reported."""
        self.link.post(self.end)
        self.link.post(then)

    def finish(self, *, timeout_seconds: float) -> None:
        """End the session and the thread, waiting at most so long for the broker's goodbye. From outside the thread."""
        self.link.post(self.end)
        self.link.finish(timeout_seconds=timeout_seconds)

    def end(self) -> None:
        """End the session and its connection. On the link's thread."""
        session, self.session = self.session, None
        if session is not None:
            session.end()
        self.link.abandon()

    def _connect(self, reports: Reports) -> None:
        self.link.connect(opened=partial(self._opened, reports), lost=partial(self._lost, reports))

    def _opened(self, reports: Reports, connection: object) -> None:
        self.session = self._make(connection, reports)
        self.session.begin()

    def _lost(self, reports: Reports, error: Exception) -> None:
        self.end()
        reports.lost(translate(error, url=self._address.url))
