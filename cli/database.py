"""The database, for commands: an engine whose schema is the one that this Headway works on."""

from headway.scheduler.store.engine import Engine, make_engine
from headway.scheduler.store.schema import check_schema

from .settings import Settings


def open_database(settings: Settings) -> Engine:
    """Return an engine; raise SchemaNotCurrent, DatabaseUnavailable, DatabaseRefused or WrongSettings."""
    engine = make_engine(settings.database_url)
    check_schema(engine)
    return engine
