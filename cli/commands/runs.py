"""`headway runs`: list runs, show one with its tasks."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ..completing import complete_dag, complete_run
from ..helping import Command, Group
from ..printing import between, json_option, plain, print_json, print_table, show_time

if TYPE_CHECKING:
    from headway.scheduler.store.reads import AttemptDetail, RunDetail, TaskDetail

LIMIT = 50
INSTANCES_MAX = 20
"""Instances of one mapped task that a person reads; of more, those in one of these states are shown first."""
TELLING = ("failed", "running", "up_for_retry", "cancelled", "queued")

STATES = ("queued", "running", "success", "failed", "cancelled")


@click.group(
    cls=Group,
    invoke_without_command=True,
    examples=("headway runs", "headway runs list --dag sales --state failed", "headway runs show sales-1"),
)
@json_option
@click.pass_context
def runs(context: click.Context, *, as_json: bool) -> None:
    """List runs, show one with its tasks.

    Without a command, the newest runs of all DAGs are listed.
    """
    if context.invoked_subcommand is None:
        _list(dag=None, state=None, backfill=None, limit=LIMIT, as_json=as_json)


@runs.command(
    name="list",
    cls=Command,
    examples=(
        "headway runs list",
        "headway runs list --dag sales --state failed --limit 5",
        "headway runs list --json",
    ),
)
@click.option("--dag", metavar="DAG", shell_complete=complete_dag, help="Only runs of this DAG.")
@click.option("--state", type=click.Choice(STATES), help="Only runs in this state.")
@click.option("--backfill", metavar="ID", help="Only runs of this backfill.")
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, help="At most so many.")
@json_option
def list_(*, dag: str | None, state: str | None, backfill: str | None, limit: int, as_json: bool) -> None:
    """List runs, the newest first.

    All of them, or those of one DAG, or in one state.
    """
    _list(dag=dag, state=state, backfill=backfill, limit=limit, as_json=as_json)


def _list(*, dag: str | None, state: str | None, backfill: str | None, limit: int, as_json: bool) -> None:
    from headway.scheduler.store.reads import find_dag, list_runs

    from ..database import open_database
    from ..settings import read_settings

    engine = open_database(read_settings())
    found = list_runs(engine, dag_id=dag, state=state, backfill_id=backfill, limit=limit)
    if dag is not None and not found:
        find_dag(engine, dag)  # a misspelt id is a mistake, not a DAG without runs
    if as_json:
        print_json(found)
        return
    now = datetime.now(UTC)
    took = [between(run.started_at, run.finished_at or now) for run in found]
    rows = [
        (
            run.run_id,
            run.dag_id,
            f"{run.state}, late" if run.late else run.state,
            run.logical_date,
            run.started_at,
            long,
        )
        for run, long in zip(found, took, strict=True)
    ]
    print_table(("RUN", "DAG", "STATE", "LOGICAL DATE", "STARTED", "TOOK"), rows)
    if not rows:
        click.echo("There is no such run.", err=True)


@runs.command(cls=Command, examples=("headway runs show sales-1", "headway runs show sales-1 --json"))
@click.argument("run_id", metavar="RUN", shell_complete=complete_run)
@json_option
def show(run_id: str, *, as_json: bool) -> None:
    """Show a run with its tasks.

    Each with its newest attempt; with --json, with all of them.
    """
    from headway.scheduler.store.reads import show_run

    from ..database import open_database
    from ..settings import read_settings

    run = show_run(open_database(read_settings()), run_id)
    if as_json:
        print_json(run)
    else:
        _print(run, datetime.now(UTC))


def _print(run: "RunDetail", now: datetime) -> None:
    click.echo(f"Run {run.run_id} of DAG {run.dag_id}, version {run.version}: {run.state}")
    took = between(run.started_at, run.finished_at or now)
    click.echo(f"Logical date {show_time(run.logical_date)}, started {show_time(run.started_at)}, took {took}")
    if run.data_interval_start != run.data_interval_end:
        click.echo(f"Data interval {show_time(run.data_interval_start)} to {show_time(run.data_interval_end)}")
    if run.deadline is not None:
        click.echo(f"Deadline {show_time(run.deadline)}{', missed' if run.late else ''}")
    if run.hold is not None:
        click.echo(f"It waits until fewer runs of the DAG go on ({run.hold}).")
    for name, value in run.params.items():
        click.echo(f"Parameter {name}: {plain(str(value))}")
    from headway.protocol.names import UNMAPPED

    tasks = [task for task in run.tasks if task.map_index == UNMAPPED]
    click.echo(f"{len(tasks)} tasks: {_count(tasks)}\n")
    instances: dict[str, list[TaskDetail]] = {}
    for task in run.tasks:
        if task.map_index != UNMAPPED:
            instances.setdefault(task.task_id, []).append(task)
    shown = [one for task in tasks for one in (task, *_choose(instances.get(task.task_id, [])))]
    header = ("TASK", "STATE", "REASON", "TRY", "WORKER", "QUEUE", "EXIT", "STARTED", "TOOK")
    print_table(header, [_row(task, now) for task in shown])
    for task_id, found in instances.items():
        if len(found) > INSTANCES_MAX:
            click.echo(f"{task_id}: {len(found)} instances: {_count(found)}; --json lists all.")


def _count(tasks: "list[TaskDetail]") -> str:
    counts: dict[str, int] = {}
    for task in tasks:
        counts[task.state] = counts.get(task.state, 0) + 1
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _choose(instances: "list[TaskDetail]") -> "list[TaskDetail]":
    """Return all instances of a mapped task or, of many, some that are most worth looking at."""
    if len(instances) <= INSTANCES_MAX:
        return instances
    told = [one for state in TELLING for one in instances if one.state == state]
    return sorted(told[:INSTANCES_MAX], key=lambda one: one.map_index)


def _row(task: "TaskDetail", now: datetime) -> tuple[object, ...]:
    from ..addressing import join_index

    name = join_index(task.task_id, task.map_index)
    if not task.attempts:
        return (name, task.state, task.reason, None, "", "", "", None, "")
    attempt = task.attempts[-1]
    took = between(attempt.started_at, attempt.finished_at or now)
    reason = task.reason or attempt.reason
    return (
        name,
        task.state,
        reason,
        attempt.try_number,
        attempt.worker,
        attempt.queue,
        _exit(attempt),
        attempt.started_at,
        took,
    )


def _exit(attempt: "AttemptDetail") -> str:
    return attempt.signal or ("" if attempt.exit_code is None else str(attempt.exit_code))
