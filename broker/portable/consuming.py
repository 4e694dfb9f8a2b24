"""The consuming half: one channel for all consumers, and the window of what was handed out and is not settled.

A session declares the queue of each consumer and consumes from it, with a consumer tag that was never used before.
Deliveries that arrive before all consumers consume are held back, so that `Connected` comes before the first.

Settling a delivery twice is nothing: the broker would close the channel for it. The broker may end a consumer alone
(basic.cancel), because its queue was deleted or a delivery was held too long: that ends the session.
"""

from functools import partial
from typing import assert_never

from amqp.exceptions import ChannelError, NotFound  # type: ignore[import-untyped]
from kombu.transport.base import Message, StdChannel

from headway.protocol.errors import BrokerUnavailable, HeadwayError, QueueMismatch

from ..address import Address
from ..consumer import Consumption, Consumptions
from ..failures import translate
from ..halves import Reports
from ..port import ConsumerGone, ConsumerId, Delivered, Delivery, Failed, Outcome, QueueDepth
from ..timing import MISSING_QUEUE_SECONDS
from ..windows import TagWindow
from .declaring import Declarer
from .link import Line


class ConsumeSession:
    """One connection that consumes. All of it runs on the link's thread."""

    def __init__(
        self, line: Line, address: Address, *, generation: int, wanted: Consumptions, reports: Reports
    ) -> None:
        self.generation = generation
        self._line = line
        self._address = address
        self._wanted = wanted
        self._reports = reports
        self._declarer: Declarer | None = None
        self._channel: StdChannel = None
        self._unsettled = TagWindow[int]()
        self._consumers: dict[ConsumerId, str] = {}
        self._idle: set[ConsumerId] = set()  # without a queue: it has other arguments, or is not there yet
        self._early: list[Delivered] | None = []
        self._is_over = False

    def begin(self) -> None:
        """Open the channel, then start all consumers; `ready` follows, or `lost`."""
        self._declarer = Declarer(self._line)
        self._channel = self._line.channel()
        for consumption in list(self._wanted.values()):
            self.start(consumption)
        if self._is_over:
            return
        early, self._early = self._early or [], None
        self._reports.ready()
        for signal in early:
            self._reports.sink(signal)

    def start(self, consumption: Consumption) -> None:
        """Declare a queue and consume from it, if that is still wanted."""
        if self._is_over or self._declarer is None or consumption.consumer not in self._wanted:
            return
        try:
            self._declarer.declare(consumption.queue)
        except ChannelError as error:
            self._do_without(consumption, error)
            return
        tag = f"{self.generation}.{consumption.consumer}"
        self._idle.discard(consumption.consumer)
        self._consumers[consumption.consumer] = tag
        # Per consumer (not global), and asked for before it: it holds for the consumers that come after it.
        self._channel.basic_qos(prefetch_size=0, prefetch_count=consumption.prefetch, a_global=False)
        self._channel.basic_consume(
            consumption.queue.name,
            consumer_tag=tag,
            no_ack=False,
            callback=partial(self._deliver, consumption),
            on_cancel=partial(self._cancelled_by_broker, consumption),
        )

    def cancel(self, consumer: ConsumerId) -> None:
        """End a consumer. What comes before the broker has agreed is delivered before it is gone."""
        tag = self._consumers.pop(consumer, None)
        if tag is None and consumer not in self._idle:
            return
        self._idle.discard(consumer)
        if tag is not None and not self._is_over:
            self._channel.basic_cancel(tag)
        self._reports.sink(ConsumerGone(consumer))

    def settle(self, tag: int, outcome: Outcome) -> None:
        """End one delivery of this session."""
        if self._is_over or not self._unsettled.take(tag, multiple=False):
            return
        match outcome:
            case Outcome.ACK:
                self._channel.basic_ack(tag)
            case Outcome.REJECT:
                self._channel.basic_reject(tag, requeue=False)
            case Outcome.REQUEUE:
                # Not basic.reject, which RabbitMQ 4.3 counts as a failure of the message.
                self._channel.basic_nack(tag, requeue=True)
            case _:
                assert_never(outcome)

    def ack_through(self, tag: int) -> None:
        """Ack all open deliveries up to this one, by the last of them: the broker knows no tag that was settled."""
        if not self._is_over and (open_tags := self._unsettled.take(tag, multiple=True)):
            self._channel.basic_ack(open_tags[-1], multiple=True)

    def measure(self, queue: str) -> None:
        """Ask for a queue's depth. One that may not be looked at counts as one that does not exist."""
        if self._is_over or self._declarer is None:
            return
        try:
            ready, consumers = self._declarer.measure(queue)
        except ChannelError:
            self._reports.sink(QueueDepth(queue, None, 0))
        else:
            self._reports.sink(QueueDepth(queue, ready, consumers))

    def end(self) -> None:
        """Say nothing more."""
        self._is_over = True

    def _do_without(self, consumption: Consumption, error: ChannelError) -> None:
        """Do without a queue that exists with other arguments, or not yet; anything else ends the session.

        It does not exist where we may not make it and the scheduler did not need it yet. Others must not wait for it.
        """
        ours = translate(error, url=self._address.url, declared=consumption.queue)
        self._idle.add(consumption.consumer)
        if isinstance(ours, QueueMismatch):
            self._wanted.pop(consumption.consumer, None)
            self._reports.sink(Failed(ours))
        elif isinstance(error, NotFound):
            self._line.call_later(MISSING_QUEUE_SECONDS, partial(self.start, consumption))
        else:
            self._fail(ours)

    def _deliver(self, consumption: Consumption, raw: Message) -> None:
        if self._is_over:
            return
        message = self._channel.message_to_python(raw)
        info, properties = message.delivery_info, message.properties
        tag = info["delivery_tag"]
        self._unsettled.open(tag, tag)
        delivery = Delivery(
            consumer=consumption.consumer,
            queue=consumption.queue.name,
            exchange=info["exchange"],
            routing_key=info["routing_key"],
            body=message.body or b"",
            message_id=properties.get("message_id"),
            kind=properties.get("type"),
            user_id=properties.get("user_id"),
            redelivered=info["redelivered"],
            headers=message.headers or {},
            generation=self.generation,
            tag=tag,
        )
        if self._early is None:
            self._reports.sink(Delivered(delivery))
        else:
            self._early.append(Delivered(delivery))

    def _cancelled_by_broker(self, consumption: Consumption, _tag: str) -> None:
        if not self._is_over and consumption.consumer in self._consumers:
            text = f"the broker ended our consumer of {consumption.queue.name}: it was deleted, or we were too slow"
            self._fail(BrokerUnavailable(url=self._address.url, detail=text))

    def _fail(self, error: HeadwayError) -> None:
        self.end()
        self._reports.lost(error)
