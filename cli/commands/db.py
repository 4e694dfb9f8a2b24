"""`headway db`: the schema."""

import click


@click.group()
def db() -> None:
    """Create or migrate the database's schema."""


@db.command()
def upgrade() -> None:
    """Create the schema, or migrate it to the one this Headway needs; harmless where it is current."""
    from headway.scheduler.store.engine import redact
    from headway.scheduler.store.schema import CURRENT, upgrade_schema

    from ..settings import read_settings

    settings = read_settings()
    upgrade_schema(settings.database_url)
    click.echo(f"The schema of {redact(settings.database_url)} is {CURRENT}.")
