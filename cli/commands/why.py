"""`headway why`: exactly why a task is in its state."""

from datetime import UTC, datetime

import click

from ..completing import complete_run
from ..helping import Command
from ..printing import json_option, print_json


@click.command(cls=Command, examples=("headway why sales-1 load", 'headway why sales-1 "part[3]" --json'))
@click.argument("run_id", metavar="RUN", shell_complete=complete_run)
@click.argument("task", metavar="TASK")
@json_option
def why(run_id: str, task: str, *, as_json: bool) -> None:
    """Say exactly why a task is in its state.

    What it waits for, who holds it, where it runs, how it ended. TASK[INDEX] names one instance of a mapped task.
    """
    import msgspec

    from headway.scheduler.store.evidence import collect_evidence

    from ..addressing import split_index
    from ..database import open_database
    from ..explain import explain
    from ..settings import read_settings

    task_id, map_index = split_index(task)
    settings = read_settings()
    evidence = collect_evidence(open_database(settings), run_id, task_id, map_index)
    queue = evidence.queue.limited(settings.limits)
    told = explain(msgspec.structs.replace(evidence, queue=queue), datetime.now(UTC))
    if as_json:
        print_json(
            {
                "run_id": run_id,
                "task_id": task_id,
                "map_index": map_index,
                "state": told.state,
                "reason": told.reason,
                "detail": " ".join(told.sentences),
                "last_lines": told.last_lines,
            }
        )
        return
    click.echo(f"Task {task} is {told.state}{f' ({told.reason})' if told.reason else ''}.")
    for sentence in told.sentences:
        click.echo(f"  {sentence}")
    if told.last_lines:
        click.echo("Its last lines:")
    for line in told.last_lines:
        click.echo(f"  | {line}")
