"""Output on its way, on a real broker: what a worker publishes of logs, also when the broker fails."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from brokers import Gate, Listener
from headway.broker.connecting import connect
from headway.broker.port import Outcome
from headway.protocol.codec import decode_log_chunk
from headway.protocol.limits import LOG_CHUNK_BYTES_MAX
from headway.protocol.log_chunk import LogChunk
from headway.protocol.topology import LOG_QUEUE
from headway.worker import shipper as module
from headway.worker.masking import Mask
from headway.worker.shipper import LogShipper
from processes import look
from servers import RabbitMQ
from shopfloor import task

Start = Callable[[str], LogShipper]


class Keeper:
    """A logkeeper without a database."""

    def __init__(self, url: str) -> None:
        self._listener = Listener()
        self._broker = connect(url, name="keeper", sink=self._listener)
        self._broker.consume(LOG_QUEUE, prefetch=1000)
        self._broker.open()
        self._listener.connected()

    def chunks(self, count: int) -> list[LogChunk]:
        """Wait for so many pieces and return all, in the order of their coming."""
        deliveries = self._listener.deliveries(count)
        for delivery in deliveries:
            assert (delivery.kind, delivery.routing_key) == ("log_chunk", f"log.{delivery.user_id}")
            self._broker.settle(delivery, Outcome.ACK)
        return [decode_log_chunk(delivery.body) for delivery in deliveries]

    def whole(self, token: str = "t1") -> str:
        """Wait for the last piece of an attempt and return all it wrote; no piece is missing, and doubles are alike."""
        seen: dict[int, LogChunk] = {}
        count = 0
        while not any(chunk.eof for chunk in seen.values()):
            count += 1
            for chunk in self.chunks(count):
                if chunk.token == token:
                    assert seen.setdefault(chunk.offset, chunk) == chunk
        ordered = [seen[offset] for offset in sorted(seen)]
        assert [chunk.offset for chunk in ordered] == [sum(c.size for c in ordered[:n]) for n in range(len(ordered))]
        return "".join(chunk.data for chunk in ordered)

    def close(self) -> None:
        """Go."""
        self._broker.close(timeout_seconds=5)


@pytest.fixture
def keeper(fresh_vhost: str) -> Iterator[Keeper]:
    """Give somebody who takes output."""
    keeper = Keeper(fresh_vhost)
    yield keeper
    keeper.close()


@pytest.fixture
def start() -> Iterator[Start]:
    """Give a function that starts a shipper; all of them go after the test."""
    started: list[LogShipper] = []

    def start(url: str) -> LogShipper:
        shipper = LogShipper(lambda sink: connect(url, name="shipper", sink=sink))
        shipper.open()
        started.append(shipper)
        return shipper

    yield start
    for shipper in started:
        shipper.close(timeout_seconds=5)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Give a log, which is empty."""
    path = tmp_path / "log"
    path.touch()
    return path


def add(log: Path, text: str) -> None:
    """Write more."""
    with log.open("a") as output:
        output.write(text)


def test_output_comes_while_it_is_written(keeper: Keeper, start: Start, fresh_vhost: str, log: Path):
    """A piece for what was written between two looks, and the end with the last."""
    shipper = start(fresh_vhost)
    shipper.watch(task(), log, Mask())
    add(log, "one\n")
    assert [(c.offset, c.data, c.eof) for c in keeper.chunks(1)] == [(0, "one\n", False)]
    add(log, "two\n")
    assert [(c.offset, c.data, c.eof) for c in keeper.chunks(2)][1:] == [(4, "two\n", False)]
    add(log, "three")
    shipper.end("t1", wrote=True)
    assert keeper.whole() == "one\ntwo\nthree"


def test_of_an_empty_log_nothing_is_said(keeper: Keeper, start: Start, fresh_vhost: str, log: Path, tmp_path: Path):
    """The first piece that comes is another's."""
    shipper = start(fresh_vhost)
    shipper.watch(task("t1"), tmp_path / "none", Mask())
    shipper.end("t1", wrote=False)
    add(log, "x")
    shipper.watch(task("t2"), log, Mask())
    shipper.end("t2", wrote=True)
    assert [chunk.token for chunk in keeper.chunks(1)] == ["t2"]


def test_a_flood_comes_in_order_and_whole(keeper: Keeper, start: Start, fresh_vhost: str, log: Path):
    """Each piece follows when the one before is confirmed, without a wait."""
    text = os.urandom(10 * LOG_CHUNK_BYTES_MAX).hex()
    add(log, text)
    shipper = start(fresh_vhost)
    shipper.watch(task(), log, Mask())
    shipper.end("t1", wrote=True)
    assert keeper.whole() == text


