"""The test servers themselves: what every other test with a real server relies on."""

import time

import pika
import psycopg
import pytest
from sqlalchemy import create_engine, text

from servers import PostgreSQL, RabbitMQ

QUEUE = "kept"
QUEUE_SETTLED_SECONDS = 2


def publish(url: str, body: bytes) -> None:
    """Publish a durable message to a quorum queue and wait for the broker's confirm."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        channel.basic_publish("", QUEUE, body, pika.BasicProperties(delivery_mode=2), mandatory=True)


def fetch(url: str) -> bytes | None:
    """Take one message from the queue."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        return connection.channel().basic_get(QUEUE, auto_ack=True)[2]


def test_a_published_message_can_be_fetched(fresh_vhost: str):
    """A fresh virtual host takes a message and gives it back."""
    publish(fresh_vhost, b"hello")
    assert fetch(fresh_vhost) == b"hello"


def test_a_fresh_vhost_is_empty(fresh_vhost: str, rabbitmq: RabbitMQ):
    """No queue of another test is seen."""
    assert rabbitmq.api("GET", f"/queues/{fresh_vhost.rsplit('/', 1)[1]}") == []


def test_a_confirmed_message_outlives_a_restart(fresh_vhost: str, rabbitmq: RabbitMQ):
    """What the broker confirmed is there after a restart in good order, on the same port."""
    publish(fresh_vhost, b"durable")
    rabbitmq.restart()
    assert fetch(fresh_vhost) == b"durable"


def test_a_confirmed_message_outlives_a_kill(fresh_vhost: str, rabbitmq: RabbitMQ):
    """What the broker confirmed is there after kill -9.

    RabbitMQ 3.10 loses a quorum queue that was declared in the half second before it is killed (its leader never comes
    back), so this one is used for longer than that first.
    """
    declared = time.monotonic()
    while time.monotonic() < declared + QUEUE_SETTLED_SECONDS:
        publish(fresh_vhost, b"durable")
    rabbitmq.kill()
    rabbitmq.start()
    assert fetch(fresh_vhost) == b"durable"


def test_a_frozen_node_is_silent_until_it_thaws(fresh_vhost: str, rabbitmq: RabbitMQ):
    """A frozen node gives no answer; a thawed one goes on as if nothing had been."""
    publish(fresh_vhost, b"cold")
    rabbitmq.freeze()
    assert not rabbitmq.answers()
    rabbitmq.thaw()
    assert fetch(fresh_vhost) == b"cold"


def test_rabbitmqctl_can_be_run(rabbitmq: RabbitMQ):
    """A test may ask the node what only rabbitmqctl tells."""
    assert "rabbit" in rabbitmq.ctl("status")


def test_a_fresh_database_answers(fresh_database: str):
    """SQLAlchemy reaches the new database by its URL."""
    engine = create_engine(fresh_database)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_postgresql_keeps_fsync(postgresql: PostgreSQL):
    """The server under test promises as much as one in production."""
    with postgresql.connect() as connection:
        settings = [connection.execute(f"SHOW {name}").fetchone() for name in ("fsync", "synchronous_commit")]
    assert settings == [("on",), ("on",)]


@pytest.mark.parametrize("end", ["restart", "kill"])
def test_a_committed_row_outlives_the_server(fresh_database: str, postgresql: PostgreSQL, end: str):
    """What was committed is there after a restart in good order and after kill -9, on the same port."""
    name = fresh_database.rsplit("/", 1)[1]
    with postgresql.connect(name) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    getattr(postgresql, end)()
    postgresql.start()
    with postgresql.connect(name) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


def test_a_frozen_server_is_silent_until_it_thaws(fresh_database: str, postgresql: PostgreSQL):
    """A session of a frozen server waits; a thawed one answers on the same session."""
    with postgresql.connect(fresh_database.rsplit("/", 1)[1]) as connection:
        postgresql.freeze()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(postgresql.url().replace("+psycopg", ""), connect_timeout=2)
        postgresql.thaw()
        assert connection.execute("SELECT 1").fetchone() == (1,)
