"""`headway workers`: who works."""

from datetime import UTC, datetime

import click

from ..helping import Command
from ..printing import json_option, print_json, print_table, show_duration


@click.command(cls=Command, examples=("headway workers", "headway workers --all --json"))
@click.option("--all", "everything", is_flag=True, help="Every boot, also those that a later one has followed.")
@json_option
def workers(*, everything: bool, as_json: bool) -> None:
    """Show the workers and what the scheduler believes of them.

    A worker that was silent for longer than its lease is lost, and its tasks are given to others.
    """
    from headway.scheduler.store.reads import list_workers

    from ..database import open_database
    from ..settings import read_settings

    found = list_workers(open_database(read_settings()), everything=everything)
    if as_json:
        print_json(found)
        return
    now = datetime.now(UTC)
    rows = [
        (
            worker.worker,
            worker.state,
            worker.host,
            worker.queues,
            worker.slots,
            worker.running,
            f"{show_duration(max(0.0, (now - worker.last_heartbeat).total_seconds()))} ago",
            worker.boot,
        )
        for worker in found
    ]
    print_table(("WORKER", "STATE", "HOST", "QUEUES", "SLOTS", "RUNNING", "HEARD", "BOOT"), rows)
    if not rows:
        click.echo("No worker was ever heard: start one with `headway worker -q default`.", err=True)
