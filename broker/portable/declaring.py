"""Declares exchanges and queues, and asks how deep a queue is, on a channel that carries no messages.

AMQP answers a declaration that it refuses by closing the channel; kombu's channels then open themselves anew. Who may
not create an exchange or a queue (a worker's user) may still look whether it is there: what the broker refuses to
declare for lack of permission (403) is declared passively once, and its bindings are left to who may make them.
"""

from amqp.exceptions import AccessRefused  # type: ignore[import-untyped]

from headway.protocol.topology import Exchange, Queue

from ..dialect import EXCHANGE_KIND, arguments_for, version_of
from .link import Line


class Declarer:
    """Declares on one connection; raises what its channels raise."""

    def __init__(self, line: Line) -> None:
        self._channel = line.channel(may_fail=True)
        self._version = version_of(line.version)

    def declare(self, wanted: Exchange | Queue) -> None:
        """Make sure that this exists."""
        try:
            self._create(wanted)
        except AccessRefused:
            if isinstance(wanted, Queue) and wanted.exclusive:  # one that is there is somebody else's
                raise
            self._look(wanted)

    def measure(self, queue: str) -> tuple[int, int]:
        """Return how many messages of a queue are ready, and how many consumers it has."""
        found = self._channel.queue_declare(queue, passive=True)
        return int(found.message_count), int(found.consumer_count)

    def _create(self, wanted: Exchange | Queue) -> None:
        arguments = arguments_for(wanted, self._version)
        if isinstance(wanted, Exchange):
            self._channel.exchange_declare(
                wanted.name, type=EXCHANGE_KIND, durable=True, auto_delete=False, arguments=arguments
            )
            return
        self._channel.queue_declare(
            wanted.name,
            durable=not wanted.exclusive,
            exclusive=wanted.exclusive,
            auto_delete=False,
            arguments=arguments,
        )
        for binding in wanted.bindings:
            self._channel.queue_bind(wanted.name, exchange=binding.exchange, routing_key=binding.pattern)

    def _look(self, wanted: Exchange | Queue) -> None:
        if isinstance(wanted, Exchange):
            self._channel.exchange_declare(wanted.name, type=EXCHANGE_KIND, passive=True)
        else:
            self._channel.queue_declare(wanted.name, passive=True)
