"""`headway events`: the recorded events of a run."""

import click

from ..completing import complete_run
from ..helping import Command
from ..printing import json_option, print_json, print_table


@click.command(cls=Command, examples=("headway events sales-1", "headway events sales-1 --json"))
@click.argument("run_id", metavar="RUN", shell_complete=complete_run)
@json_option
def events(run_id: str, *, as_json: bool) -> None:
    """Show the recorded events of a run, with their verdicts.

    In the order in which they were decided: what arrived, from whom, whether it was applied, and if not, why.
    """
    from headway.scheduler.store.reads import list_events

    from ..addressing import join_index
    from ..database import open_database
    from ..settings import read_settings

    found = list_events(open_database(read_settings()), run_id)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            event.at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z",
            event.kind,
            join_index(event.task_id, event.map_index),
            event.try_number,
            f"{event.origin} {event.user}",
            event.verdict,
            event.reason,
        )
        for event in found
    ]
    print_table(("AT", "KIND", "TASK", "TRY", "FROM", "VERDICT", "REASON"), rows)
