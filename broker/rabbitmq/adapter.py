"""The port on RabbitMQ: both halves, and who decides when they begin, end, and begin again.

All decisions are taken on the thread of the consuming link, one after the other; the publishing link posts to it what
happens there. So there is no lock, and signals of both halves stand in one order. A try to connect goes

    publisher connects, exchanges and queues are declared  ->  consumer connects, consumers consume  ->  Connected

and whichever half fails first, at any time, ends the try for both:

    publisher reports all unconfirmed messages as lost  ->  consumer ends  ->  Disconnected  ->  backoff  ->  next try

The halves share their fate because `Disconnected` voids every delivery: if only the publishing connection were
replaced, the broker would wait for deliveries that the service has given up. Each try has a number; what a half says
about an earlier one is not heard.
"""

import time
from functools import partial
from typing import Final

from headway.protocol.errors import BrokerUnavailable, HeadwayError, WorkerNameTaken
from headway.protocol.topology import Queue

from ..port import Connected, ConsumerId, Delivery, Disconnected, Failed, Outcome, Outgoing, Sink
from .address import Address
from .backoff import Backoff
from .connection import HEARTBEAT_SECONDS, parameters
from .consumer import Consumer
from .link import Action, Link
from .publishing import Publisher

NAME_HELD_SECONDS_MAX: Final = 3.5 * HEARTBEAT_SECONDS
"""How long a dead connection may hold an exclusive queue: RabbitMQ closes a silent one after three heartbeats."""


class RabbitBroker:
    """A `Broker` on RabbitMQ. Its signals come from its two I/O threads; `close` may not be called on one of them."""

    def __init__(
        self, address: Address, *, name: str, sink: Sink, name_held_seconds: float = NAME_HELD_SECONDS_MAX
    ) -> None:
        publishing = parameters(address, name=f"{name} publish", publishes=True)
        consuming = parameters(address, name=f"{name} consume", publishes=False)
        self._address = address
        self._sink = sink
        self._name_held_seconds = name_held_seconds
        self._publisher = Publisher(Link(publishing, crashed=self._report_crash), address, sink)
        self._consumer = Consumer(Link(consuming, crashed=self._report_crash), address, sink)
        self._is_open = False
        self._is_closing = False
        # On the consuming link's thread, from here on.
        self._try = 0
        self._connected_at: float | None = None
        self._name_taken_at: float | None = None
        self._has_failed = False
        self._backoff = Backoff()

    @property
    def user(self) -> str:
        """The user of the URL."""
        return self._address.user

    def open(self) -> None:
        """Begin to connect."""
        if not self._is_open:
            self._is_open = True
            self._publisher.half.link.start()
            self._consumer.half.link.start()
            self._decide(self._connect)

    def publish(self, message: Outgoing) -> None:
        """Publish a message, after the declarations that were asked for before."""
        self._publisher.publish(message)

    def declare(self, *queues: Queue) -> None:
        """Make sure that these queues exist."""
        for queue in queues:
            self._publisher.declare(queue)

    def consume(self, queue: Queue, *, prefetch: int) -> ConsumerId:
        """Declare a queue and take its messages."""
        return self._consumer.consume(queue, prefetch=prefetch)

    def cancel(self, consumer: ConsumerId) -> None:
        """Take no more messages through this consumer."""
        self._consumer.cancel(consumer)

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """End one delivery."""
        self._consumer.settle(delivery, outcome)

    def ack_through(self, delivery: Delivery) -> None:
        """Ack this delivery and all unsettled ones that arrived before it."""
        self._consumer.ack_through(delivery)

    def measure(self, queue: str) -> None:
        """Ask how deep a queue is."""
        self._consumer.measure(queue)

    def close(self, *, timeout_seconds: float) -> None:
        """Stop consuming, wait for confirms, end both connections and their threads."""
        deadline = time.monotonic() + timeout_seconds
        self._is_closing = True
        if self._is_open:
            self._consumer.stop()
            self._publisher.flush(timeout_seconds=timeout_seconds)
        for half in (self._publisher.half, self._consumer.half):
            half.finish(timeout_seconds=deadline - time.monotonic())

    def _decide(self, action: Action) -> None:
        self._consumer.half.link.post(action)

    def _connect(self) -> None:
        """Begin a try."""
        number = self._try
        ready = partial(self._decide, partial(self._publisher_ready, number))
        self._publisher.half.connect(ready=ready, lost=partial(self._report_lost, number))

    def _publisher_ready(self, number: int) -> None:
        if number == self._try and not self._is_closing:
            ready, lost = partial(self._ready, number), partial(self._report_lost, number)
            self._consumer.half.connect(ready=ready, lost=lost)

    def _ready(self, number: int) -> None:
        if number == self._try:
            self._connected_at = time.monotonic()
            self._name_taken_at = None
            self._sink(Connected())

    def _report_lost(self, number: int, error: HeadwayError) -> None:
        self._decide(partial(self._end_try, number, error))

    def _report_crash(self, error: Exception) -> None:
        self._decide(lambda: self._end_try(self._try, error))

    def _end_try(self, number: int, error: Exception) -> None:
        """End both halves, the publishing one first, and then say so."""
        if number == self._try and not self._has_failed:
            self._try += 1
            consumer_too = partial(self._consumer.half.drop, then=partial(self._after_try, error))
            self._publisher.half.drop(then=consumer_too)

    def _after_try(self, error: Exception) -> None:
        """Try again later if that may mend it, else say that it does not."""
        if self._is_closing:
            return
        match error:
            case BrokerUnavailable():
                self._try_again(error)
            case WorkerNameTaken() if self._may_be_freed():
                self._try_again(error)
            case _:
                self._has_failed = True
                self._sink(Failed(error))

    def _try_again(self, error: HeadwayError) -> None:
        lived_seconds = time.monotonic() - self._connected_at if self._connected_at is not None else 0.0
        self._connected_at = None
        self._sink(Disconnected(str(error.fields["detail"])))
        self._consumer.half.link.call_later(self._backoff.next_seconds(lived_seconds=lived_seconds), self._connect)

    def _may_be_freed(self) -> bool:
        """Whether a taken name may still be that of a dead connection, ours for one."""
        now = time.monotonic()
        self._name_taken_at = self._name_taken_at or now
        return now - self._name_taken_at < self._name_held_seconds
