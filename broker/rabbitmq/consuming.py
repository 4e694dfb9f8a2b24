"""The consuming half: one channel for all consumers, and the window of what was handed out and is not settled.

A session is the life of one connection, and of one channel on it. It declares the queue of each consumer and consumes
from it, with a consumer tag that was never used before. Deliveries that arrive before all consumers consume are held
back, so that `Connected` comes before the first.

Each session has a generation, which every delivery carries. A delivery of an earlier one belongs to a channel that is
gone: the broker hands it out again, and settling it does nothing. Nor does settling a delivery twice, for which the
broker would close the channel.

The broker may end a consumer alone (basic.cancel): its queue was deleted, or a delivery was held too long. RabbitMQ
4.3 waits for an answer to that which pika never gives, so a single-active-consumer queue would stand still for good;
only the end of the channel frees it. So this ends the session, as does the end of the channel: `lost` is told, and
both halves begin anew, with the queue declared again.

Nobody tells us that an exchange was deleted, and with it its bindings, and others may make it again without them. So a
queue that we were able to bind is bound again now and then, which does nothing where it is bound; an exchange that is
not there ends the session as well, and is declared with the next one.
"""

from functools import partial
from typing import assert_never

from pika import BasicProperties  # type: ignore[import-untyped]
from pika.channel import Channel  # type: ignore[import-untyped]
from pika.exceptions import ChannelClosedByBroker  # type: ignore[import-untyped]
from pika.frame import Method  # type: ignore[import-untyped]
from pika.spec import Basic  # type: ignore[import-untyped]
from pika.spec import Queue as Queues

from headway.protocol.errors import BrokerUnavailable, HeadwayError, QueueMismatch
from headway.protocol.topology import Queue

from ..address import Address
from ..consumer import Consumption, Consumptions
from ..failures import NOT_FOUND, reply_of, translate
from ..halves import Reports
from ..port import ConsumerGone, ConsumerId, Delivered, Delivery, Failed, Outcome, QueueDepth
from ..timing import BIND_SECONDS, MISSING_QUEUE_SECONDS
from ..windows import TagWindow
from .connection import Connection
from .declaring import Declarer, Reply


