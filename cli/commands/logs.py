"""`headway logs`: what a task wrote."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..completing import complete_run
from ..helping import Command
from ..printing import plain_lines

if TYPE_CHECKING:
    from headway.scheduler.core.rows import Attempt
    from headway.scheduler.store.evidence import Evidence


@click.command(cls=Command, examples=("headway logs sales-1 load", "headway logs sales-1 load --try 1"))
@click.argument("run_id", metavar="RUN", shell_complete=complete_run)
@click.argument("task", metavar="TASK")
@click.option("--try", "try_number", type=click.IntRange(min=1), metavar="N", help="Which attempt; else the newest.")
def logs(run_id: str, task: str, *, try_number: int | None) -> None:
    """Show what a task wrote.

    The whole output, stdout and stderr, is a file on the worker's machine; from another one, its last lines are shown.
    """
    from headway.scheduler.store.evidence import collect_evidence

    from ..addressing import split_index
    from ..database import open_database
    from ..settings import read_settings

    settings = read_settings()
    task_id, map_index = split_index(task)
    evidence = collect_evidence(open_database(settings), run_id, task_id, map_index)
    attempt = _choose(evidence, task, try_number)
    file = log_file(settings.home, attempt)
    if file.exists():
        _copy(file)
    else:
        _show_tail(evidence, attempt, file)


def log_file(home: Path, attempt: "Attempt") -> Path:
    """Return where a worker with this home keeps an attempt's output."""
    from headway.protocol.names import UNMAPPED

    index = "" if attempt.map_index == UNMAPPED else f".{attempt.map_index}"
    return home / "logs" / attempt.run_id / f"{attempt.task_id}{index}.{attempt.try_number}.log"


def _choose(evidence: "Evidence", task: str, try_number: int | None) -> "Attempt":
    from headway.protocol.errors import UserError

    if not evidence.attempts:
        state = evidence.task.state if evidence.task is not None else "waiting"
        raise UserError(detail=f"Task {task} is {state} and was never tried: `headway why` says what it waits for.")
    for attempt in evidence.attempts:
        if attempt.try_number == (try_number or evidence.attempts[-1].try_number):
            return attempt
    raise UserError(detail=f"Task {task} has {len(evidence.attempts)} attempts, and none of number {try_number}.")


def _copy(file: Path) -> None:
    sys.stdout.flush()
    with file.open("rb") as output:
        shutil.copyfileobj(output, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _show_tail(evidence: "Evidence", attempt: "Attempt", file: Path) -> None:
    number = attempt.try_number
    if attempt.worker is None:
        click.echo(f"Attempt {number} is {attempt.state}: no worker has started it, so it wrote nothing.", err=True)
        return
    latest = evidence.holder if attempt == evidence.attempt else None
    host = attempt.host or (latest.host if latest is not None else None) or "of its worker"
    whole = f"its whole output is on host {host}, here there is no {file}"
    click.echo(f"Attempt {number} was started by worker {attempt.worker}: {whole}.", err=True)
    if attempt.tail:
        click.echo("These are its last lines:", err=True)
        click.echo(plain_lines(attempt.tail), nl=not attempt.tail.endswith("\n"))
