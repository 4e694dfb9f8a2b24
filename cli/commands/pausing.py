"""`headway pause` and `headway unpause`: let a DAG rest, and go on."""

from typing import TYPE_CHECKING

import click

from ..completing import complete_dag
from ..helping import Command

if TYPE_CHECKING:
    from headway.protocol.dag_events import Pause, Unpause

EXITS = {0: "it is done", 1: "the scheduler ignored it, or none has answered yet"}

dag_argument = click.argument("dag_id", metavar="DAG", shell_complete=complete_dag)


@click.command(cls=Command, examples=("headway pause sales",), exits=EXITS)
@dag_argument
def pause(dag_id: str) -> None:
    """Let a DAG rest.

    It is not due by its schedule any more until it is unpaused. What runs goes on, and an operator may trigger it.
    """
    from headway.protocol.dag_events import Pause

    _tell(Pause, dag_id)
    click.echo(f"DAG {dag_id} is paused.")


@click.command(cls=Command, examples=("headway unpause sales",), exits=EXITS)
@dag_argument
def unpause(dag_id: str) -> None:
    """Let a paused DAG go on.

    Of the dates that it missed the last one is run at once; with catchup all of them, one after another.
    """
    from headway.protocol.dag_events import Unpause

    _tell(Unpause, dag_id)
    click.echo(f"DAG {dag_id} goes on.")


def _tell(kind: "type[Pause | Unpause]", dag_id: str) -> None:
    from headway.scheduler.store.reads import find_dag

    from ..database import open_database
    from ..operating import operate
    from ..posting import post_of
    from ..settings import read_settings

    settings = read_settings()
    engine = open_database(settings)
    operate(engine, post_of(settings), kind(dag_id=find_dag(engine, dag_id)[1].dag_id))
