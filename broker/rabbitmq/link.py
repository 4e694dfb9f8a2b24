"""One thread that does I/O and nothing else, with one connection at a time.

pika's connections belong to one thread. Everything else enters here by `post`.

A link makes a connection when it is told to and says when it ended; whether to try again is decided above. A
connection that was given up is closed in the background: it says goodbye to the broker, so that deliveries and
exclusive queues are free at once, while the next one may be made already. If the broker does not answer, its
heartbeat ends it.
"""

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from pika import ConnectionParameters  # type: ignore[import-untyped]
from pika.adapters.select_connection import IOLoop  # type: ignore[import-untyped]

from ..halves import Action, Crashed
from ..inbox import Inbox
from ..timing import GOODBYE_SECONDS_MIN
from .connection import Connection

FAILURES_MAX: Final = 100
"""Errors of the I/O loop in a row, without an action in between, after which it is beyond repair."""

_PIKA_LOG: Final = logging.getLogger("pika")


class Link:
    """An I/O thread, its inbox, and its connection. `crashed` hears of an error in an action: a fault of ours."""

    def __init__(self, settings: ConnectionParameters, crashed: Crashed) -> None:
        self._settings = settings
        self._crashed = crashed
        self._inbox = Inbox()
        self._loop: IOLoop | None = None
        self._thread: threading.Thread | None = None
        # I/O thread only, from here on.
        self._connection: Connection | None = None
        self._lost: Callable[[Exception], None] = crashed
        self._not_closed: set[Connection] = set()
        self._is_finishing = False
        self._failures = 0

    def start(self) -> None:
        """Start the thread; what was posted before is done now."""
        if _PIKA_LOG.level == logging.NOTSET:
            # What it reports there, as errors with stack traces, reaches the service as signals.
            _PIKA_LOG.setLevel(logging.CRITICAL)
        self._loop = loop = IOLoop()
        name = self._settings.client_properties["connection_name"]
        self._thread = threading.Thread(target=self._run, args=(loop,), name=name, daemon=True)
        self._thread.start()
        self._inbox.open(partial(loop.add_callback_threadsafe, self._do_slice))

    def post(self, action: Action) -> None:
        """Do this on the I/O thread, after all that was posted before; where the thread is over, here and now."""
        self._inbox.post(action)

    def finish(self, *, timeout_seconds: float) -> None:
        """End the connection, waiting at most so long for the broker's goodbye, and the thread. From outside it."""
        if self._thread is None:
            self._inbox.end()
            return
        for action in (self._finish, self._abort, self._stop):
            self.post(action)
            self._thread.join(max(timeout_seconds, GOODBYE_SECONDS_MIN))
            if not self._thread.is_alive():
                return
            timeout_seconds = 0.0

    def connect(self, *, opened: Callable[[Connection], None], lost: Callable[[Exception], None]) -> None:
        """Begin to connect: one call of `opened`, or one of `lost`, or later both. I/O thread only, as all below."""

        def is_open(connection: Connection) -> None:
            if connection is self._connection:
                opened(connection)

        if not self._is_finishing:
            self._lost = lost
            self._connection = Connection(
                self._settings,
                on_open_callback=is_open,
                on_open_error_callback=self._closed,
                on_close_callback=self._closed,
                custom_ioloop=self._loop,
            )
            self._not_closed.add(self._connection)

    def abandon(self) -> None:
        """Give the connection up: `lost` is not called, and it is closed in the background."""
        connection, self._connection = self._connection, None
        if connection is not None and not (connection.is_closing or connection.is_closed):
            connection.close()

    def call_later(self, seconds: float, action: Action) -> None:
        """Do this after so many seconds."""
        if self._loop is not None:
            self._loop.call_later(seconds, partial(self.post, action))

    def _run(self, loop: IOLoop) -> None:
        is_stopped = False
        while not is_stopped:
            try:
                loop.start()
                is_stopped = True
            except Exception as error:  # noqa: BLE001  see `_fail`
                is_stopped = not self._fail(error)
        self._inbox.end()
        loop.close()

    def _fail(self, error: Exception) -> bool:
        """Take an error in pika's own callbacks as the end of the connection; return whether the loop may go on.

        It lets some through to the loop, which then forgets that it was told to stop: an OSError when no files are
        left, a ValueError when a peer resets while we connect, an AssertionError when we give up in a handshake.
        """
        self._failures += 1
        if self._failures > FAILURES_MAX:
            self._crashed(error)
            return False
        if self._connection is not None:
            self.abandon()
            self._lost(error)
        self._stop_when_finished()
        return True

    def _do_slice(self) -> None:
        self._failures = 0
        connection = self._connection
        if connection is not None:
            connection.hold()
        try:
            self._inbox.do_slice(lambda action: action())
        except Exception as error:  # noqa: BLE001  whatever it is, the service must hear of it
            self._crashed(error)
        finally:
            if connection is not None:
                connection.release()

    def _closed(self, connection: Connection, error: Exception) -> None:
        self._not_closed.discard(connection)
        if connection is self._connection:
            self._connection = None
            self._lost(error)
        self._stop_when_finished()

    def _finish(self) -> None:
        self._is_finishing = True
        self.abandon()
        self._stop_when_finished()

    def _stop_when_finished(self) -> None:
        if self._is_finishing and not self._not_closed:
            self._stop()

    def _abort(self) -> None:
        for connection in self._not_closed:
            connection.abort()

    def _stop(self) -> None:
        if self._loop is not None:
            self._loop.stop()
