"""Ids for a shell that completes a word: asked of the database, within a bound, and in silence.

Whoever presses TAB must neither wait nor read an error: what goes wrong here means that nothing is completed.
"""

import signal
from collections.abc import Callable, Iterable
from types import FrameType
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from headway.scheduler.store.engine import Engine

ANSWER_SECONDS: Final = 1.0
"""Longest wait: with imports a local database takes a third of it."""

RUNS_MAX: Final = 200
"""The newest runs are those that somebody asks for."""


def complete_dag(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of DAGs that begin so."""

    def ask(engine: "Engine") -> Iterable[str]:
        from headway.scheduler.store.reads import list_dags

        return (dag.dag_id for dag in list_dags(engine))

    return _ask(ask, incomplete)


def complete_run(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of the newest runs that begin so."""

    def ask(engine: "Engine") -> Iterable[str]:
        from headway.scheduler.store.reads import list_runs

        return (run.run_id for run in list_runs(engine, dag_id=None, state=None, limit=RUNS_MAX))

    return _ask(ask, incomplete)


def _ask(ask: "Callable[[Engine], Iterable[str]]", incomplete: str) -> list[str]:
    before = signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, ANSWER_SECONDS)
    try:
        from .database import open_database
        from .settings import read_settings

        return [name for name in ask(open_database(read_settings())) if name.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - a shell that completes a word has no place for it
        return []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _give_up(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError
