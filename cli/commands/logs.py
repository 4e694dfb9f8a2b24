"""`headway logs`: what a task wrote."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..completing import complete_run
from ..helping import Command

if TYPE_CHECKING:
    from headway.scheduler.core.rows import Attempt
    from headway.scheduler.store.evidence import Evidence
    from headway.scheduler.store.logs import AttemptId

    from ..following import Output


@click.command(
    cls=Command,
    examples=("headway logs sales-1 load", "headway logs sales-1 load --try 1", "headway logs sales-1 load -f"),
)
@click.argument("run_id", metavar="RUN", shell_complete=complete_run)
@click.argument("task", metavar="TASK")
@click.option("--try", "try_number", type=click.IntRange(min=1), metavar="N", help="Which attempt; else the newest.")
@click.option("-f", "--follow", "is_followed", is_flag=True, help="Go on until the task, or that attempt, has ended.")
def logs(run_id: str, task: str, *, try_number: int | None, is_followed: bool) -> None:
    """Show what a task wrote.

    The whole output, stdout and stderr, is a file on the worker's machine, and is shown from there; on another one,
    what a logkeeper has stored is. Without a logkeeper it is the last lines, once the attempt has ended.
    """
    from headway.scheduler.store.evidence import collect_evidence
    from headway.scheduler.store.logs import AttemptId

    from ..addressing import split_index
    from ..database import open_database
    from ..following import Output, follow
    from ..settings import read_settings

    home, engine = (settings := read_settings()).home, open_database(settings)
    task_id, map_index = split_index(task)
    evidence = collect_evidence(engine, run_id, task_id, map_index)

    def output_of(attempt: AttemptId) -> Output:
        return Output(engine, attempt, None if evidence.spec.secrets else log_file(home, attempt))

    if is_followed:
        number = try_number or (evidence.attempt.try_number if evidence.attempt else 1)
        wanted = AttemptId(run_id=run_id, task_id=task_id, map_index=map_index, try_number=number)
        follow(engine, wanted, only=try_number is not None, output_of=output_of)
        return
    attempt = _choose(evidence, task, try_number)
    wanted = AttemptId(run_id=run_id, task_id=task_id, map_index=map_index, try_number=attempt.try_number)
    output = output_of(wanted)
    output.show()
    if not output.has_all(attempt.polls):
        _explain(evidence, attempt, log_file(home, wanted), output)


def log_file(home: Path, attempt: "AttemptId") -> Path:
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


def _explain(evidence: "Evidence", attempt: "Attempt", file: Path, output: "Output") -> None:
    """Say where the rest is, and show what else is known."""
    from headway.protocol.states import OPEN_ATTEMPT_STATES

    from ..following import show_tail

    number = attempt.try_number
    if attempt.worker is None:
        click.echo(f"Attempt {number} is {attempt.state}: no worker has started it, so it wrote nothing.", err=True)
        return
    if output.is_known and attempt.state in OPEN_ATTEMPT_STATES:
        return
    latest = evidence.holder if attempt == evidence.attempt else None
    host = attempt.host or (latest.host if latest is not None else None) or "of its worker"
    missing = "the end of its output is not stored" if output.is_known else "no output of it is stored"
    whole = "its whole output, with its secrets," if evidence.spec.secrets else "its whole output"
    click.echo(
        f"Attempt {number} was started by worker {attempt.worker}, and {missing}: {whole} is on host {host}, "
        f"in its HEADWAY_HOME at {file.parts[-3]}/{file.parts[-2]}/{file.name}.",
        err=True,
    )
    if attempt.tail and not output.is_known:
        show_tail(attempt.tail)
