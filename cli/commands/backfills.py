"""`headway backfills`: how far the backfills are."""

from typing import TYPE_CHECKING

import click

from ..completing import complete_dag
from ..helping import Command
from ..printing import json_option, print_json, print_table

if TYPE_CHECKING:
    from headway.scheduler.store.backfills import BackfillLine

LIMIT = 50


@click.command(cls=Command, examples=("headway backfills", "headway backfills --dag sales --json"))
@click.option("--dag", metavar="DAG", shell_complete=complete_dag, help="Only those of this DAG.")
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, help="At most so many.")
@json_option
def backfills(*, dag: str | None, limit: int, as_json: bool) -> None:
    """Show how far the backfills are, the newest first.

    Of each: how many dates got a run, how many had one, how many runs go on and have failed, and which date is next.
    """
    from headway.scheduler.store.backfills import list_backfills

    from ..database import open_database
    from ..settings import read_settings

    found = list_backfills(open_database(read_settings()), dag_id=dag, limit=limit)
    if as_json:
        print_json(found)
        return
    header = ("BACKFILL", "FROM", "TO", "STATE", "MADE", "HAD ONE", "ACTIVE", "FAILED", "NEXT")
    print_table(header, [_row(one) for one in found])
    if not found:
        click.echo("There is no such backfill.", err=True)


def _row(one: "BackfillLine") -> tuple[object, ...]:
    state = "running" if one.finished_at is None else "done"
    counts = (one.made, one.skipped, one.active, one.failed)
    return (one.backfill_id, one.begin_date, one.end_date, state, *counts, one.next_date)
