"""`headway queues`: the database's side of each queue and the broker's."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ..helping import Command
from ..printing import json_option, print_json, print_table

if TYPE_CHECKING:
    from headway.broker.port import QueueDepth

    from ..settings import Settings


@click.command(cls=Command, examples=("headway queues", "headway queues --json"))
@json_option
def queues(*, as_json: bool) -> None:
    """Show each queue: the database's side and the broker's.

    READY and CONSUMERS are the broker's: published and not taken, workers with a free slot. QUEUED are published and
    not granted as the database has it, HELD are ready but not published yet, because WINDOW bounds what is.
    """
    from headway.scheduler.store.capacity import list_queues

    from ..database import open_database
    from ..settings import read_settings

    settings = read_settings()
    found = list_queues(open_database(settings), settings.limits)
    depths = _measure(settings, [queue.queue for queue in found])
    lines: list[dict[str, Any]] = [
        {
            "queue": queue.queue,
            "ready": depths[queue.queue].ready if queue.queue in depths else None,
            "unacked": None,  # AMQP does not tell
            "consumers": depths[queue.queue].consumers if queue.queue in depths else None,
            "queued": queue.queued,
            "unpublished": queue.unpublished,
            "free_slots": queue.free_slots,
            "window": queue.window,
            "slots": queue.slots,
            "mended": queue.mended,
            "fault": queue.fault,
        }
        for queue in found
    ]
    if as_json:
        print_json(lines)
        return
    columns = ("queue", "ready", "consumers", "queued", "unpublished", "window", "slots", "free_slots")
    header = ("QUEUE", "READY", "CONSUMERS", "QUEUED", "HELD", "WINDOW", "SLOTS", "FREE")
    print_table(header, [tuple(line[column] for column in columns) for line in lines])
    for line in lines:
        if line["mended"]:
            click.echo(f"{line['queue']}: {line['mended']} lost messages or attempts were found and mended so far.")
        if line["fault"]:
            click.echo(f"{line['queue']}: {line['fault']}")
    if not lines:
        click.echo("No queue was ever used, and no worker serves one.", err=True)


def _measure(settings: "Settings", names: Sequence[str]) -> "dict[str, QueueDepth]":
    """Return what the broker says, or nothing and a sentence if it says nothing."""
    from headway.protocol.errors import BrokerRefused, NothingRuns, Unavailable
    from headway.protocol.topology import task_queue_name

    from ..posting import post_of

    try:
        depths = post_of(settings).measure([task_queue_name(name) for name in names])
    except (Unavailable, BrokerRefused, NothingRuns) as error:
        click.echo(f"{error} Only the database's side is shown.", err=True)
        return {}
    return dict(zip(names, depths, strict=True))
