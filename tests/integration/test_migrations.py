"""The schema's history leads to exactly what `tables.py` says, on both databases."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, select, text

from headway.protocol.errors import DatabaseUnavailable, SchemaNotCurrent
from headway.protocol.limits import PARTITIONS
from headway.scheduler.store import tables as t
from headway.scheduler.store.engine import make_engine
from headway.scheduler.store.schema import CURRENT, MIGRATIONS, check_schema, upgrade_schema

COLUMNS = """
    SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
           pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum), c.reloptions
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
"""
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
"""
INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"


@pytest.fixture(params=["postgresql", "sqlite"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty database, of each kind in turn."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("fresh_database"))
    return f"sqlite:///{tmp_path}/headway.db"


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    """Give an engine for that database."""
    engine = make_engine(empty_url)
    yield engine
    engine.dispose()


def describe(connection: Connection) -> set[tuple[object, ...]]:
    """Say all that the database knows of its schema, Alembic's own table apart."""
    if connection.dialect.name == "sqlite":
        rows = [tuple(row) for row in connection.execute(text("SELECT tbl_name, name, sql FROM sqlite_master"))]
        return {(table, name, plain(sql)) for table, name, sql in rows if table != "alembic_version"}
    found = [tuple(map(str, row)) for ask in (COLUMNS, CONSTRAINTS, INDEXES) for row in connection.execute(text(ask))]
    return {row for row in found if row[0] != "alembic_version"}


def plain(sql: str | None) -> tuple[str, ...]:
    """Return the parts of a CREATE statement; SQLAlchemy writes a table's constraints in an order of its own."""
    return tuple(sorted(re.split(r",? *\n\t?", sql or "")))


def test_a_fresh_upgrade_gives_the_schema_of_the_tables(fresh_database: str):
    """Alembic sees no difference between the migrations' outcome and `tables.py`; of SQLite it reads no DESC."""
    upgrade_schema(fresh_database)
    engine = make_engine(fresh_database)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, t.metadata) == []
    engine.dispose()


def test_upgrading_and_creating_give_the_same(empty_url: str, engine: Engine):
    """Not even a CHECK, a comment, a default or an index's condition differs, which Alembic does not compare."""
    with engine.begin() as connection:
        t.metadata.create_all(connection)
        created = describe(connection)
        t.metadata.drop_all(connection)
    assert len(created) > len(t.metadata.tables)
    upgrade_schema(empty_url)
    with engine.connect() as connection:
        assert describe(connection) == created


def test_each_partition_has_its_row(empty_url: str, engine: Engine):
    """Sixteen partitions of DAGs and the one for workers begin at zero."""
    upgrade_schema(empty_url)
    with engine.connect() as connection:
        rows = connection.execute(select(t.partitions).order_by(t.partitions.c.partition))
        assert [tuple(row) for row in rows] == [(number, 0, 0) for number in range(PARTITIONS + 1)]


def test_upgrading_twice_is_harmless(empty_url: str, engine: Engine):
    """The second time nothing is left to do, and no row is made twice."""
    upgrade_schema(empty_url)
    upgrade_schema(empty_url)
    with engine.connect() as connection:
        assert len(connection.execute(select(t.partitions)).all()) == PARTITIONS + 1
    check_schema(engine)


def test_two_upgrades_at_once_do_not_collide(empty_url: str, engine: Engine):
    """The later one waits for the first and finds nothing to do."""
    faults: list[Exception] = []

    def upgrade() -> None:
        try:
            upgrade_schema(empty_url)
        except Exception as error:  # noqa: BLE001 - a thread's error would be lost
            faults.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    check_schema(engine)


def test_an_empty_database_is_not_current(engine: Engine):
    """Who only checks is told what to run, and leaves nothing behind."""
    with pytest.raises(SchemaNotCurrent, match=r"schema is missing, .* run `headway db upgrade`"):
        check_schema(engine)
    assert engine.dialect.name != "sqlite" or not Path(str(engine.url.database)).exists()


def test_a_newer_schema_is_left_alone(empty_url: str, engine: Engine):
    """Neither a check nor an upgrade of an older Headway goes on."""
    upgrade_schema(empty_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaNotCurrent, match="of a newer Headway"):
        check_schema(engine)
    with pytest.raises(SchemaNotCurrent, match="of a newer Headway"):
        upgrade_schema(empty_url)


def test_an_upgrade_makes_the_folder_of_its_file(tmp_path: Path):
    """An SQLite database may lie where no folder is yet."""
    upgrade_schema(f"sqlite:///{tmp_path}/some/where/headway.db")
    assert (tmp_path / "some/where/headway.db").exists()


def test_a_file_that_cannot_be_made_is_said(tmp_path: Path):
    """A folder that is a file gives one sentence of ours."""
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnavailable):
        upgrade_schema(f"sqlite:///{tmp_path}/file/headway.db")


def test_the_current_schema_is_the_last_migration():
    """`CURRENT` names the head, and there is one."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [CURRENT]
