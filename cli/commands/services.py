"""`headway scheduler` and `headway worker`: each builds the objects of one process and runs it until its end."""

import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ..helping import Command

if TYPE_CHECKING:
    from headway.broker.port import Broker, Sink
    from headway.protocol.messages import DagVersion
    from headway.protocol.names import QueueName
    from headway.scheduler.scanner import Scanner
    from headway.scheduler.store.engine import Engine

    from ..settings import Settings


@click.command(
    cls=Command,
    examples=("headway scheduler", "HEADWAY_DAGS=dags headway scheduler"),
    exits={0: "it was asked to end, and has ended in good order"},
)
def scheduler() -> None:
    """Decide: run a scheduler until SIGTERM.

    It needs the broker (HEADWAY_BROKER_URL) and the database (HEADWAY_DATABASE_URL), and reads the DAG files in
    HEADWAY_DAGS, if that is set. SIGTERM lets it finish what it has in hand.
    """
    from headway.broker.rabbitmq import connect
    from headway.scheduler.service import run_scheduler
    from headway.scheduler.store.store import Store

    from ..database import open_database

    settings = _start()
    engine = open_database(settings)
    store = Store(engine, settings.limits)
    brokers: list[Broker] = []

    def connect_scheduler(sink: "Sink") -> "Broker":
        brokers.append(connect(settings.broker_url, name="headway scheduler", sink=sink))
        return brokers[0]

    run_scheduler(store, connect_scheduler, _scanner(settings, engine, brokers))


def _scanner(settings: "Settings", engine: "Engine", brokers: "list[Broker]") -> "Scanner | None":
    """Return what looks for changed DAG files; it publishes through the scheduler's own broker, made by then."""
    from headway.scheduler.dagfiles import DagFolder
    from headway.scheduler.scanner import Scanner
    from headway.scheduler.store.reads import known_dags
    from headway.scheduler.store.store import Store

    from ..operating import operator_message
    from .dags import limits_of

    log = logging.getLogger(__name__)
    if settings.dags is None:
        log.info("HEADWAY_DAGS is not set, so no DAG files are read")
        return None
    folder = DagFolder(settings.dags, limits=limits_of(settings))
    values = Store(engine)  # one of its own: the scanner has a thread of its own
    told: set[str] = set()

    def publish(version: "DagVersion") -> None:
        log.info("DAG %s of %s is new or changed", version.dag_id, version.file)
        brokers[0].publish(operator_message(brokers[0].user, version))

    def scan() -> None:
        look = folder.look(values, known_dags(engine), publish)
        problems = {str(problem) for problem in look.problems}
        for problem in sorted(problems - told):
            log.warning("%s", problem)
        told.clear()
        told.update(problems)

    return Scanner(scan, seconds=settings.dags_scan)


@click.command(
    cls=Command,
    examples=("headway worker", "headway worker -q default,gpu --slots 4", "headway worker -q io --name io-1"),
    exits={0: "it was asked to end, and its tasks have ended"},
)
@click.option(
    "-q",
    "--queue",
    "queues",
    multiple=True,
    metavar="Q",
    help='Queue to serve; may be repeated, or "a,b".  [default: default]',
)
@click.option(
    "--slots",
    type=click.IntRange(min=1),
    metavar="N",
    help="Tasks at a time; without it, as many as there are processors.",
)
@click.option("--name", metavar="W", help="A name that is stable and unique; without it, the host's and a free number.")
def worker(queues: tuple[str, ...], *, slots: int | None, name: str | None) -> None:
    """Work: run a worker until SIGTERM drains it.

    It needs the broker (HEADWAY_BROKER_URL) and nothing else. The first SIGTERM lets its tasks end, the second ends
    them.
    """
    from headway.broker.rabbitmq import connect
    from headway.protocol.errors import UserError
    from headway.protocol.limits import SLOTS_MAX
    from headway.protocol.names import WorkerName, check_name
    from headway.worker.service import run_worker
    from headway.worker.settings import WorkerSettings

    settings = _start()
    if slots is not None and slots > SLOTS_MAX:
        raise UserError(detail=f"{slots} slots are too many: a worker may have {SLOTS_MAX}; start several.")
    wanted = WorkerName(check_name("worker name", name)) if name is not None else None
    run_worker(
        WorkerSettings(
            home=settings.home,
            queues=tuple(_queue_names(queues)),
            slots=slots or os.cpu_count() or 1,
            name=wanted,
            inherited=settings.inherited,
            lease_seconds=settings.worker_lease,
            heartbeat_seconds=settings.worker_heartbeat,
            drain_seconds=settings.worker_drain,
            limits=settings.limits,
        ),
        lambda sink: connect(settings.broker_url, name=f"headway worker {name or ''}".rstrip(), sink=sink),
    )


def _queue_names(given: tuple[str, ...]) -> "Iterator[QueueName]":
    """Yield each queue once, in the order given."""
    from headway.protocol.names import QueueName, check_name

    names = [name.strip() for text in given or ("default",) for name in text.split(",")]
    return (QueueName(check_name("queue", name)) for name in dict.fromkeys(names))


def _start() -> "Settings":
    """Read the settings and let the service's remarks go to stderr."""
    from ..service_log import log_to_stderr
    from ..settings import read_settings, runs_under_systemd

    settings = read_settings()
    log_to_stderr(settings.log_level, with_time=not runs_under_systemd())
    for remark in settings.remarks:
        logging.getLogger(__name__).warning("%s", remark)
    return settings
