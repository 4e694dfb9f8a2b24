"""`headway cancel`: end a run, or one task of it."""

import click

from ..completing import complete_run
from ..helping import Command


@click.command(
    cls=Command,
    examples=("headway cancel sales-1", "headway cancel sales-1 load", 'headway cancel sales-1 "part[3]"'),
    exits={0: "it is being cancelled", 1: "the scheduler ignored it, or none has answered yet"},
)
@click.argument("run_id", metavar="RUN", shell_complete=complete_run)
@click.argument("task", metavar="[TASK]", required=False)
def cancel(run_id: str, task: str | None) -> None:
    """End a run, or one task of it, without success.

    What is running is told to stop and ends when it has; all else ends at once. The command returns when a scheduler
    has taken it; `headway runs show RUN` shows what becomes of it. TASK[INDEX] names one instance of a mapped task.
    """
    from headway.protocol.messages import Cancel
    from headway.protocol.names import UNMAPPED, DagId, RunId, TaskId
    from headway.scheduler.store.reads import find_run, find_task

    from ..addressing import split_index
    from ..database import open_database
    from ..operating import operate
    from ..posting import post_of
    from ..settings import read_settings

    settings = read_settings()
    engine = open_database(settings)
    run = find_run(engine, run_id)
    task_id, map_index = (None, UNMAPPED) if task is None else split_index(task)
    if task_id is not None:
        find_task(engine, run_id, task_id, map_index)
    which = None if task_id is None else TaskId(task_id)
    event = Cancel(dag_id=DagId(run.dag_id), run_id=RunId(run_id), task_id=which, map_index=map_index)
    operate(engine, post_of(settings), event)
    click.echo(f"Run {run_id} is being cancelled." if task is None else f"Task {task} is being cancelled.")
