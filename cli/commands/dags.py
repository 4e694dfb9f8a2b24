"""`headway dags`: list DAGs, show one, read the DAG files anew."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ..completing import complete_dag
from ..helping import Command, Group
from ..printing import json_option, plain, print_json, print_table, show_time

if TYPE_CHECKING:
    from headway.protocol.dag_events import DagVersion
    from headway.scheduler.dagfiles import Look
    from headway.scheduler.store.reads import DagSummary

    from ..settings import Settings

SYNC_SECONDS_PER_DAG = 0.1
"""What each changed DAG adds to the longest wait for the scheduler: a large one takes it some time to store."""


@click.group(
    cls=Group, invoke_without_command=True, examples=("headway dags", "headway dags show sales", "headway dags sync")
)
@json_option
@click.pass_context
def dags(context: click.Context, *, as_json: bool) -> None:
    """List DAGs, show one, read the DAG files anew.

    Without a command, DAGs are listed: those that the scheduler knows, each with its newest version.
    """
    if context.invoked_subcommand is None:
        _list(as_json=as_json)


@dags.command(name="list", cls=Command, examples=("headway dags list", "headway dags list --json"))
@json_option
def list_(*, as_json: bool) -> None:
    """List every DAG that the scheduler knows.

    Each with its newest version, and the file that this came from.
    """
    _list(as_json=as_json)


def _list(*, as_json: bool) -> None:
    from headway.scheduler.store.reads import list_dags

    from ..database import open_database
    from ..settings import read_settings

    found = list_dags(open_database(read_settings()))
    if as_json:
        print_json(found)
        return
    rows = [
        (dag.dag_id, dag.version, dag.task_count, dag.schedule, _next(dag), dag.active_runs, dag.file) for dag in found
    ]
    print_table(("DAG", "VERSION", "TASKS", "SCHEDULE", "NEXT RUN", "ACTIVE", "FILE"), rows)
    if not rows:
        click.echo("No DAG is known: put DAG files into HEADWAY_DAGS and run `headway dags sync`.", err=True)


def _next(dag: "DagSummary") -> str | datetime | None:
    """Return when a DAG is due next, or why it is not then."""
    if dag.paused:
        return "paused"
    if dag.next_date is not None and dag.active_runs >= dag.max_active_runs and dag.next_date <= datetime.now(UTC):
        return "when a run ends"
    return dag.next_date


@dags.command(cls=Command, examples=("headway dags show sales",))
@click.argument("dag_id", metavar="DAG", shell_complete=complete_dag)
@json_option
def show(dag_id: str, *, as_json: bool) -> None:
    """Show the newest version of a DAG.

    Its parameters with their defaults, and its tasks with their queues and what they wait for.
    """
    from headway.protocol.params import param_of, say_param
    from headway.scheduler.store.reads import find_dag

    from ..database import open_database
    from ..settings import read_settings

    summary, dag = find_dag(open_database(read_settings()), dag_id)
    if as_json:
        import msgspec

        print_json({**msgspec.structs.asdict(summary), **msgspec.structs.asdict(dag)})
        return
    click.echo(f"{dag.dag_id}, version {summary.version} of {show_time(summary.updated_at)}, from {summary.file}")
    for label, value in (("Description", dag.description), ("Owner", dag.owner), ("Tags", ", ".join(dag.tags))):
        if value:
            click.echo(f"{label}: {plain(value)}")
    if summary.schedule is not None or summary.paused:
        when = _next(summary)
        shown = when if isinstance(when, str) else show_time(when) if when is not None else "never again"
        click.echo(f"Schedule: {plain(summary.schedule or '')} in {plain(dag.timezone)}, next run: {shown}")
    waiting = f", {summary.waiting_runs} wait" if summary.waiting_runs else ""
    click.echo(f"Runs: {summary.active_runs} of at most {summary.max_active_runs} go on{waiting}")
    for name, said in dag.params.items():
        click.echo(f"Parameter {name}: {plain(say_param(param_of(said), name))}")
    print_table(("TASK", "QUEUE", "WAITS FOR"), [(task.task_id, task.queue, task.upstream) for task in dag.tasks])


@dags.command(
    cls=Command,
    examples=("HEADWAY_DAGS=dags headway dags sync",),
    exits={
        0: "every file is without fault, and its DAGs are known",
        1: "a file has a fault, or no scheduler has answered yet",
    },
)
@json_option
def sync(*, as_json: bool) -> int:
    """Read the DAG files in HEADWAY_DAGS now, and wait until the scheduler knows their versions.

    A scheduler with HEADWAY_DAGS does so by itself every now and then. Each fault is one line, `file:line: message`;
    DAGs without fault are taken all the same.
    """
    from headway.protocol.errors import WrongSettings

    from ..secrecy import hide_environment
    from ..settings import read_settings

    hide_environment()
    settings = read_settings()
    if settings.dags is None:
        raise WrongSettings(name="HEADWAY_DAGS", value="", detail="set it to the folder of your DAG files")
    look = _sync(settings)
    if as_json:
        print_json(look)
    else:
        for problem in look.problems:
            click.echo(plain(str(problem)))
        click.echo(f"{len(look.found)} DAGs without fault, {len(look.changed)} of them new or changed.")
    return int(bool(look.problems))


def _sync(settings: "Settings") -> "Look":
    from headway.protocol.errors import HeadwayError
    from headway.scheduler.dagfiles import DagFolder
    from headway.scheduler.store.reads import known_dags
    from headway.scheduler.store.store import Store

    from ..composing import limits_of
    from ..database import open_database
    from ..operating import VERDICT_SECONDS, send_all, wait_until
    from ..posting import post_of

    engine = open_database(settings)
    changed: list[DagVersion] = []
    folder = DagFolder(settings.dags or settings.home, limits=limits_of(settings))
    look = folder.look(Store(engine), known_dags(engine), changed.append)
    send_all(post_of(settings), changed)
    wanted = {version.dag_id: (version.digest, version.file) for version in changed}
    seconds = VERDICT_SECONDS + SYNC_SECONDS_PER_DAG * len(changed)
    if changed and not wait_until(lambda: wanted.items() <= known_dags(engine).items() or None, seconds=seconds):
        raise HeadwayError(
            f"{len(changed)} DAG versions were published, but no scheduler has answered within {seconds:g} s: they "
            "will be known when one runs (`headway scheduler`)."
        )
    return look
