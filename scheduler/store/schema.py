"""The schema of a database: brought up to date by `headway db upgrade`, and only checked by everybody else.

An upgrade is one transaction, on PostgreSQL and on SQLite alike, so one that is cut off leaves the old schema; a second
one at the same time waits for the first and then finds nothing to do.
"""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, inspect, text

from headway.protocol.errors import DatabaseUnavailable, SchemaNotCurrent

from . import tables as t
from .engine import LOCK_TIMEOUT_MS, WRITES, make_engine, translated

CURRENT: Final = "0004"
"""The schema that this version works on: the last file under migrations/versions."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"

_UPGRADE_LOCK: Final = 0x4845414457
"""PostgreSQL's number for the lock that upgrades take: `HEADW` in ASCII."""


def upgrade_schema(url: str) -> None:
    """Create or migrate the schema; harmless where it is current. Raises SchemaNotCurrent for a newer Headway's."""
    engine = make_engine(url)
    _make_folder(engine)
    try:
        with translated(engine), engine.execution_options(**{WRITES: True}).begin() as connection:
            _lock(connection)
            _refuse_newer(found_schema(connection))
            _run_migrations(connection)
    finally:
        engine.dispose()


def check_schema(engine: Engine) -> None:
    """Raise SchemaNotCurrent unless the schema is the one that this version works on."""
    file = _sqlite_file(engine)
    if file is not None and not file.exists():  # connecting would create it
        raise SchemaNotCurrent(found="missing", needed=CURRENT)
    with translated(engine), engine.connect() as connection:
        found = found_schema(connection)
    _refuse_newer(found)
    if found != CURRENT:
        raise SchemaNotCurrent(found=found, needed=CURRENT)


def found_schema(connection: Connection) -> str:
    """Return the number of a database's schema, or `missing`."""
    if not inspect(connection).has_table("alembic_version"):
        return "missing"
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return "missing" if found is None else str(found)


def _run_migrations(connection: Connection) -> None:
    # Alembic takes a third of a second to import, and a database is upgraded once a release.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection, "metadata": t.metadata})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, CURRENT)


def _refuse_newer(found: str) -> None:
    if found.isdecimal() and found > CURRENT:
        raise SchemaNotCurrent(
            f"The database's schema is {found}, of a newer Headway, and this one knows {CURRENT}: upgrade this Headway."
        )


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Waiting for another upgrade may take as long as that one does; waiting for a table in use may not.
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _UPGRADE_LOCK})
        connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))


def _sqlite_file(engine: Engine) -> Path | None:
    """Return the file of an SQLite database, or None for one in memory and for a server."""
    name = engine.url.database
    if engine.dialect.name != "sqlite" or name in {None, "", ":memory:"} or engine.url.query.get("uri"):
        return None
    return Path(str(name))


def _make_folder(engine: Engine) -> None:
    file = _sqlite_file(engine)
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseUnavailable(url=str(engine.url), detail=str(error)) from error
