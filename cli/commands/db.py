"""`headway db`: the schema."""

import click

from ..helping import Command, Group


@click.group(cls=Group, examples=("headway db upgrade",))
def db() -> None:
    """Create or migrate the database's schema.

    The database is the one that HEADWAY_DATABASE_URL names; without it, a SQLite file in HEADWAY_HOME.
    """


@db.command(
    cls=Command,
    examples=("headway db upgrade", "HEADWAY_DATABASE_URL=postgresql+psycopg:///headway headway db upgrade"),
)
def upgrade() -> None:
    """Create the schema, or migrate it to the one this Headway needs.

    Harmless where it is current.
    """
    from headway.scheduler.store.engine import redact
    from headway.scheduler.store.schema import CURRENT, upgrade_schema

    from ..settings import read_settings

    settings = read_settings()
    upgrade_schema(settings.database_url)
    click.echo(f"The schema of {redact(settings.database_url)} is {CURRENT}.")
