"""Output on its way to the logkeeper: a thread that follows the logs of running attempts and publishes what is new.

The file on this machine is the truth, and nothing waits for this: the shipper has a connection of its own, so a flood
of output delays no event, and whatever happens to it, a task and its result are not touched.

Of each attempt one piece is under way at a time. One that was not confirmed is published again as it is, because a
double is known by its place in the log, and only by that; the next one begins behind it. A broker that is away, or that
has no queue for output since no logkeeper was ever started, delays it: then one piece tries, and the others wait.

An attempt that has ended is followed until all it wrote is confirmed, but not more than ENDED_MAX of them. What a
worker had not published when it was killed stays in its files.
"""

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headway.broker.port import (
    Blocked,
    Broker,
    Confirmed,
    Connected,
    ConsumerGone,
    Delivered,
    Disconnected,
    Failed,
    Outgoing,
    QueueDepth,
    Signal,
    Sink,
    Unblocked,
    Unconfirmed,
)
from headway.protocol.codec import encode
from headway.protocol.kinds import kind_of
from headway.protocol.log_chunk import LogChunk
from headway.protocol.messages import Task
from headway.protocol.names import Token, log_key
from headway.protocol.topology import LOGS

from .masking import Mask
from .tailing import LogTail

_log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
"""How often logs are looked at, and so how often an attempt that writes slowly is spoken of."""

AGAIN_SECONDS: Final = 5.0
"""Until a piece that the broker did not take is published again, also where a new connection stands sooner."""

ENDED_MAX: Final = 1_000
"""Attempts that have ended and whose output is not confirmed; of more, the oldest are given up."""

_CLOSE_SECONDS: Final = 1.0
"""How long the connection may take to close: all that must arrive has been waited for before."""


class _Woken:
    """There is something to do at once: an attempt has ended, or all shall."""

    def __init__(self, token: Token | None = None) -> None:
        self.token = token


class _Piece:
    """A message that is published, or is to be."""

    def __init__(self, tail: LogTail, message: Outgoing, *, is_last: bool) -> None:
        self.tail, self.message, self.is_last = tail, message, is_last


