"""What RabbitMQ's versions understand differently, in one table, each row with its reason."""

from typing import Final

import msgspec

from headway.protocol.topology import Exchange, Queue

Version = tuple[int, ...]

EXCHANGE_KIND: Final = "topic"


class Omission(msgspec.Struct, frozen=True):
    """An argument with this value is not sent to brokers below this version."""

    argument: str
    value: object
    below: Version


OMISSIONS: Final = (
    # Up to 3.13 "-1" is taken as a limit like any other: 3.10.8 drops a message that is returned once. There the
    # argument's absence means "no limit", which from 4.0 on would mean 20.
    Omission("x-delivery-limit", -1, below=(4, 0)),
)


def version_of(text: str) -> Version:
    """Read a version such as `3.10.8` or `4.1.0-rc.2` up to its second number, which is all that the table needs."""
    numbers = text.split(".")[:2]
    return tuple(int(number) for number in numbers if number.isdecimal())


def arguments_for(wanted: Exchange | Queue, version: Version) -> dict[str, str | int | bool]:
    """Return the arguments that mean to this broker what the topology means."""
    if isinstance(wanted, Exchange):
        return {"alternate-exchange": wanted.alternate} if wanted.alternate else {}
    omitted = {(row.argument, row.value) for row in OMISSIONS if version < row.below}
    return {name: value for name, value in wanted.arguments.items() if (name, value) not in omitted}
