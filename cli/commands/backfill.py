"""`headway backfill`: run a DAG for the dates of its schedule in a time that is over."""

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ..completing import complete_dag
from ..helping import Command
from .trigger import params_option, parse_params

if TYPE_CHECKING:
    from headway.protocol.dag import Dag

DAY_LENGTH = len("2026-01-31")


@click.command(
    cls=Command,
    examples=(
        "headway backfill sales --from 2026-01-01 --to 2026-01-31",
        "headway backfill sales --from 2026-01-01 --to 2026-01-31 --max-active 2 --reverse --reprocess failed",
    ),
    exits={0: "the backfill has begun", 1: "the scheduler ignored it, or none has answered yet"},
)
@click.argument("dag_id", metavar="DAG", shell_complete=complete_dag)
@click.option("--from", "begin", metavar="D", required=True, help="The first day or time, in the DAG's time zone.")
@click.option("--to", "end", metavar="D", required=True, help="The last day, to its end, or time.")
@click.option("--max-active", type=click.IntRange(min=1), default=10, show_default=True, help="Runs at a time.")
@click.option("--reverse", is_flag=True, help="The last date first.")
@click.option(
    "--reprocess",
    type=click.Choice(("none", "failed", "completed")),
    default="none",
    show_default=True,
    help="Which dates that have a run are run again.",
)
@params_option
def backfill(  # noqa: PLR0913 - one for each option
    dag_id: str, *, begin: str, end: str, max_active: int, reverse: bool, reprocess: str, params: tuple[str, ...]
) -> None:
    """Run a DAG for the dates of its schedule in a time that is over.

    Prints the backfill's id on the first line: `headway runs list --backfill ID` lists its runs, `headway backfills`
    shows how far it is. A date that has a run already is left out unless --reprocess says otherwise.
    """
    import msgspec

    from headway.protocol.dag_events import Backfill
    from headway.scheduler.store.reads import find_dag

    from ..database import open_database
    from ..operating import operate
    from ..posting import post_of
    from ..settings import read_settings

    settings = read_settings()
    engine = open_database(settings)
    dag = find_dag(engine, dag_id)[1]
    said = {"dag_id": dag.dag_id, "max_active": max_active, "reverse": reverse, "reprocess": reprocess}
    times = {"begin": parse_day(begin, dag), "end": parse_day(end, dag, to_its_end=True)}
    named = {"backfill_id": _new_id(dag.dag_id), "params": parse_params(dag.dag_id, dag.params, params)}
    event = msgspec.convert({**said, **times, **named}, Backfill)
    operate(engine, post_of(settings), event)
    click.echo(event.backfill_id)


def parse_day(text: str, dag: "Dag", *, to_its_end: bool = False) -> datetime:
    """Return a time as aware UTC; a day is its beginning, or its end. Raises UserError."""
    from headway.protocol.errors import InvalidDag, UserError
    from headway.protocol.schedule import parse_instant

    is_day = len(text) == DAY_LENGTH
    try:
        return parse_instant(f"{text}T23:59:59.999999" if is_day and to_its_end else text, dag.timezone)
    except InvalidDag:
        raise UserError(detail=f"{text!r} is not a date: write it like 2026-01-31 or 2026-01-31T06:00+01:00.") from None


def _new_id(dag_id: str) -> str:
    from headway.protocol.names import new_id

    return new_id(dag_id, "backfill_", datetime.now(UTC), secrets.token_hex(2))
