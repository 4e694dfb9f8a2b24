"""The services as commands: each builds the objects of one process and runs it until its end."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ..helping import Command

if TYPE_CHECKING:
    from headway.broker.connecting import Transport
    from headway.protocol.names import QueueName

    from ..settings import Settings

queue_option = click.option(
    "-q",
    "--queue",
    "queues",
    multiple=True,
    metavar="Q",
    help='Queue to serve; may be repeated, or "a,b".  [default: default]',
)
slots_option = click.option(
    "--slots",
    type=click.IntRange(min=1),
    metavar="N",
    help="Tasks at a time; without it, as many as there are processors.",
)


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
    from ..composing import make_scheduler
    from ..database import open_database
    from ..serving import serve

    settings, transport = _start_alone()
    serve(make_scheduler(settings, open_database(settings), transport))


@click.command(
    cls=Command,
    examples=("headway worker", "headway worker -q default,gpu --slots 4", "headway worker -q io --name io-1"),
    exits={0: "it was asked to end, and its tasks have ended"},
)
@queue_option
@slots_option
@click.option("--name", metavar="W", help="A name that is stable and unique; without it, the host's and a free number.")
def worker(queues: tuple[str, ...], *, slots: int | None, name: str | None) -> None:
    """Work: run a worker until SIGTERM drains it.

    It needs the broker (HEADWAY_BROKER_URL) and nothing else. The first SIGTERM lets its tasks end, the second ends
    them.
    """
    from ..composing import make_worker
    from ..serving import serve

    settings, transport = _start_alone()
    serve(make_worker(settings, transport, queues=queue_names(queues), slots=slots, name=name))


@click.command(
    cls=Command,
    examples=("headway logkeeper", "HEADWAY_LOGS_KEEP=7d headway logkeeper"),
    exits={0: "it was asked to end, and has ended in good order"},
)
def logkeeper() -> None:
    """Keep what tasks write: run a logkeeper until SIGTERM.

    It needs the broker (HEADWAY_BROKER_URL) and the database (HEADWAY_DATABASE_URL), where it stores the output of
    tasks for HEADWAY_LOGS_KEEP. If several run, one works and the others stand by.
    """
    from ..composing import make_logkeeper
    from ..database import open_database
    from ..serving import serve

    settings, transport = _start_alone()
    serve(make_logkeeper(settings, open_database(settings), transport))


@click.command(
    cls=Command,
    examples=("headway standalone", "HEADWAY_DAGS=dags headway standalone --slots 4"),
    exits={0: "it was asked to end, and its tasks have ended"},
)
@queue_option
@slots_option
def standalone(queues: tuple[str, ...], *, slots: int | None) -> None:
    """Do everything in one process, until SIGTERM.

    Without HEADWAY_BROKER_URL the broker is in this process too, and the database is a file in HEADWAY_HOME: nothing
    else is needed. Commands in other shells with the same HEADWAY_HOME work with it. The first SIGTERM lets tasks end,
    the second ends them.
    """
    from contextlib import ExitStack

    from headway.broker.connecting import transport_of

    from ..composing import make_logkeeper, make_scheduler, make_worker
    from ..database import open_database
    from ..door import open_door
    from ..home import hold_home
    from ..operating import BrokerPost
    from ..serving import serve
    from ..system import System, open_embedded_database

    settings = start()
    transport = transport_of(settings.broker_url)
    with ExitStack() as stack:
        if settings.is_embedded:
            stack.enter_context(hold_home(settings.home, doing="`headway standalone`"))
            engine = open_embedded_database(settings)
            stack.enter_context(open_door(settings.home, BrokerPost(transport)))
        else:
            engine = open_database(settings)
        serve(
            System(
                worker=make_worker(settings, transport, queues=queue_names(queues), slots=slots),
                logkeeper=make_logkeeper(settings, engine, transport),
                scheduler=make_scheduler(settings, engine, transport),
            )
        )


def queue_names(given: tuple[str, ...]) -> "Iterator[QueueName]":
    """Yield each queue once, in the order given."""
    from headway.protocol.names import QueueName, check_name

    names = [name.strip() for text in given or ("default",) for name in text.split(",")]
    return (QueueName(check_name("queue", name)) for name in dict.fromkeys(names))


def start() -> "Settings":
    """Read the settings, hide them from what runs here, and let the service's remarks go to stderr."""
    from ..secrecy import hide_environment
    from ..service_log import log_to_stderr
    from ..settings import read_settings, runs_under_systemd

    hide_environment()
    settings = read_settings()
    log_to_stderr(settings.log_level, with_time=not runs_under_systemd())
    for remark in settings.remarks:
        logging.getLogger(__name__).warning("%s", remark)
    return settings


def _start_alone() -> "tuple[Settings, Transport]":
    """Start one service of several; raise OneProcessOnly where the transport reaches no other process."""
    from headway.broker.connecting import transport_of
    from headway.protocol.errors import OneProcessOnly

    settings = start()
    if settings.is_embedded:
        raise OneProcessOnly(url=settings.broker_url)
    return settings, transport_of(settings.broker_url)
