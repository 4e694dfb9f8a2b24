"""What a service consumes, whatever becomes of the connections: each session takes it up again."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from headway.protocol.topology import Queue

from .address import Address
from .halves import Half, Link, Reports, Session
from .port import ConsumerGone, ConsumerId, Delivery, Outcome, Sink


@dataclass(frozen=True, slots=True)
class Consumption:
    """What a service asked for by `consume`."""

    consumer: ConsumerId
    queue: Queue
    prefetch: int


Consumptions = dict[ConsumerId, Consumption]


class ConsumeSession(Session, Protocol):
    """One connection that consumes. All of it runs on the link's thread.

    Every delivery carries the session's generation. One of an earlier session belongs to a channel that is gone: the
    broker hands it out again, and settling it does nothing.
    """

    @property
    def generation(self) -> int:
        """The number of the session."""

    def start(self, consumption: Consumption) -> None:
        """Declare a queue and consume from it, if that is still wanted."""

    def cancel(self, consumer: ConsumerId) -> None:
        """End a consumer; `ConsumerGone` follows."""

    def settle(self, tag: int, outcome: Outcome) -> None:
        """End one delivery, unless it was settled before."""

    def ack_through(self, tag: int) -> None:
        """Ack all open deliveries up to this one."""

    def measure(self, queue: str) -> None:
        """Ask for a queue's depth. One that may not be looked at counts as one that does not exist."""


class Consumer:
    """What outlives a consuming connection. Its methods may be called from any thread and take effect in order."""

    def __init__(self, link: Link, address: Address, sink: Sink, *, make: Callable[..., ConsumeSession]) -> None:
        self.half = Half(link, address, sink, make=self._make_session)
        self._address = address
        self._make = make
        self._sink = sink
        self._ids = itertools.count(1)
        self._generations = itertools.count(1)
        self._wanted: Consumptions = {}

    def consume(self, queue: Queue, *, prefetch: int) -> ConsumerId:
        """Consume from a queue now and in each session."""
        consumption = Consumption(ConsumerId(next(self._ids)), queue, prefetch)
        self.half.link.post(partial(self._consume, consumption))
        return consumption.consumer

    def cancel(self, consumer: ConsumerId) -> None:
        """Consume no more through this consumer."""
        self.half.link.post(partial(self._cancel, consumer))

    def stop(self) -> None:
        """Consume no more; what is not settled goes back, in order."""
        self.half.link.post(self.half.end)

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """End one delivery, unless it is of an earlier session."""
        self.half.link.post(partial(self._settle, delivery, outcome))

    def ack_through(self, delivery: Delivery) -> None:
        """Ack a delivery and all before it, unless it is of an earlier session."""
        self.half.link.post(partial(self._ack_through, delivery))

    def measure(self, queue: str) -> None:
        """Ask for a queue's depth, if there is a session."""
        self.half.link.post(partial(self._measure, queue))

    def _make_session(self, connection: object, reports: Reports) -> ConsumeSession:
        generation = next(self._generations)
        return self._make(connection, self._address, generation=generation, wanted=self._wanted, reports=reports)

    def _consume(self, consumption: Consumption) -> None:
        self._wanted[consumption.consumer] = consumption
        if self.half.session is not None:
            self.half.session.start(consumption)

    def _cancel(self, consumer: ConsumerId) -> None:
        self._wanted.pop(consumer, None)
        if self.half.session is None:
            self._sink(ConsumerGone(consumer))
        else:
            self.half.session.cancel(consumer)

    def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        session = self.half.session
        if session is not None and session.generation == delivery.generation:
            session.settle(delivery.tag, outcome)

    def _ack_through(self, delivery: Delivery) -> None:
        session = self.half.session
        if session is not None and session.generation == delivery.generation:
            session.ack_through(delivery.tag)

    def _measure(self, queue: str) -> None:
        if self.half.session is not None:
            self.half.session.measure(queue)
