"""The logkeeper between a real broker and a real database: what it stores, drops and removes, and outages of either."""

import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from brokers import Gate, Listener
from headway.broker.connecting import connect
from headway.broker.port import Confirmed, Outgoing
from headway.protocol.codec import encode
from headway.protocol.errors import BrokerRefused
from headway.protocol.log_chunk import LogChunk
from headway.protocol.topology import LOG_QUEUE, LOGS
from headway.scheduler import logkeeper as module
from headway.scheduler.logkeeper import Logkeeper
from headway.scheduler.store import tables as t
from headway.scheduler.store.logs import AttemptId, read_chunks
from processes import look
from servers import PostgreSQL, RabbitMQ
from stage import Stage, dag, task, tasks_in

KEEP = timedelta(days=1)
Start = Callable[..., Logkeeper]


class Mouth:
    """A worker that was handed task a of run r, and publishes its output; it looks what became of it."""

    def __init__(self, url: str, stage: Stage) -> None:
        self.stage = stage
        stage.online()
        self.token = tasks_in(stage.run(dag(task("a"))))["a"].token
        self._listener = Listener()
        self._broker = connect(url, name="worker", sink=self._listener)
        self._broker.declare(LOG_QUEUE)
        self._broker.open()
        self._listener.connected()
        self._ids = itertools.count(1)
        self.key = f"log.{self._broker.user}"

    def say(self, message: LogChunk | bytes, *, key: str | None = None) -> None:
        """Publish something, and wait until the broker has it."""
        body = message if isinstance(message, bytes) else encode(message)
        name = f"m{next(self._ids)}"
        outgoing = Outgoing(message_id=name, exchange=LOGS, routing_key=key or self.key, kind="log_chunk", body=body)
        self._broker.publish(outgoing)
        self._listener.wait_for(Confirmed, where=lambda signal: signal.message_id == name)

    def chunk(self, offset: int = 0, data: str = "x\n", **changed: Any) -> LogChunk:
        """Return a piece of the attempt's output."""
        fields = {"dag_id": "d", "run_id": "r", "task_id": "a", "try_number": 1, "token": self.token}
        return LogChunk(**fields | {"offset": offset, "size": len(data), "data": data} | changed)

    def wait_for_kept(self, *texts: str) -> None:
        """Wait until this and nothing else is stored of it."""
        look(self._kept, lambda found: found == list(texts))

    def close(self) -> None:
        """Go."""
        self._broker.close(timeout_seconds=5)

    def _kept(self) -> list[str]:
        attempt = AttemptId(run_id="r", task_id="a", map_index=-1, try_number=1)
        return [found.data for found in read_chunks(self.stage.engine, attempt, since=(1, 0))]


@pytest.fixture
def mouth(fresh_vhost: str, stage: Stage) -> Iterator[Mouth]:
    """Give a worker that publishes output."""
    mouth = Mouth(fresh_vhost, stage)
    yield mouth
    mouth.close()


@pytest.fixture
def start(fresh_vhost: str, stage: Stage) -> Iterator[Start]:
    """Give a function that starts a logkeeper in a thread; all end after the test."""
    running: list[tuple[Logkeeper, threading.Thread]] = []

    def start(url: str = fresh_vhost, *, keep: timedelta = KEEP) -> Logkeeper:
        keeper = Logkeeper(stage.engine, lambda sink: connect(url, name="logkeeper", sink=sink), keep=keep)
        running.append((keeper, threading.Thread(target=keeper.run)))
        running[-1][1].start()
        return keeper

    yield start
    for keeper, thread in running:
        keeper.stop()
        thread.join(timeout=20)
        assert not thread.is_alive()


def test_output_is_stored(mouth: Mouth, start: Start):
    """What waited for a logkeeper, and what comes later."""
    mouth.say(mouth.chunk())
    start()
    mouth.wait_for_kept("x\n")
    mouth.say(mouth.chunk(2, "y\n"))
    mouth.say(mouth.chunk(2, "y\n"))
    mouth.say(mouth.chunk(4, "z\n", eof=True))
    mouth.wait_for_kept("x\n", "y\n", "z\n")


