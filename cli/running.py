"""`headway run`: one DAG to its end, right here, with everything in this process and its home."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from headway.broker.connecting import MEMORY, transport_of
from headway.protocol.dag_events import DagVersion
from headway.protocol.errors import UserError
from headway.protocol.messages import Cancel, Trigger
from headway.protocol.names import DagId, QueueName
from headway.protocol.states import FINAL_RUN_STATES
from headway.scheduler.parser.process import parse_file
from headway.scheduler.parser.report import ParsedDag
from headway.scheduler.store.engine import Engine
from headway.scheduler.store.progress import Progress
from headway.scheduler.store.reads import RunDetail, RunSummary, show_run
from headway.scheduler.store.store import Store

from .composing import limits_of, make_logkeeper, make_scheduler, make_worker
from .home import hold_home
from .operating import BrokerPost, Post, operate
from .progress import follow
from .serving import END_SIGNALS, signals_handled
from .settings import Settings, own_database
from .system import System, open_embedded_database

LOOK_SECONDS: Final = 0.1
"""How often the run is looked at: a person sees no difference to sooner."""

DRAIN_SECONDS: Final = 1.0
"""How long the end may take before it is said what is waited for."""

INTERRUPTS_MAX: Final = 2
"""Signals to end after which nothing is waited for, not even that the cancelling is recorded."""

SHOW_CURSOR: Final = b"\x1b[?25h"

CANCELLED: Final = 130
"""The exit code of a command that Ctrl-C ended, as in every shell."""


def read_dag(file: Path, dag_id: str | None, settings: Settings) -> ParsedDag:
    """Return the DAG that a file holds, or that one of them which is meant; raise UserError with all faults."""
    limits = limits_of(settings)
    parsed = parse_file(file, timeout_seconds=limits.timeout_seconds, memory_bytes=limits.memory_bytes)
    if parsed.problems:
        raise UserError(detail="\n".join(f"{file}:{one.line}: {one.message}" for one in parsed.problems))
    found = {one.dag.dag_id: one for one in parsed.dags}
    names = ", ".join(found)
    if dag_id is None and len(found) > 1:
        raise UserError(detail=f"{file} holds several DAGs: say which one with --dag, of {names}.")
    if dag_id is not None and dag_id not in found:
        raise UserError(detail=f"{file} holds no DAG {dag_id!r}, but {names}.")
    return found[DagId(dag_id)] if dag_id is not None else parsed.dags[0]


class HereAndNow:
    """A scheduler, a worker and a broker in this process, for the time of one run. Needs the main thread."""

    def __init__(self, settings: Settings, *, slots: int | None, console: Console) -> None:
        """Start nothing yet; the run is shown on `console`."""
        own = {"broker_url": MEMORY, "database_url": own_database(settings.home), "dags": None}
        self._settings = msgspec.structs.replace(settings, **own)
        self._slots = slots
        self._console = console
        self._interrupts = 0
        self._is_cancelled = False
        self._woken = threading.Event()
        self._when_interrupted = self._woken.set

    def run(self, file: Path, parsed: ParsedDag, event: Trigger) -> RunDetail:
        """Run a DAG version until the run that `event` asks for has ended, and return that.

        Raises HomeTaken, and whatever a service fails of.
        """
        with hold_home(self._settings.home, doing="`headway run`"):
            engine = open_embedded_database(self._settings)
            Store(engine).add_dag_value(parsed.digest, parsed.body)
            version = DagVersion(
                dag_id=parsed.dag.dag_id, digest=parsed.digest, file=str(file), task_count=parsed.task_count
            )  # without its schedule: it is due here and now only
            with self._interruptible(), self._started(engine, file, parsed) as (system, post):
                post.send(version)
                operate(engine, post, event)
                self._follow(engine, system, post, event)
            return show_run(engine, event.run_id)

    @contextmanager
    def _started(self, engine: Engine, file: Path, parsed: ParsedDag) -> Iterator[tuple[System, Post]]:
        transport = transport_of(self._settings.broker_url)
        beside = msgspec.structs.replace(self._settings, dags=file.parent.absolute())  # where its packages are
        queues = dict.fromkeys((QueueName("default"), *(task.queue for task in parsed.dag.tasks)))
        system = System(
            worker=make_worker(beside, transport, queues=queues, slots=self._slots),
            logkeeper=make_logkeeper(self._settings, engine, transport),
            scheduler=make_scheduler(self._settings, engine, transport, schedules=False),
        )
        system.start()
        try:
            yield system, BrokerPost(transport)
        finally:
            system.stop()
            self._when_interrupted = system.stop
            if not system.ends_within(DRAIN_SECONDS):
                self._console.print(
                    "Tasks of earlier runs go on here and are waited for; Ctrl-C ends them.", soft_wrap=True
                )
            system.wait()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let signals that mean the end cancel the run, and end all at once when they come again."""

        def interrupt() -> None:
            self._interrupts += 1
            if self._is_cancelled or self._interrupts > INTERRUPTS_MAX:
                if self._console.is_terminal:  # past rich, which may be writing just now
                    os.write(self._console.file.fileno(), SHOW_CURSOR)
                os._exit(CANCELLED)  # children die with us; that the run is cancelled is recorded
            self._when_interrupted()

        with signals_handled(interrupt, *END_SIGNALS, signal.SIGHUP):
            yield

    def _follow(self, engine: Engine, system: System, post: Post, event: Trigger) -> None:
        def ended(run: RunSummary) -> bool:
            system.check()
            if self._interrupts and not self._is_cancelled:
                post.send(Cancel(dag_id=event.dag_id, run_id=event.run_id))
                self._is_cancelled = True
                self._console.print("Cancelling: what runs is told to stop. Ctrl-C again ends it at once.")
            return run.state in FINAL_RUN_STATES

        look = Progress(engine, event.run_id).look
        follow(look, ended, console=self._console, woken=self._woken, seconds=LOOK_SECONDS)
