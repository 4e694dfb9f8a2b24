"""The port over any client library: both halves, and who decides when they begin, end, and begin again.

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
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from headway.protocol.errors import BrokerUnavailable, HeadwayError, WorkerNameTaken
from headway.protocol.topology import Queue

from .address import Address
from .backoff import Backoff
from .consumer import Consumer, ConsumeSession
from .halves import Action, Crashed, Link
from .port import Capabilities, Connected, ConsumerId, Delivery, Disconnected, Failed, Outcome, Outgoing, Sink
from .publisher import Publisher, PublishSession
from .timing import NAME_HELD_SECONDS_MAX


@dataclass(frozen=True, slots=True)
class Client:
    """What a client library contributes: links, the sessions on their connections, and what its transport can do."""

    publishing_link: Callable[[Crashed], Link]
    consuming_link: Callable[[Crashed], Link]
    publish_session: Callable[..., PublishSession]
    consume_session: Callable[..., ConsumeSession]
    capabilities: Capabilities
    name_held_seconds: float = NAME_HELD_SECONDS_MAX


class TwoHalves:
    """A `Broker` of two halves. Its signals come from their I/O threads; `close` may not be called on one of them."""

    def __init__(self, address: Address, client: Client, *, sink: Sink) -> None:
        self._address = address
        self._client = client
        self._sink = sink
        publishing, consuming = (make(self._report_crash) for make in (client.publishing_link, client.consuming_link))
        self._publisher = Publisher(publishing, address, sink, make=client.publish_session)
        self._consumer = Consumer(consuming, address, sink, make=client.consume_session)
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

    @property
    def capabilities(self) -> Capabilities:
        """What the transport can do."""
        return self._client.capabilities

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
            if self.capabilities.confirms_events == "stored":
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
        return now - self._name_taken_at < self._client.name_held_seconds
