"""`headway trigger`: start a run."""

import secrets
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from ..completing import complete_dag
from ..helping import Command

if TYPE_CHECKING:
    from headway.protocol.dag import Dag
    from headway.protocol.messages import Trigger
    from headway.protocol.params import Param, Params, Scalar
    from headway.scheduler.store.engine import Engine
    from headway.scheduler.store.reads import RunSummary

FIRST_LOOK_SECONDS: Final = 0.05
LAST_LOOK_SECONDS: Final = 1.0
"""With --wait, how often the run is looked at: soon for short ones, gently for long ones."""

date_option = click.option(
    "--date", metavar="D", help="Its logical date, like 2026-01-31 or 2026-01-31T06:00+01:00; without it, now."
)
params_option = click.option(
    "--param", "params", metavar="K=V", multiple=True, help="Set a parameter of the DAG; may be repeated."
)


@click.command(
    cls=Command,
    examples=(
        "headway trigger sales",
        "headway trigger sales --date 2026-01-31 --param region=EU",
        "headway trigger sales --run-id sales-1 --wait",
    ),
    exits={
        0: "the run has begun; with --wait, it has succeeded",
        1: "the scheduler ignored it, or none has answered yet; with --wait, it has not succeeded",
    },
)
@click.argument("dag_id", metavar="DAG", shell_complete=complete_dag)
@click.option("--run-id", metavar="R", help="Name of the run; without it, the DAG's id, the time and four digits.")
@date_option
@params_option
@click.option("--wait", is_flag=True, help="Wait for the run's end.")
def trigger(dag_id: str, *, run_id: str | None, date: str | None, params: tuple[str, ...], wait: bool) -> int:
    """Start a run of a DAG.

    Prints the run's id on the first line, and with --wait its final state on the second.
    """
    from headway.scheduler.store.reads import find_dag

    from ..database import open_database
    from ..operating import operate
    from ..posting import post_of
    from ..settings import read_settings

    settings = read_settings()
    engine = open_database(settings)
    event = make_trigger(find_dag(engine, dag_id)[1], run_id=run_id, date=date, params=params)
    operate(engine, post_of(settings), event)
    click.echo(event.run_id)
    if not wait:
        return 0
    sys.stdout.flush()
    run = wait_for_end(engine, event.run_id)
    click.echo(f"{run.state}")
    return int(run.state != "success")


def make_trigger(dag: "Dag", *, run_id: str | None = None, date: str | None, params: tuple[str, ...]) -> "Trigger":
    """Return the order to start a run, from what was typed; raise UserError or InvalidName."""
    from headway.protocol.messages import Trigger
    from headway.protocol.names import RunId, check_name

    now = datetime.now(UTC)
    return Trigger(
        dag_id=dag.dag_id,
        run_id=RunId(check_name("run id", run_id or new_run_id(dag.dag_id, now))),
        logical_date=parse_date(date) if date else now,
        params=parse_params(dag.dag_id, dag.params, params),
    )


def new_run_id(dag_id: str, now: datetime) -> str:
    """Return a name that sorts like time and that no other run has."""
    from headway.protocol.names import new_id

    return new_id(dag_id, "", now, secrets.token_hex(2))


def parse_date(text: str) -> datetime:
    """Return a date or time as an aware UTC time; without an offset it is UTC. Raises UserError."""
    from headway.protocol.errors import UserError

    try:
        date = datetime.fromisoformat(text)
    except ValueError as error:
        raise UserError(
            detail=f"{text!r} is not a date: write it like 2026-01-31 or 2026-01-31T06:00+01:00."
        ) from error
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)


def parse_params(dag_id: str, params: "Params", given: tuple[str, ...]) -> "dict[str, Scalar]":
    """Return what is given for a run as values of the parameters; raise UserError for what is none."""
    from headway.protocol.errors import UserError
    from headway.protocol.keywords import did_you_mean
    from headway.protocol.params import given_faults, param_of

    values: dict[str, Scalar] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(detail=f"{text!r} is no parameter: write --param NAME=VALUE.")
        if name not in params:
            known = f"; it has {', '.join(params)}" if params else ""
            near = did_you_mean(name, params)
            raise UserError(detail=f"DAG {dag_id!r} has no parameter {name!r}{near}{known}.")
        values[name] = _read_value(param_of(params[name]), value)
    for fault in given_faults(params, values):
        raise UserError(detail=f"{fault[0].upper()}{fault[1:]}.")
    return values


def _read_value(param: "Param", text: str) -> "Scalar":
    """Return text as JSON where that is a value of the parameter, and as it stands where it is not."""
    import msgspec

    from headway.protocol.params import Scalar, has_type

    if has_type(param, text) and param.type is not None:
        return text
    try:
        value: Scalar = msgspec.json.decode(text, type=Scalar)
    except msgspec.MsgspecError:
        return text
    return value if has_type(param, value) else text


def wait_for_end(engine: "Engine", run_id: str) -> "RunSummary":
    """Return a run once it has ended, however long that takes, and through an outage of the database."""
    from headway.protocol.errors import Unavailable
    from headway.protocol.states import FINAL_RUN_STATES
    from headway.scheduler.store.reads import find_run

    pause, said = FIRST_LOOK_SECONDS, False
    while True:
        try:
            run = find_run(engine, run_id)
        except Unavailable as error:
            if not said:
                click.echo(f"{error} The run goes on, and is waited for.", err=True)
            said = True
        else:
            if run.state in FINAL_RUN_STATES:
                return run
            said = False
        time.sleep(pause)
        pause = min(pause * 1.2, LAST_LOOK_SECONDS)
