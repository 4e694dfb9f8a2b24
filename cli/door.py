"""The door of an embedded Headway: a socket in its home, at which commands of other shells hand in what they want.

    command -> door    one Request, as JSON
    door -> command    one Answer, as JSON; for an event, when the scheduler has committed it

Who may open the socket may operate, so only its owner may. The path of a socket has at most 107 bytes and a home may be
deeper, so both sides name it by a file descriptor of the folder.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Final

import msgspec

from headway.broker.port import QueueDepth
from headway.protocol.codec import decode_event, encode
from headway.protocol.errors import BrokerUnavailable, HeadwayError, NothingRuns
from headway.protocol.limits import MESSAGE_BYTES_MAX
from headway.protocol.messages import Cancel, DagVersion, Trigger

from .operating import OperatorEvent, Post

log = logging.getLogger(__name__)

DOOR: Final = "embedded.sock"

_REQUEST_BYTES_MAX: Final = 2 * MESSAGE_BYTES_MAX
"""An event as JSON within JSON."""

_VISITORS_MAX: Final = 16
"""Commands that are served at a time; the next ones wait."""


_REQUEST_SECONDS: Final = 1.0
"""How long a visitor may take to begin to speak: what it wants is ready when it comes."""

_ANSWER_SECONDS: Final = 10.0
"""Longest wait for an answer: twice as long as what is asked for may take in there."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a command wants: an event handed on (`event` is its JSON), or to know how deep these queues are."""

    event: str | None = None
    measure: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: the event's message id, the depths, or why not."""

    message_id: str = ""
    depths: tuple[QueueDepth, ...] = ()
    error: str | None = None


class DoorPost:
    """The way to a broker that is in another process."""

    def __init__(self, home: Path) -> None:
        """Go to the door in `home`, when there is something to say."""
        self._home = home

    def send(self, event: OperatorEvent) -> str:
        """Hand an event in."""
        return self._ask(Request(event=encode(event).decode())).message_id

    def measure(self, queues: Sequence[str]) -> list[QueueDepth]:
        """Ask for depths."""
        return list(self._ask(Request(measure=tuple(queues))).depths)

    def _ask(self, request: Request) -> Answer:
        try:
            with _address(self._home) as address, Client(address, family="AF_UNIX") as connection:
                connection.send_bytes(msgspec.json.encode(request))
                if not connection.poll(_ANSWER_SECONDS):
                    raise BrokerUnavailable(url="memory://", detail=f"{self._home} did not answer in time")
                answer = msgspec.json.decode(connection.recv_bytes(), type=Answer)
        except (OSError, EOFError) as error:
            raise NothingRuns(home=self._home) from error
        if answer.error is not None:
            raise HeadwayError(answer.error)
        return answer


@contextlib.contextmanager
def open_door(home: Path, post: Post) -> Iterator[None]:
    """Serve commands until the context ends, by `post`. The home must be held: a door that is there is a dead one's."""
    (home / DOOR).unlink(missing_ok=True)
    closing = threading.Event()
    with _address(home) as address, ThreadPoolExecutor(_VISITORS_MAX) as visitors:
        mask = os.umask(0o177)
        try:
            listener = Listener(address, family="AF_UNIX")
        finally:
            os.umask(mask)
        porter = threading.Thread(target=_receive, args=(listener, post, visitors.submit, closing), name="headway-door")
        porter.start()
        try:
            yield
        finally:
            closing.set()
            with contextlib.suppress(OSError), Client(address, family="AF_UNIX"):
                pass  # wakes the porter
            porter.join()
            (home / DOOR).unlink(missing_ok=True)


def _receive(listener: Listener, post: Post, submit: Callable[..., object], closing: threading.Event) -> None:
    with listener:
        while True:
            try:
                visitor = listener.accept()
            except OSError as error:  # too many open files, say: others end, and then it works again
                log.warning("a command could not be let in: %s", error)
                closing.wait(_REQUEST_SECONDS)
                continue
            if closing.is_set():
                visitor.close()
                return
            submit(_serve, visitor, post)


def _serve(visitor: "Connection[bytes, bytes]", post: Post) -> None:
    with contextlib.suppress(OSError, EOFError), visitor:  # who went away needs no answer
        if visitor.poll(_REQUEST_SECONDS):  # who says nothing must not keep others out, nor us from the end
            data = visitor.recv_bytes(_REQUEST_BYTES_MAX)
            visitor.send_bytes(msgspec.json.encode(_answer(data, post)))


def _answer(data: bytes, post: Post) -> Answer:
    try:
        request = msgspec.json.decode(data, type=Request)
        if request.event is None:
            return Answer(depths=tuple(post.measure(request.measure)))
        event = decode_event(request.event.encode())
        if not isinstance(event, Trigger | Cancel | DagVersion):
            return Answer(error="Only operators' events are taken at this door.")
        return Answer(message_id=post.send(event))
    except (HeadwayError, msgspec.MsgspecError) as error:
        return Answer(error=str(error))


@contextlib.contextmanager
def _address(home: Path) -> Iterator[str]:
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{DOOR}"
    finally:
        os.close(folder)
