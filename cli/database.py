"""The database, for commands: an engine whose schema is the one that this Headway works on."""

from headway.protocol.errors import NothingRuns, SchemaNotCurrent
from headway.scheduler.store.engine import Engine, make_engine
from headway.scheduler.store.schema import check_schema

from .settings import Settings


def open_database(settings: Settings) -> Engine:
    """Return an engine; raise SchemaNotCurrent, NothingRuns, DatabaseUnavailable, DatabaseRefused or WrongSettings."""
    engine = make_engine(settings.database_url)
    try:
        check_schema(engine)
    except SchemaNotCurrent as error:
        if settings.is_embedded and error.fields.get("found") == "missing":
            raise NothingRuns(home=settings.home) from error  # whoever runs there makes the database
        raise
    return engine
