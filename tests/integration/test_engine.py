"""What PostgreSQL says of itself is told apart: it is away and comes back, or it refuses us and somebody must act."""

import os
import select
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg
import pytest
from sqlalchemy import Connection, Engine, insert, make_url, text

from headway.protocol.errors import DatabaseFull, DatabaseRefused, DatabaseUnavailable
from headway.scheduler.store import tables as t
from headway.scheduler.store.engine import make_engine, translate, translated
from servers import PostgreSQL

SECONDS_MAX = 60.0


@pytest.fixture
def engine(migrated_postgresql: str) -> Iterator[Engine]:
    """Give an engine on PostgreSQL."""
    made = make_engine(migrated_postgresql)
    yield made
    made.dispose()


def test_a_server_with_no_connection_left_is_away(engine: Engine, postgresql: PostgreSQL):
    """It speaks of roles in that case too, and will have room again."""
    with closing(postgresql.connect()) as connection:
        connection.execute("CREATE ROLE crowded LOGIN PASSWORD 'secret' CONNECTION LIMIT 0")
        crowded = make_url(engine.url).set(username="crowded", password="secret").render_as_string(hide_password=False)
        with (
            pytest.raises(DatabaseUnavailable, match="too many connections for role"),
            translated(engine),
            make_engine(crowded).connect(),
        ):
            pass
        connection.execute("DROP ROLE crowded")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", DatabaseUnavailable),
        ("FATAL:  the database system is starting up", DatabaseUnavailable),
        ('FATAL:  role "joe" does not exist', DatabaseRefused),
        ('FATAL:  role "joe" is not permitted to log in', DatabaseRefused),
        ('FATAL:  database "joe" does not exist', DatabaseRefused),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1"', DatabaseRefused),
    ],
)
def test_a_login_that_fails_is_told_apart_by_its_words(said: str, error: type[Exception]):
    """The driver has nothing else there."""
    assert type(translate(psycopg.OperationalError(f"connection failed: {said}"), "url")) is error


@pytest.mark.parametrize(
    "said", [psycopg.errors.DiskFull("could not extend file"), sqlite3.OperationalError("database or disk is full")]
)
def test_a_full_disk_is_waited_for_in_its_own_words(said: Exception):
    """Nothing is wrong with the address, which the sentence for a database that is away would doubt."""
    assert str(translate(said, "url")).startswith("There is no space left for the database at url (")
    assert isinstance(translate(said, "url"), DatabaseFull)


def test_a_standby_is_away(engine: Engine):
    """After a failover the old address may lead to a server that takes no writes, for a while."""
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        write_after(engine, lambda connection: connection.execute(text("SET TRANSACTION READ ONLY")))


def test_a_transaction_that_idled_too_long_is_begun_again(engine: Engine):
    """We were frozen, and the server has ended it."""
    with pytest.raises(DatabaseUnavailable, match="idle-in-transaction"):
        write_after(engine, idle)


def write_after(engine: Engine, happens: Callable[[Connection], object]) -> None:
    """Write something in a transaction in which something happens before."""
    with translated(engine), engine.begin() as connection:
        happens(connection)
        connection.execute(insert(t.dag_values).values(digest="d", value="v"))


def idle(connection: Connection) -> None:
    """Do nothing for so long that the server hangs up."""
    connection.execute(text("SET idle_in_transaction_session_timeout = 10"))
    raw = connection.connection.driver_connection
    assert raw is not None
    assert select.select([raw.fileno()], [], [], SECONDS_MAX)[0]


def test_a_cut_network_is_noticed(engine: Engine):
    """The kernel asks a silent server whether it is there, and gives up on what nobody acknowledges."""
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        with socket.socket(fileno=os.dup(raw.fileno())) as line:
            found = [
                line.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
            ]
    assert found == [10, 5, 3, 20_000]