class ConsumeSession:
    """One connection that consumes. All of it runs on the link's thread."""

    def __init__(
        self, connection: Connection, address: Address, *, generation: int, wanted: Consumptions, reports: Reports
    ) -> None:
        self.generation = generation
        self._connection = connection
        self._address = address
        self._wanted = wanted
        self._reports = reports
        self._declarer = Declarer(connection)
        self._channel: Channel | None = None
        self._unsettled = TagWindow[int]()
        self._consumers: dict[str, Consumption] = {}  # by consumer tag, once the broker was asked
        self._cancelling: dict[str, ConsumerId] = {}
        self._starting: set[ConsumerId] = set()
        self._bound: dict[str, Queue] = {}  # by name: those that we may bind
        self._early: list[Delivered | ConsumerGone] | None = []
        self._is_over = False

    def begin(self) -> None:
        """Open the channel, then start all consumers; `ready` follows, or `lost`."""
        self._connection.channel(on_open_callback=self._opened)

    def start(self, consumption: Consumption) -> None:
        """Declare a queue and consume from it, if that is still wanted."""
        if not self._is_over and self._channel is not None and consumption.consumer in self._wanted:
            declared, failed = partial(self._consume, consumption), partial(self._undeclarable, consumption)
            self._declarer.declare(consumption.queue, done=declared, failed=failed)

    def cancel(self, consumer: ConsumerId) -> None:
        """End a consumer. What comes before the broker has agreed is requeued by pika (basic.reject)."""
        tag = self._tag(consumer)
        if tag in self._cancelling:
            return
        if self._is_over or self._channel is None or tag not in self._consumers:
            self._say(ConsumerGone(consumer))
            return
        del self._consumers[tag]
        self._cancelling[tag] = consumer
        self._channel.basic_cancel(tag, callback=self._cancelled)

    def settle(self, tag: int, outcome: Outcome) -> None:
        """End one delivery of this session."""
        if self._is_over or self._channel is None or not self._unsettled.take(tag, multiple=False):
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
        if self._is_over or self._channel is None:
            return
        if open_tags := self._unsettled.take(tag, multiple=True):
            self._channel.basic_ack(open_tags[-1], multiple=True)

    def measure(self, queue: str) -> None:
        """Ask for a queue's depth. One that may not be looked at counts as one that does not exist."""

        def found(reply: Reply) -> None:
            self._reports.sink(QueueDepth(queue, reply.method.message_count, reply.method.consumer_count))

        def missing(_error: Exception) -> None:
            self._reports.sink(QueueDepth(queue, None, 0))

        if not self._is_over:
            self._declarer.measure(queue, done=found, failed=missing)

    def end(self) -> None:
        """Report consumers that were being cancelled as gone, and say nothing more."""
        self._is_over = True
        self._declarer.end()
        early, self._early = self._early, None
        for signal in early or ():
            if isinstance(signal, ConsumerGone):
                self._say(signal)
        while self._cancelling:
            self._say(ConsumerGone(self._cancelling.popitem()[1]))

    def _tag(self, consumer: ConsumerId) -> str:
        return f"{self.generation}.{consumer}"

    def _opened(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._closed)
        channel.add_on_cancel_callback(self._cancelled_by_broker)
        self._channel = channel
        self._starting = set(self._wanted)
        for consumption in list(self._wanted.values()):
            self.start(consumption)
        self._check_ready()

    def _consume(self, consumption: Consumption, reply: Reply) -> None:
        if isinstance(reply.method, Queues.BindOk):
            self._bound[consumption.queue.name] = consumption.queue
        if self._channel is None or consumption.consumer not in self._wanted:
            self._started(consumption)
            return
        tag = self._tag(consumption.consumer)
        self._consumers[tag] = consumption
        # Per consumer (global_qos=False), and asked for before it: it holds for the consumers that come after it.
        self._channel.basic_qos(prefetch_count=consumption.prefetch)
        on_message, started = partial(self._deliver, consumption), partial(self._started, consumption)
        self._channel.basic_consume(consumption.queue.name, on_message, consumer_tag=tag, callback=started)

    def _undeclarable(self, consumption: Consumption, error: Exception) -> None:
        """Do without a queue that exists with other arguments, or not yet; anything else ends the session.

        It does not exist where we may not make it and the scheduler did not need it yet. Others must not wait for it.
        """
        ours = translate(error, url=self._address.url, declared=consumption.queue)
        code, text = reply_of(error)
        if isinstance(ours, QueueMismatch):
            self._wanted.pop(consumption.consumer, None)
            self._reports.sink(Failed(ours))
            self._started(consumption)
        elif code == NOT_FOUND and "no exchange" not in text:
            self._started(consumption)
            self._connection.ioloop.call_later(MISSING_QUEUE_SECONDS, partial(self.start, consumption))
        else:
            self._fail(ours)

    def _started(self, consumption: Consumption, _reply: Reply = None) -> None:
        self._starting.discard(consumption.consumer)
        self._check_ready()

    def _check_ready(self) -> None:
        """Say that all consumers consume, once, and hand out what came before that."""
        if self._is_over or self._starting or self._early is None:
            return
        early, self._early = self._early, None
        self._reports.ready()
        for signal in early:
            self._say(signal)
        self._bind_later()

    def _bind_later(self) -> None:
        self._connection.ioloop.call_later(BIND_SECONDS, self._bind)

    def _bind(self) -> None:
        """Bind again what we consume from, and go on so."""
        if self._is_over:
            return
        wanted = {consumption.queue.name for consumption in self._wanted.values()}
        for name in self._bound.keys() & wanted:
            self._declarer.bind(self._bound[name], done=lambda _reply: None, failed=self._unbound)
        self._bind_later()

    def _unbound(self, error: Exception) -> None:
        """Begin anew, whatever it is: what is missing is declared then, and what is forbidden is done without."""
        self._fail(BrokerUnavailable(url=self._address.url, detail=reply_of(error)[1]))

    def _say(self, signal: Delivered | ConsumerGone) -> None:
        """Tell the service, or hold it back until we are ready: a consumer must not be gone before its deliveries."""
        if self._early is None:
            self._reports.sink(signal)
        else:
            self._early.append(signal)

    def _deliver(
        self,
        consumption: Consumption,
        _channel: Channel,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
    ) -> None:
        if self._is_over:
            return
        self._unsettled.open(method.delivery_tag, method.delivery_tag)
        delivery = Delivery(
            consumer=consumption.consumer,
            queue=consumption.queue.name,
            exchange=method.exchange,
            routing_key=method.routing_key,
            body=body,
            message_id=properties.message_id,
            kind=properties.type,
            user_id=properties.user_id,
            redelivered=method.redelivered,
            headers=properties.headers or {},
            generation=self.generation,
            tag=method.delivery_tag,
        )
        self._say(Delivered(delivery))

    def _cancelled(self, frame: Method) -> None:
        # pika calls this for each cancel that is under way whenever one is answered: the frame says which.
        consumer = self._cancelling.pop(frame.method.consumer_tag, None)
        if consumer is not None:
            self._say(ConsumerGone(consumer))

    def _cancelled_by_broker(self, frame: Method) -> None:
        consumption = self._consumers.get(frame.method.consumer_tag)
        if consumption is not None and not self._is_over:
            text = f"the broker ended our consumer of {consumption.queue.name}: it was deleted, or we were too slow"
            self._fail(BrokerUnavailable(url=self._address.url, detail=text))

    def _closed(self, _channel: Channel, error: Exception) -> None:
        if not self._is_over and isinstance(error, ChannelClosedByBroker):
            self._fail(translate(error, url=self._address.url))

    def _fail(self, error: HeadwayError) -> None:
        self.end()
        self._reports.lost(error)
