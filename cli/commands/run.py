"""`headway run`: one DAG to its end, right here."""

from pathlib import Path
from typing import Any

import click

from ..helping import Command
from ..printing import json_option
from .services import slots_option
from .trigger import date_option, params_option


@click.command(
    cls=Command,
    examples=(
        "headway run sales.py",
        "headway run sales.py --date 2026-01-31 --param region=EU",
        "headway run sales.py --json",
    ),
    exits={
        0: "the run has succeeded",
        1: "it has not",
        2: "the file or the command has a fault",
        130: "a second Ctrl-C ended it at once",
    },
)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--dag", "dag_id", metavar="ID", help="Which DAG of the file; needed where it holds several.")
@date_option
@params_option
@slots_option
@json_option
def run(file: Path, *, dag_id: str | None, slots: int | None, as_json: bool, **typed: Any) -> int:  # noqa: ANN401 - date, params
    """Run a DAG to its end, right here.

    Needs no broker and no database, whatever HEADWAY_BROKER_URL and HEADWAY_DATABASE_URL say: everything is in this
    process and in HEADWAY_HOME. Ctrl-C cancels the run, a second one ends it at once.
    """
    import shlex

    from rich.console import Console

    from headway.protocol.names import UNMAPPED
    from headway.protocol.states import EndReason

    from ..addressing import join_index
    from ..printing import between, print_json
    from ..progress import count_states
    from ..running import HereAndNow, read_dag
    from ..secrecy import hide_environment
    from ..service_log import log_to_stderr
    from ..settings import own_database, read_settings
    from .trigger import make_trigger

    hide_environment()
    settings = read_settings()
    log_to_stderr("warning", with_time=False)
    parsed = read_dag(file, dag_id, settings)
    event = make_trigger(parsed.dag, **typed)
    console = Console(stderr=as_json, highlight=False, quiet=as_json and not Console(stderr=True).is_terminal)
    console.print(f"Run {event.run_id} of DAG {event.dag_id}, {parsed.task_count} tasks", soft_wrap=True)
    ended = HereAndNow(settings, slots=slots, console=console).run(file, parsed, event)
    if as_json:
        print_json(ended)
    took = between(ended.started_at, ended.finished_at)
    counts = count_states(task.state for task in ended.tasks if task.map_index == UNMAPPED)
    console.print(f"[bold]{ended.state}[/] in {took}: {counts}", soft_wrap=True)
    failed = [
        join_index(task.task_id, task.map_index)
        for task in ended.tasks
        if task.state == "failed" and task.reason != EndReason.INSTANCES
    ]
    if failed:
        more = f", and {len(failed) - 1} more tasks that failed" if len(failed) > 1 else ""
        database = own_database(settings.home)
        elsewhere = f"HEADWAY_DATABASE_URL={database} " if settings.database_url != database else ""
        console.print(f"Why it failed, and all that it wrote ({failed[0]}{more}):")
        for command in ("why", "logs"):
            name = shlex.quote(failed[0])
            console.print(f"  {elsewhere}headway {command} {ended.run_id} {name}", soft_wrap=True, markup=False)
    return int(ended.state != "success")
