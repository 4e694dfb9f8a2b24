"""The servers as fixtures. What is asked for is started once per test run and ended with it.

`broker_url` and `database_url` are for tests that only use a server; `fresh_vhost` and `fresh_database` for those that
want it empty; `rabbitmq` and `postgresql` for those that stop, kill or freeze it. What a test leaves in a database is
audited (auditing.py): on PostgreSQL before the database is dropped, on SQLite for each `headway.db` in `tmp_path`.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest

from auditing import assert_audited
from servers import PostgreSQL, RabbitMQ, Unavailable, start_postgresql, start_rabbitmq

AnyServer = TypeVar("AnyServer", RabbitMQ, PostgreSQL)
origins: pytest.StashKey[list[str]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Let a terminated test run close its servers as an interrupted one does."""
    config.stash[origins] = []
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which servers were used and why these."""
    for origin in config.stash[origins]:
        terminalreporter.write_line(origin)


def opened(start: Callable[[], AnyServer], config: pytest.Config) -> AnyServer:
    """Start a server; without one, skip on a laptop and fail in CI, where nobody reads what was skipped."""
    try:
        server = start()
    except Unavailable as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    config.stash[origins].append(f"{type(server).__name__}: {server.origin}")
    return server


@pytest.fixture(scope="session")
def rabbitmq(pytestconfig: pytest.Config) -> Iterator[RabbitMQ]:
    """Give the RabbitMQ node of this test run."""
    with closing(opened(start_rabbitmq, pytestconfig)) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql(pytestconfig: pytest.Config) -> Iterator[PostgreSQL]:
    """Give the PostgreSQL server of this test run."""
    with closing(opened(start_postgresql, pytestconfig)) as server:
        server.before_drop = assert_audited
        yield server


@pytest.fixture(scope="session")
def broker_url(rabbitmq: RabbitMQ) -> str:
    """Give the AMQP URL of the default virtual host."""
    return rabbitmq.url()


@pytest.fixture(scope="session")
def database_url(postgresql: PostgreSQL) -> str:
    """Give the SQLAlchemy URL of the maintenance database."""
    return postgresql.url()


@pytest.fixture
def fresh_vhost(rabbitmq: RabbitMQ) -> Iterator[str]:
    """Give the AMQP URL of a virtual host that is new and goes after the test."""
    rabbitmq.start()  # a test before this one may have left it stopped or frozen
    name = rabbitmq.create_vhost()
    yield rabbitmq.url(name)
    rabbitmq.start()
    rabbitmq.delete_vhost(name)


@pytest.fixture
def fresh_database(request: pytest.FixtureRequest, postgresql: PostgreSQL) -> Iterator[str]:
    """Give the SQLAlchemy URL of a database that is new and goes after the test."""
    postgresql.start()  # a test before this one may have left it stopped or frozen
    name = postgresql.create_database()
    yield postgresql.url(name)
    postgresql.start()
    postgresql.drop_database(name, tampered=tampers(request))


@pytest.fixture(autouse=True)
def audited_files(request: pytest.FixtureRequest) -> Iterator[None]:
    """Audit the SQLite databases that a test leaves in its folder."""
    folder: Path | None = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder is not None and not tampers(request):
        for file in folder.rglob("headway.db"):
            assert_audited(f"sqlite:///{file}")


def tampers(request: pytest.FixtureRequest) -> bool:
    """Whether the test changes rows by itself, so that no record accounts for them."""
    return request.node.get_closest_marker("tampers") is not None
