"""`headway pools`: how full each pool is."""

import click
import msgspec

from ..helping import Command
from ..printing import json_option, print_json, print_table


@click.command(cls=Command, examples=("headway pools", "headway pools --json"))
@json_option
def pools(*, as_json: bool) -> None:
    """Show each pool: its slots, how many are taken, and how many tasks wait for one.

    SLOTS are those that the scheduler has read from its headway.toml when it started; a pool without any stands there
    no more.
    """
    from headway.scheduler.store.capacity import list_pools

    from ..database import open_database
    from ..settings import read_settings

    lines = [msgspec.structs.asdict(line) for line in list_pools(open_database(read_settings()))]
    if as_json:
        print_json(lines)
        return
    columns = ("pool", "slots", "used", "free", "waiting")
    print_table(
        ("POOL", "SLOTS", "USED", "FREE", "WAITING"), [tuple(line[column] for column in columns) for line in lines]
    )
    if not lines:
        click.echo("There is no pool: write [pools.NAME] with its slots into headway.toml.", err=True)
