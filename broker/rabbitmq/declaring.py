"""Declares exchanges and queues, and asks how deep a queue is, on a channel that may die of it.

AMQP answers a declaration that it refuses by closing the channel. So none is made on a channel that carries messages:
each connection has one for this, opened anew after each refusal, and one declaration at a time goes over it.

Who may not create an exchange or a queue (a worker's user) may still look whether it is there: what the broker
refuses to declare for lack of permission (403) is declared passively once, and its bindings are left to who may make
them.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pika.channel import Channel  # type: ignore[import-untyped]
from pika.exceptions import ChannelClosedByBroker  # type: ignore[import-untyped]

from headway.protocol.topology import Exchange, Queue

from ..dialect import EXCHANGE_KIND, Version, arguments_for, version_of
from ..failures import ACCESS_REFUSED, reply_of
from .connection import Connection

Reply = Any  # a frame of pika with the broker's answer
Step = Callable[..., None]  # takes a channel and `callback`, which takes a Reply
Plan = tuple[Step, ...]


@dataclass(slots=True)
class _Job:
    """What to do: the plans are tried one after the other, while the broker refuses access."""

    plans: list[Plan]
    done: Callable[[Reply], None]
    failed: Callable[[Exception], None]


class Declarer:
    """Declares on one connection, one thing after the other; ends with the connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._version = version_of(str((connection.server_properties or {}).get("version", "")))
        self._channel: Channel | None = None
        self._jobs: deque[_Job] = deque()
        self._steps: deque[Step] = deque()

    def declare(
        self, wanted: Exchange | Queue, *, done: Callable[[Reply], None], failed: Callable[[Exception], None]
    ) -> None:
        """Make sure that this exists; one of the two is called later."""
        plans = [active_plan(wanted, self._version)]
        if not (isinstance(wanted, Queue) and wanted.exclusive):  # an exclusive one that is there is somebody else's
            plans.append(passive_plan(wanted))
        self._add(_Job(plans, done, failed))

    def bind(self, queue: Queue, *, done: Callable[[Reply], None], failed: Callable[[Exception], None]) -> None:
        """Make sure of the bindings of a queue that exists; one of the two is called later."""
        self._add(_Job([binding_plan(queue)], done, failed))

    def measure(self, queue: str, *, done: Callable[[Reply], None], failed: Callable[[Exception], None]) -> None:
        """Look at a queue by the broker's name; `done` gets the frame with its figures."""
        self._add(_Job([passive_plan(Queue(name=queue))], done, failed))

    def end(self) -> None:
        """Forget all jobs: nothing is called any more."""
        self._jobs.clear()
        self._steps.clear()

    def _add(self, job: _Job) -> None:
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._begin()

    def _begin(self) -> None:
        """Begin the first job, with a channel where there is none."""
        if not self._jobs:
            return
        if self._channel is None:
            self._connection.channel(on_open_callback=self._opened)
            return
        self._steps = deque(self._jobs[0].plans.pop(0))
        self._next()

    def _opened(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._closed)
        self._channel = channel
        self._begin()

    def _next(self, reply: Reply = None) -> None:
        """Take the next step, or end the job with the reply to its last one."""
        if self._steps:
            self._steps.popleft()(self._channel, callback=self._next)
        elif self._jobs:
            job = self._jobs.popleft()
            self._begin()
            job.done(reply)

    def _closed(self, _channel: Channel, error: Exception) -> None:
        self._channel = None
        if not self._jobs or not isinstance(error, ChannelClosedByBroker):
            return  # the connection ended, and who owns it is told so
        job = self._jobs[0]
        if job.plans and reply_of(error)[0] == ACCESS_REFUSED:
            self._begin()
            return
        self._jobs.popleft()
        self._begin()
        job.failed(error)


def active_plan(wanted: Exchange | Queue, version: Version) -> Plan:
    """Return the steps that create an exchange, or a queue with its bindings, where it does not exist."""
    if isinstance(wanted, Exchange):
        step = partial(
            Channel.exchange_declare,
            exchange=wanted.name,
            exchange_type=EXCHANGE_KIND,
            durable=True,
            arguments=arguments_for(wanted, version),
        )
        return (step,)
    declaration = partial(
        Channel.queue_declare,
        queue=wanted.name,
        durable=not wanted.exclusive,
        exclusive=wanted.exclusive,
        arguments=arguments_for(wanted, version),
    )
    return (declaration, *binding_plan(wanted))


def binding_plan(queue: Queue) -> Plan:
    """Return the steps that bind a queue to its exchanges, where it is not."""
    return tuple(
        partial(Channel.queue_bind, queue=queue.name, exchange=binding.exchange, routing_key=binding.pattern)
        for binding in queue.bindings
    )


def passive_plan(wanted: Exchange | Queue) -> Plan:
    """Return the step that only looks whether an exchange or a queue exists."""
    if isinstance(wanted, Exchange):
        return (partial(Channel.exchange_declare, exchange=wanted.name, passive=True),)
    return (partial(Channel.queue_declare, queue=wanted.name, passive=True),)
