"""What a service consumes, whatever becomes of the connections: each session takes it up again (consuming.py)."""

import itertools
from functools import partial

from headway.protocol.topology import Queue

from ..port import ConsumerGone, ConsumerId, Delivery, Outcome, Sink
from .address import Address
from .connection import Connection
from .consuming import ConsumeSession, Consumption, Consumptions
from .halves import Half, Reports
from .link import Link


class Consumer:
    """What outlives a consuming connection. Its methods may be called from any thread and take effect in order."""

    def __init__(self, link: Link, address: Address, sink: Sink) -> None:
        self.half = Half(link, address, sink, make=self._make_session)
        self._address = address
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

    def _make_session(self, connection: Connection, reports: Reports) -> ConsumeSession:
        generation = next(self._generations)
        return ConsumeSession(connection, self._address, generation=generation, wanted=self._wanted, reports=reports)

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