@pytest.mark.parametrize(
    ("strange", "said"),
    [
        (b"{", "Not a message that this version understands"),
        (b'{"kind":"started"}', "Not a message that this version understands"),
        ({"run_id": "../etc"}, "run id '../etc' is not a legal name"),
        ({"task_id": ""}, "task id '' is not a legal name"),
        ({"offset": -1}, "Expected `int` >= 0"),
        ({"offset": 2**63}, "Expected `int` <= 4611686018427387904"),
        ({"try_number": 2**31}, "Expected `int` <= 2147483647"),
        ({"size": 50_000}, "Expected `int` <= 49152"),
        ({"data": "x" * 50_000, "size": 1}, "Expected `str` of length <= 49152"),
        ({"size": 0}, "it stands for nothing"),
        ({"token": "stolen"}, "no attempt of task a of run r, try 1 has the token that came with it"),
    ],
)
def test_what_is_strange_is_dropped_with_a_warning(mouth: Mouth, start: Start, caplog, strange, said):
    """And what comes with it is stored."""
    mouth.say(strange if isinstance(strange, bytes) else mouth.chunk(**strange))
    mouth.say(mouth.chunk(9))
    start()
    mouth.wait_for_kept("x\n")
    assert said in caplog.text


def test_output_under_anothers_key_is_dropped(mouth: Mouth, start: Start, caplog):
    """The broker's permissions hold the key to the user's name."""
    mouth.say(mouth.chunk(), key="log.somebody")
    mouth.say(mouth.chunk(9))
    start()
    mouth.wait_for_kept("x\n")
    assert "its routing key 'log.somebody' is not that of its user" in caplog.text


def test_old_output_is_removed(mouth: Mouth, start: Start, caplog, monkeypatch: pytest.MonkeyPatch):
    """Also while nothing arrives."""
    caplog.set_level("INFO")
    monkeypatch.setattr(module, "REMOVE_SECONDS", 0.0)
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.05)
    start()
    mouth.say(mouth.chunk())
    mouth.say(mouth.chunk(2, "y\n"))
    mouth.wait_for_kept("x\n", "y\n")
    with mouth.stage.engine.begin() as connection:
        old = update(t.log_chunks).where(t.log_chunks.c.offset == 0)
        connection.execute(old.values(stored_at=datetime.now(UTC) - KEEP - timedelta(seconds=1)))
    mouth.wait_for_kept("y\n")
    look(lambda: list(caplog.messages), lambda lines: "removed 1 pieces of output, older than 1 day, 0:00:00" in lines)


def test_a_cut_connection_loses_nothing(mouth: Mouth, start: Start, rabbitmq: RabbitMQ, fresh_vhost: str):
    """What was not acked comes again, and is stored once."""
    gate = Gate(rabbitmq.host, rabbitmq.port)
    gate.open()
    start(gate.url(fresh_vhost))
    for place in range(5):
        mouth.say(mouth.chunk(2 * place))
        gate.cut()
    mouth.wait_for_kept(*["x\n"] * 5)
    gate.shut()


def test_a_database_that_is_away_delays_output(mouth: Mouth, start: Start, postgresql: PostgreSQL, caplog):
    """It is stored when the database is back; a logkeeper that waits for it may be stopped."""
    if mouth.stage.engine.dialect.name != "postgresql":
        pytest.skip("a file is never away")
    keeper = start()
    mouth.say(mouth.chunk())
    mouth.wait_for_kept("x\n")
    postgresql.stop()
    mouth.say(mouth.chunk(2, "y\n"))
    look(lambda: list(caplog.messages), lambda lines: any("trying again" in line for line in lines))
    postgresql.start()
    mouth.wait_for_kept("x\n", "y\n")
    postgresql.stop()
    caplog.clear()
    mouth.say(mouth.chunk(4, "z\n"))
    look(lambda: list(caplog.messages), lambda lines: any("trying again" in line for line in lines))
    keeper.stop()
    look(lambda: list(caplog.messages), lambda lines: any("stopped while waiting" in line for line in lines))
    postgresql.start()


def test_a_refused_login_is_an_error(stage: Stage, rabbitmq: RabbitMQ):
    """Trying again would not mend it."""
    url = f"amqp://nobody:wrong@{rabbitmq.host}:{rabbitmq.port}/"
    keeper = Logkeeper(stage.engine, lambda sink: connect(url, name="logkeeper", sink=sink), keep=KEEP)
    with pytest.raises(BrokerRefused):
        keeper.run()
