"""The store on each database in turn."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from auditing import assert_audited
from brokers import Gate
from headway.scheduler.store import tables as t
from headway.scheduler.store.engine import make_engine
from headway.scheduler.store.schema import upgrade_schema
from servers import PostgreSQL, RabbitMQ
from stage import Stage


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql: PostgreSQL) -> Iterator[str]:
    """Give the URL of a database with a schema; migrating one for each test would take most of their time."""
    name = postgresql.create_database()
    upgrade_schema(postgresql.url(name))
    yield postgresql.url(name)
    postgresql.start()
    postgresql.drop_database(name, tampered=True)  # each test's rows were audited at its end


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a database file with a schema, to be copied."""
    file = tmp_path_factory.mktemp("sqlite") / "headway.db"
    upgrade_schema(f"sqlite:///{file}")
    return file


@pytest.fixture(params=["postgresql", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a database with a schema and nothing else, of each kind in turn."""
    if request.param == "sqlite":
        file = shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path)
        yield f"sqlite:///{file}"
        return
    url = str(request.getfixturevalue("migrated_postgresql"))
    empty(url)
    yield url
    if request.node.get_closest_marker("tampers") is None:
        assert_audited(url)


def empty(url: str) -> None:
    """Remove every row, and let the partitions count from zero again."""
    engine = make_engine(url)
    names = ", ".join(name for name in t.metadata.tables if name != "partitions")
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
        connection.execute(text("UPDATE partitions SET epoch = 0, seq = 0"))
    engine.dispose()


@pytest.fixture
def stage(database: str) -> Iterator[Stage]:
    """Give a decider on such a database."""
    stage = Stage(database)
    yield stage
    stage.engine.dispose()


@pytest.fixture
def gate(rabbitmq: RabbitMQ) -> Iterator[Gate]:
    """Give an open gate on the way to the broker."""
    gate = Gate(rabbitmq.host, rabbitmq.port)
    gate.open()
    yield gate
    gate.shut()
