"""The door of an embedded Headway: a socket in its home, at which commands of other shells hand in what they want.

    command -> door    one Request, as JSON, and no more
    door -> command    one Answer, as JSON; for an event, when the scheduler has committed it

Who may open the socket may operate, so only its owner may. The path of a socket has at most 107 bytes and a home may be
deeper, so both sides name it by a file descriptor of the folder.
"""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from headway.broker.port import QueueDepth
from headway.protocol import errors
from headway.protocol.codec import decode_event, encode
from headway.protocol.errors import HeadwayError, MalformedMessage, NoAnswer, NothingRuns
from headway.protocol.limits import MESSAGE_BYTES_MAX

from .operating import OperatorEvent, Post

log = logging.getLogger(__name__)

DOOR: Final = "embedded.sock"

_MESSAGE_BYTES_MAX: Final = 2 * MESSAGE_BYTES_MAX
"""An event as JSON within JSON."""

_VISITORS_MAX: Final = 16
"""Commands that are served at a time; the next ones wait."""


_ANSWER_SECONDS: Final = 10.0
"""Longest wait for an answer: twice as long as what is asked for may take in there."""

_SILENCE_SECONDS: Final = 5.0
"""Longest silence of a command that was let in: it says at once what it wants, and leaves its place to the next."""

_PAUSE_SECONDS: Final = 1.0
"""Until the next command is let in, where one could not be: this process has too many files open, say."""

_ERRORS: Final = {kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type)}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a command wants: an event handed on (`event` is its JSON), or to know how deep these queues are.

    After `until`, by the monotonic clock that all processes of a machine share, it waits no more, and nothing is done.
    """

    until: float
    event: str | None = None
    measure: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: the event's message id, the depths, or why not, and which error that is."""

    message_id: str = ""
    depths: tuple[QueueDepth, ...] = ()
    error: str = ""
    detail: str = ""


class DoorPost:
    """The way to a broker that is in another process."""

    def __init__(self, home: Path) -> None:
        """Go to the door in `home`, when there is something to say."""
        self._home = home

    def send(self, event: OperatorEvent) -> str:
        """Hand an event in."""
        return self._ask(event=encode(event).decode()).message_id

    def measure(self, queues: Sequence[str]) -> list[QueueDepth]:
        """Ask for depths."""
        return list(self._ask(measure=tuple(queues)).depths)

    def _ask(self, *, event: str | None = None, measure: tuple[str, ...] = ()) -> Answer:
        request = Request(until=time.monotonic() + _ANSWER_SECONDS, event=event, measure=measure)
        try:
            with _address(self._home) as address, socket.socket(socket.AF_UNIX) as door:
                door.connect(address)
                door.settimeout(_ANSWER_SECONDS)
                door.sendall(msgspec.json.encode(request))
                door.shutdown(socket.SHUT_WR)
                answer = msgspec.json.decode(_read(door), type=Answer)
        except TimeoutError as error:
            raise NoAnswer(home=self._home, seconds=_ANSWER_SECONDS) from error
        except (OSError, msgspec.DecodeError) as error:  # nobody is there, or went away
            raise NothingRuns(home=self._home) from error
        if answer.error:
            raise _ERRORS.get(answer.error, HeadwayError)(answer.detail)
        return answer


@contextlib.contextmanager
def open_door(home: Path, post: Post) -> Iterator[None]:
    """Serve commands until the context ends, by `post`. The home must be held: a door that is there is a dead one's."""
    (home / DOOR).unlink(missing_ok=True)
    with _address(home) as address, socket.socket(socket.AF_UNIX) as listener:
        mask = os.umask(0o177)
        try:
            listener.bind(address)
        finally:
            os.umask(mask)
        listener.listen()
        porter = _Porter(listener, post)
        try:
            yield
        finally:
            (home / DOOR).unlink(missing_ok=True)
            porter.end()


class _Porter:
    """Lets commands in, on a thread of its own, and serves them on others."""

    def __init__(self, listener: socket.socket, post: Post) -> None:
        self._listener = listener
        self._post = post
        self._visitors: set[socket.socket] = set()
        self._ending = threading.Event()
        self._pool = ThreadPoolExecutor(_VISITORS_MAX)
        self._thread = threading.Thread(target=self._receive, name="headway-door")
        self._thread.start()

    def end(self) -> None:
        """Let nobody in any more, listen to nobody who still talks, and answer all others."""
        self._ending.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # ends the wait for a visitor
        self._thread.join()
        for visitor in self._visitors.copy():
            with contextlib.suppress(OSError):  # it has left
                visitor.shutdown(socket.SHUT_RD)
        self._pool.shutdown()

    def _receive(self) -> None:
        while not self._ending.is_set():
            try:
                visitor, _ = self._listener.accept()
            except OSError as error:
                if not self._ending.is_set():
                    log.warning("a command could not be let in, and is in %g s: %s", _PAUSE_SECONDS, error)
                    self._ending.wait(_PAUSE_SECONDS)
                continue
            self._visitors.add(visitor)
            self._pool.submit(self._serve, visitor)

    def _serve(self, visitor: socket.socket) -> None:
        with contextlib.suppress(OSError), visitor:  # who went away, or says nothing, needs no answer
            visitor.settimeout(_SILENCE_SECONDS)
            visitor.sendall(msgspec.json.encode(_answer(_read(visitor), self._post)))
        self._visitors.discard(visitor)


def _answer(data: bytes, post: Post) -> Answer:
    try:
        return _do(msgspec.json.decode(data, type=Request), post)
    except msgspec.DecodeError as error:
        return Answer(error=MalformedMessage.__name__, detail=str(MalformedMessage(detail=error)))
    except HeadwayError as error:
        return Answer(error=type(error).__name__, detail=str(error))


def _do(request: Request, post: Post) -> Answer:
    if time.monotonic() > request.until:
        raise HeadwayError("The command that wants this has given up.")
    if request.event is None:
        return Answer(depths=tuple(post.measure(request.measure)))
    event = decode_event(request.event.encode())
    if not isinstance(event, OperatorEvent):
        raise MalformedMessage(detail="only operators' events are taken at this door")
    return Answer(message_id=post.send(event))


def _read(connection: socket.socket) -> bytes:
    """Return what the other side says, to its end."""
    with connection.makefile("rb") as file:
        return file.read(_MESSAGE_BYTES_MAX)


@contextlib.contextmanager
def _address(home: Path) -> Iterator[str]:
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{DOOR}"
    finally:
        os.close(folder)
