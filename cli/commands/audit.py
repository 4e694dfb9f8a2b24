"""`headway audit`: whether the record gives the state."""

import click

from ..addressing import join_index
from ..completing import complete_run
from ..helping import Command
from ..printing import json_option, plain, print_json


@click.command(
    cls=Command,
    examples=("headway audit", "headway audit sales-1"),
    exits={0: "the record gives exactly the state", 1: "it does not"},
)
@click.argument("run_id", metavar="[RUN]", shell_complete=complete_run, required=False)
@json_option
def audit(run_id: str | None, *, as_json: bool) -> int:
    """Fold and decide the recorded events again, compare with the state.

    Of one run, or of all. Folding the recorded transitions must give the state, and deciding the recorded events anew
    the recorded transitions. Exits 1 on any difference.
    """
    from headway.protocol.names import RunId
    from headway.scheduler.audit import audit_runs

    from ..database import open_database
    from ..settings import read_settings

    found = list(audit_runs(open_database(read_settings()), None if run_id is None else RunId(run_id)))
    if as_json:
        print_json(found)
        return int(bool(found))
    for difference in found:
        task = f" {join_index(difference.task_id, None)}" if difference.task_id else ""
        click.echo(f"{difference.run_id}{task}: {plain(difference.detail)}")
    if not found:
        click.echo("The recorded events give exactly the state in the database.")
    return int(bool(found))
