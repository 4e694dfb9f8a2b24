"""Engines for PostgreSQL and SQLite, and one table that translates the database's errors into ours."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import psycopg
import sqlalchemy
from sqlalchemy import Engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from headway.protocol.errors import (
    DatabaseCorrupt,
    DatabaseFull,
    DatabaseRefused,
    DatabaseUnavailable,
    HeadwayError,
    WrongSettings,
)

__all__ = ["WRITES", "Engine", "make_engine", "redact", "translate", "translated"]

CONNECT_TIMEOUT_SECONDS: Final = 5
"""A database that does not answer by then counts as away; the scheduler tries again, a command says so."""

LOCK_TIMEOUT_MS: Final = 10_000
"""Longest wait for a row's lock: a frozen former owner must not hold up its successor for ever."""

IDLE_TIMEOUT_MS: Final = 30_000
"""A transaction that idles longer is ended by the server: its owner was frozen, and may not go on."""

WRITES: Final = "headway_writes"
"""The execution option of a connection whose transactions write."""

KEEPALIVE: Final = {
    "keepalives_idle": 10,  # seconds of silence after which the server is asked whether it is there
    "keepalives_interval": 5,  # seconds between two questions
    "keepalives_count": 3,  # questions without an answer: 25 s in all, less than the server lets us idle
    "tcp_user_timeout": 20_000,  # milliseconds that what was sent may stand unacknowledged
}
"""For a network that is cut without a word: without them a thread would wait in recv() for hours."""

_REFUSED_STATES: Final = ("28", "3D000")
_AWAY_STATES: Final = ("08", "53", "57", "25006", "25P03", "25P04")
"""Classes and codes of SQLSTATE: connection, resources, shutdown; a standby that writes are sent to after a failover;
a transaction that idled or took too long because we were frozen."""

_REFUSALS: Final = re.compile(
    r"password authentication failed|no password supplied|pg_hba|permission denied"
    r'|(role|database) ".*" (does not exist|is not permitted to log in)'
)
"""The same by text: a connection that fails has no SQLSTATE (libpq keeps it). A full server speaks of roles too."""

_AWAY: Final = (psycopg.OperationalError, psycopg.InterfaceError, sqlite3.OperationalError, sqlite3.InterfaceError)
_PASSWORD: Final = re.compile(r":(?!//).*@")
"""What may be a password in a URL that cannot be read: up to the last @, whatever was forgotten to be quoted in it."""

_CORRUPT: Final = ("malformed", "not a database")
_FULL: Final = "database or disk is full"
_FULL_STATE: Final = "53100"
"""No space left, as SQLite and PostgreSQL say it."""


def make_engine(url: str, *, lock_timeout_ms: int = LOCK_TIMEOUT_MS) -> Engine:
    """Return an engine for a `postgresql+psycopg://` or `sqlite://` URL; raise WrongSettings for any other."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        hidden = _PASSWORD.sub(":***@", url)
        raise WrongSettings(name="HEADWAY_DATABASE_URL", value=hidden, detail="it is not an SQLAlchemy URL") from error
    match parsed.get_backend_name():
        case "postgresql":
            options = f"-c lock_timeout={lock_timeout_ms} -c idle_in_transaction_session_timeout={IDLE_TIMEOUT_MS}"
            return sqlalchemy.create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS, "options": options} | KEEPALIVE,
            )
        case "sqlite":
            engine = sqlalchemy.create_engine(parsed)
            event.listen(engine, "connect", partial(_prepare_sqlite, lock_timeout_ms))
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        case other:
            detail = f"{other} is not supported; use postgresql+psycopg:// or sqlite:///"
            raise WrongSettings(name="HEADWAY_DATABASE_URL", value=redact(url), detail=detail)


def redact(url: str) -> str:
    """Return a database URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Raise our own errors for the database's, whether they come through SQLAlchemy or from the driver itself."""
    try:
        yield
    except (DBAPIError, psycopg.Error) as error:
        original = error.orig if isinstance(error, DBAPIError) else error
        ours = translate(original or error, engine.url.render_as_string(hide_password=True))
        if ours is None:
            raise
        raise ours from error


def translate(error: BaseException, url: str) -> HeadwayError | None:
    """Return our error for a driver's, or None if it is a mistake of our own."""
    text = str(error).strip()
    detail = text.splitlines()[0] if text else type(error).__name__
    if any(mark in detail for mark in _CORRUPT):
        return DatabaseCorrupt(url=url, detail=detail)
    state = getattr(error, "sqlstate", None) or ""
    if state == _FULL_STATE or (isinstance(error, sqlite3.OperationalError) and _FULL in detail):
        return DatabaseFull(url=url, detail=detail)
    if state.startswith(_REFUSED_STATES) or (not state and isinstance(error, _AWAY) and _REFUSALS.search(text)):
        return DatabaseRefused(url=url, detail=detail)
    if state.startswith(_AWAY_STATES) or isinstance(error, _AWAY):
        return DatabaseUnavailable(url=url, detail=detail)
    return None


def _prepare_sqlite(lock_timeout_ms: int, connection: Any, _record: object) -> None:  # noqa: ANN401 - sqlite3's own
    connection.isolation_level = None
    for pragma in (f"busy_timeout={lock_timeout_ms}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sqlalchemy.Connection) -> None:
    # A transaction that will write takes the lock at once: upgrading it later could fail without waiting.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