class LogShipper:
    """Ships the output of one worker. `watch` and `end` may be called from any thread, and return at once."""

    def __init__(self, connect: Callable[[Sink], Broker]) -> None:
        self._inbox: queue.SimpleQueue[Signal | _Woken] = queue.SimpleQueue()
        self._broker = connect(self._inbox.put)
        self._lock = threading.Lock()
        self._tails: dict[Token, LogTail] = {}
        self._ended: dict[Token, None] = {}
        self._under_way: dict[str, _Piece] = {}
        self._busy: set[Token] = set()  # whose piece is under way
        self._refused: dict[Token, _Piece] = {}
        self._is_connected = False
        self._is_trusted = False  # the broker has confirmed the last piece that it answered
        self._again_at = 0.0
        self._trouble = ""
        self._close_by: float | None = None
        self._thread = threading.Thread(target=self._run, name="log-shipper", daemon=True)

    def open(self) -> None:
        """Begin."""
        self._broker.open()
        self._thread.start()

    def watch(self, attempt: Task, log: Path, mask: Mask, begin: int = 0) -> None:
        """Follow a log from a place on. The thread is not woken: what was written is found at its next look."""
        with self._lock:
            self._tails[attempt.token] = LogTail(attempt, log, mask, begin)

    def end(self, token: Token, *, wrote: bool) -> None:
        """Nothing is added to a log any more; of one that is empty there is nothing to say."""
        with self._lock:
            if not wrote:
                self._tails.pop(token, None)
                return
            tail = self._tails.get(token)
            if tail is None:  # all that is shipped of it is there
                return
            tail.is_complete = True
            self._ended[token] = None
            if len(self._ended) > ENDED_MAX:
                self._forget(next(iter(self._ended)))
        self._inbox.put(_Woken(token))

    def close(self, *, timeout_seconds: float) -> None:
        """Publish what is left, wait at most this long for the confirms, and disconnect."""
        with self._lock:
            for tail in self._tails.values():  # of children that died with their spawner, say
                tail.is_complete = True
        self._close_by = time.monotonic() + timeout_seconds
        self._inbox.put(_Woken())
        self._thread.join()
        self._broker.close(timeout_seconds=_CLOSE_SECONDS)

    def _run(self) -> None:
        look_at = time.monotonic() + LOOK_SECONDS
        while not self._is_over():
            try:
                self._hear(self._inbox.get(timeout=max(0.0, look_at - time.monotonic())))
            except queue.Empty:
                self._look()
                look_at = time.monotonic() + LOOK_SECONDS

    def _is_over(self) -> bool:
        """Say whether this shall end, and there is nothing left or nobody who takes it."""
        if self._close_by is None:
            return False
        is_taken = self._is_trusted or (self._is_connected and time.monotonic() >= self._again_at)
        return not self._tails or not is_taken or time.monotonic() > self._close_by

    def _hear(self, item: Signal | _Woken) -> None:
        match item:
            case _Woken(token=token):
                self._look(token)
            case Confirmed(message_id=message_id):
                self._confirmed(self._answered(message_id))
            case Unconfirmed(message_id=message_id, reason=reason):
                self._unconfirmed(self._answered(message_id), reason)
            case Connected():
                self._is_connected = True
                self._look()
            case Disconnected(detail=detail):
                self._is_connected = self._is_trusted = False
                self._complain(detail)
            case Blocked(detail=detail):
                self._complain(detail)
            case Failed(error=error):  # a user who may not publish output, say: that is the end of the tries
                self._is_connected = self._is_trusted = False
                self._complain(str(error))
            case Unblocked() | Delivered() | ConsumerGone() | QueueDepth():
                pass

    def _look(self, token: Token | None = None) -> None:
        """Publish what is new, of one attempt or of all."""
        if not self._may_publish():
            return
        with self._lock:
            tails = [tail for tail in (self._tails.values() if token is None else [self._tails.get(token)]) if tail]
        for tail in tails:
            if tail.token not in self._busy:
                self._advance(tail)

    def _may_publish(self) -> bool:
        if self._is_trusted:
            return True
        return self._is_connected and not self._under_way and time.monotonic() >= self._again_at

    def _advance(self, tail: LogTail) -> None:
        if not self._may_publish():
            return
        piece = self._refused.pop(tail.token, None) or self._next_piece(tail)
        if piece is not None:
            self._under_way[piece.message.message_id] = piece
            self._busy.add(tail.token)
            self._broker.publish(piece.message)

    def _next_piece(self, tail: LogTail) -> _Piece | None:
        chunk = tail.next_chunk()
        return None if chunk is None else _Piece(tail, self._message(chunk), is_last=chunk.eof)

    def _message(self, chunk: LogChunk) -> Outgoing:
        return Outgoing(
            message_id=uuid.uuid4().hex,
            exchange=LOGS,
            routing_key=log_key(self._broker.user),
            kind=kind_of(chunk),
            body=encode(chunk),
        )

    def _answered(self, message_id: str) -> _Piece:
        piece = self._under_way.pop(message_id)
        self._busy.discard(piece.tail.token)
        return piece

    def _confirmed(self, piece: _Piece) -> None:
        if self._trouble:
            _log.info("Output of tasks is stored again")
        self._is_trusted, self._trouble = True, ""
        if piece.is_last:
            with self._lock:
                self._forget(piece.tail.token)
        elif piece.tail.is_behind or piece.tail.is_complete:
            self._advance(piece.tail)

    def _unconfirmed(self, piece: _Piece, reason: str) -> None:
        if piece.tail.token in self._tails:
            self._refused[piece.tail.token] = piece
        self._is_trusted, self._again_at = False, time.monotonic() + AGAIN_SECONDS
        if reason != "lost":
            self._complain(f"the broker has no place for it ({reason}): no logkeeper was ever started there")

    def _forget(self, token: Token) -> None:
        self._tails.pop(token, None)
        self._ended.pop(token, None)
        self._refused.pop(token, None)

    def _complain(self, trouble: str) -> None:
        """Say once why output waits, if there is any."""
        if self._tails and not self._trouble:
            _log.warning("Output of tasks is not stored for now (%s); it stays in its files", trouble)
            self._trouble = trouble
