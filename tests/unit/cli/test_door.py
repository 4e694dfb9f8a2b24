"""The door of an embedded Headway: who comes in, for how long, and what is said to them."""

import logging
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from headway.broker.port import QueueDepth
from headway.cli import door
from headway.cli.door import DoorPost, open_door
from headway.cli.operating import OperatorEvent
from headway.protocol.errors import BrokerUnavailable, HeadwayError, NoAnswer, NothingRuns, UnknownDag
from headway.protocol.messages import Cancel
from headway.protocol.names import DagId, RunId

SECONDS_MAX = 10
EVENT = Cancel(dag_id=DagId("d"), run_id=RunId("r"))


class Desk:
    """Where what comes in ends up; `error` is what is said of it."""

    def __init__(self, error: HeadwayError | None = None) -> None:
        self.sent: list[OperatorEvent] = []
        self._error = error

    def send(self, event: OperatorEvent) -> str:
        """Note an event."""
        if self._error is not None:
            raise self._error
        self.sent.append(event)
        return "m1"

    def measure(self, queues: Sequence[str]) -> list[QueueDepth]:
        """Say that each is empty."""
        return [QueueDepth(queue, ready=0, consumers=1) for queue in queues]


@contextmanager
def silent(home: Path, said: bytes = b"") -> Iterator[socket.socket]:
    """Be a visitor who has said this, and no more."""
    with door._address(home) as address, socket.socket(socket.AF_UNIX) as visitor:  # noqa: SLF001 - it may be long
        visitor.connect(address)
        visitor.sendall(said)
        yield visitor


def within(seconds: float, act: Callable[[], object]) -> bool:
    """Do something on another thread, and say whether it ended in time."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def test_what_a_command_wants_is_done(tmp_path: Path) -> None:
    """An event is handed on, and depths are told."""
    desk = Desk()
    with open_door(tmp_path, desk):
        assert DoorPost(tmp_path).send(EVENT) == "m1"
        assert DoorPost(tmp_path).measure(["a", "b"]) == desk.measure(["a", "b"])
    assert desk.sent == [EVENT]


@pytest.mark.parametrize("error", [UnknownDag(dag_id="d"), BrokerUnavailable(url="memory://", detail="over")])
def test_an_error_is_the_same_on_both_sides(tmp_path: Path, error: HeadwayError) -> None:
    """Its kind says whose fault it was, and so what the command ends with."""
    with open_door(tmp_path, Desk(error)), pytest.raises(HeadwayError) as raised:
        DoorPost(tmp_path).send(EVENT)
    assert (type(raised.value), str(raised.value)) == (type(error), str(error))


def test_where_nobody_is_that_is_said(tmp_path: Path) -> None:
    """Also after there was somebody."""
    with open_door(tmp_path, Desk()):
        pass
    with pytest.raises(NothingRuns):
        DoorPost(tmp_path).send(EVENT)


def test_who_says_nothing_keeps_nobody_from_leaving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does who stops in the middle."""
    monkeypatch.setattr(door, "_SILENCE_SECONDS", 3600.0)
    with ExitStack() as visitors:
        opened = open_door(tmp_path, Desk())
        opened.__enter__()
        visitors.enter_context(silent(tmp_path))
        visitors.enter_context(silent(tmp_path, b'{"until":'))
        DoorPost(tmp_path).measure(["a"])  # they were let in before
        assert within(SECONDS_MAX, lambda: opened.__exit__(None, None, None))


def test_who_says_nothing_makes_room_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are."""
    monkeypatch.setattr(door, "_SILENCE_SECONDS", 0.1)
    with ExitStack() as visitors, open_door(tmp_path, Desk()):
        for _ in range(2 * door._VISITORS_MAX):  # noqa: SLF001 - its bound
            visitors.enter_context(silent(tmp_path))
        assert DoorPost(tmp_path).send(EVENT) == "m1"


def test_what_nobody_waits_for_any_more_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command said that it may be: it cannot know."""
    monkeypatch.setattr(door, "_ANSWER_SECONDS", 0.1)
    desk = Desk()
    with ExitStack() as visitors, open_door(tmp_path, desk):
        for _ in range(door._VISITORS_MAX):  # noqa: SLF001 - its bound
            visitors.enter_context(silent(tmp_path))
        with pytest.raises(NoAnswer, match="may still be done"):
            DoorPost(tmp_path).send(EVENT)
    assert desk.sent == []


def test_a_visitor_who_cannot_be_let_in_is_not_the_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One comes in as soon as there is room: here, for one more open file."""
    monkeypatch.setattr(door, "_PAUSE_SECONDS", 0.05)
    said = threading.Event()
    listener = logging.Handler()
    listener.emit = lambda _record: said.set()  # type: ignore[method-assign]
    door.log.addHandler(listener)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open_door(tmp_path, Desk()):
        DoorPost(tmp_path).measure(["a"])  # so nobody is about to open a file
        with socket.socket(socket.AF_UNIX) as visitor, door._address(tmp_path) as address:  # noqa: SLF001 - as above
            free = os.dup(0)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            try:
                visitor.connect(address)
                assert said.wait(SECONDS_MAX)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                door.log.removeHandler(listener)
        assert DoorPost(tmp_path).send(EVENT) == "m1"
    assert "a command could not be let in" in caplog.text
