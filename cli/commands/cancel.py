"""`headway cancel`: end a run, or one task of it."""

import click

from ..completing import complete_run
from ..helping import Command


@click.command(
    cls=Command,
    examples=("headway cancel sales-1", "headway cancel sales-1 load"),
    exits={0: "it is being cancelled", 1: "the scheduler ignored it, or none has answered yet"},
)
@click.argument("run_id", metavar="RUN", shell_complete=complete_run)
@click.argument("task_id", metavar="[TASK]", required=False)
def cancel(run_id: str, task_id: str | None) -> None:
    """End a run, or one task of it, without success.

    What is running is told to stop and ends when it has; all else ends at once. The command returns when a scheduler
    has taken it; `headway runs show RUN` shows what becomes of it.
    """
    from headway.protocol.messages import Cancel
    from headway.protocol.names import DagId, RunId, TaskId
    from headway.scheduler.store.reads import find_run, find_task

    from ..database import open_database
    from ..operating import operate
    from ..posting import post_of
    from ..settings import read_settings

    settings = read_settings()
    engine = open_database(settings)
    run = find_run(engine, run_id)
    if task_id is not None:
        find_task(engine, run_id, task_id)
    event = Cancel(dag_id=DagId(run.dag_id), run_id=RunId(run_id), task_id=None if task_id is None else TaskId(task_id))
    operate(engine, post_of(settings), event)
    click.echo(f"Run {run_id} is being cancelled." if task_id is None else f"Task {task_id} is being cancelled.")