def test_the_end_of_a_worker_waits_for_output(keeper: Keeper, start: Start, fresh_vhost: str, log: Path):
    """That of children which died with their spawner too: nobody has said that they ended."""
    shipper = start(fresh_vhost)
    shipper.watch(task(), log, Mask())
    add(log, "one\n")
    keeper.chunks(1)
    add(log, "two")
    shipper.close(timeout_seconds=20)
    assert keeper.whole() == "one\ntwo"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a piece that was not taken come again soon."""
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.1)


@pytest.mark.usefixtures("hasty")
def test_a_broker_that_is_away_delays_output(keeper: Keeper, start: Start, gate: Gate, fresh_vhost: str, log: Path):
    """What was not confirmed comes again as it was, and then the rest."""
    shipper = start(gate.url(fresh_vhost))
    shipper.watch(task(), log, Mask())
    for number in range(6):
        add(log, f"{number} {'x' * 100_000}\n")
        keeper.chunks(number + 1)
        gate.cut()
    shipper.end("t1", wrote=True)
    assert keeper.whole() == log.read_text()


@pytest.mark.usefixtures("hasty")
def test_without_a_logkeeper_output_waits_for_one(start: Start, fresh_vhost: str, log: Path, caplog):
    """There is no queue; one piece asks again and again, and when a logkeeper comes, all that is left goes out."""
    add(log, "one\n")
    shipper = start(fresh_vhost)
    for token in ("t1", "t2"):
        shipper.watch(task(token), log, Mask())
        shipper.end(token, wrote=True)
    wait_until_said(caplog, "no logkeeper was ever started")
    keeper = Keeper(fresh_vhost)
    assert (keeper.whole("t1"), keeper.whole("t2")) == ("one\n", "one\n")
    assert caplog.text.count("no logkeeper was ever started") == 1
    keeper.close()


@pytest.mark.usefixtures("hasty")
def test_only_so_many_attempts_wait(start: Start, fresh_vhost: str, log: Path, monkeypatch: pytest.MonkeyPatch):
    """Of more, the oldest are given up; a worker that nobody takes output from does not wait for it at its end."""
    monkeypatch.setattr(module, "ENDED_MAX", 2)
    add(log, "x")
    shipper = start(fresh_vhost)
    for number in range(5):
        shipper.watch(task(f"t{number}"), log, Mask())
        shipper.end(f"t{number}", wrote=True)
    keeper = Keeper(fresh_vhost)
    assert (keeper.whole("t3"), keeper.whole("t4")) == ("x", "x")
    assert {chunk.token for chunk in keeper.chunks(2)} <= {"t0", "t3", "t4"}
    keeper.close()


def test_who_may_not_publish_output_says_so_once(rabbitmq: RabbitMQ, start: Start, fresh_vhost: str, log: Path, caplog):
    """Permissions from before there was output, say: the reason stands in the log, and the tasks run."""
    keeper = Keeper(fresh_vhost)  # declares the exchange
    vhost = urlsplit(fresh_vhost).path.removeprefix("/")
    rabbitmq.ctl("add_user", vhost, "secret")
    rabbitmq.ctl("set_permissions", "-p", vhost, vhost, "^$", r"^headway\.events$", "^$")
    add(log, "x")
    shipper = start(rabbitmq.url(vhost, user=vhost, password="secret"))
    shipper.watch(task(), log, Mask())
    shipper.end("t1", wrote=True)
    wait_until_said(caplog, "exchange 'headway.logs'")
    shipper.close(timeout_seconds=1)
    assert caplog.text.count("is not stored for now") == 1
    rabbitmq.api("DELETE", f"/users/{vhost}")
    keeper.close()


def test_what_goes_on_beyond_its_bound_may_end(keeper: Keeper, start: Start, fresh_vhost: str, log: Path, monkeypatch):
    """Its last piece was said while it ran."""
    monkeypatch.setattr("headway.worker.tailing.LOG_BYTES_MAX", 2)
    add(log, "123")
    shipper = start(fresh_vhost)
    shipper.watch(task(), log, Mask())
    assert keeper.whole().startswith("123\n[Only the first")
    shipper.end("t1", wrote=True)
    shipper.close(timeout_seconds=20)
    assert len(keeper.chunks(2)) == 2


def wait_until_said(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Wait for a remark in the log, by looking again."""
    look(lambda: list(caplog.messages), lambda lines: any(text in line for line in lines))
