"""A broker in memory, for all services of one process: `Hub` holds its queues, and nothing else does.

kombu's virtual transport gives exchanges, bindings and topic matching. Its own way to consume polls, counts prefetch
per channel, knows one consumer of a queue per connection, acks no range, and returns what was not acked by routing it
anew, into every queue that is bound. So a `Channel` here hands a letter out as soon as a queue (mailbox.py) has it
and a consumer has room, settles it by its tag, and answers publishes as a py-amqp channel does: the sessions of this
package cannot tell one from the other.

All of it runs on the one thread of the hub: no lock, and a message is with its consumer when `basic_publish` returns.

Nothing here outlives the process, so a confirm has to mean more for what its publisher would have to repeat: events
are confirmed when every queue that took one has it acked, which the scheduler does after its commit.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import takewhile
from typing import Any, Final

from amqp.exceptions import (  # type: ignore[import-untyped]
    ChannelError,
    NoConsumers,
    NotFound,
    PreconditionFailed,
    ResourceLocked,
)
from amqp.protocol import queue_declare_ok_t  # type: ignore[import-untyped]
from kombu import Connection
from kombu.transport import virtual

from headway.protocol.topology import EVENTS, Queue

from ..adapter import Client, TwoHalves
from ..address import Address
from ..halves import Action
from ..port import Broker, Capabilities, Sink
from .consuming import ConsumeSession
from .link import Link, Thread
from .mailbox import Letter, Mailbox, Receipt, Taker
from .publishing import PublishSession

URL: Final = "memory://"

USER: Final = "headway"
"""Who everybody in the process is to the hub."""

CAPABILITIES: Final = Capabilities(is_durable=False, confirms_events="acked", has_ttl=False)


class Channel(virtual.Channel):  # type: ignore[misc]
    """A channel as py-amqp's, on the queues of a hub."""

    body_encoding = None  # kombu would write the body in base64, for transports that carry text

    def __init__(self, connection: "Transport", **options: object) -> None:
        super().__init__(connection, **options)
        self.events: dict[str, set[Callable[..., None]]] = defaultdict(set)
        self._mailboxes = connection.mailboxes
        self._published = 0
        self._delivered = 0
        self._prefetch = 0
        self._takers: dict[str, tuple[Mailbox, Taker]] = {}
        self._unsettled: OrderedDict[int, tuple[Mailbox, Taker, Letter]] = OrderedDict()

    def confirm_select(self) -> None:
        """Answer publishes; it is always so."""

    def queue_declare(
        self,
        queue: str,
        *,
        passive: bool = False,
        exclusive: bool = False,
        arguments: dict[str, Any] | None = None,
        **_ignored: object,
    ) -> queue_declare_ok_t:
        """Make a queue, unless it exists."""
        wanted = Queue(name=queue, exclusive=exclusive, arguments=arguments or {})
        mailbox = self._mailboxes.get(queue)
        if mailbox is None:
            if passive:
                raise NotFound(f"no queue '{queue}'")
            mailbox = self._mailboxes[queue] = Mailbox(wanted, owner=self.connection if exclusive else None)
        self._check_owner(mailbox)
        if not passive and mailbox.queue != wanted:
            raise PreconditionFailed(f"it has the arguments {mailbox.queue.arguments}")
        return queue_declare_ok_t(queue, len(mailbox.ready), len(mailbox.takers))

    def basic_publish(self, message: dict[str, Any], exchange: str, routing_key: str, **_ignored: object) -> None:
        """Put a message into its queues and answer: acked, nacked for a full queue, or returned and acked."""
        self._published += 1
        answer = partial(self._answer, "basic_ack", self._published)
        mailboxes = self._route(exchange, routing_key)
        if not mailboxes:
            letter = Letter(message, exchange, routing_key, {})
            self._say("basic_return", NoConsumers("no route"), exchange, routing_key, self._message(letter, tag=0))
        if any(mailbox.refuses for mailbox in mailboxes):
            self._answer("basic_nack", self._published)
            return
        receipt = Receipt(answer, len(mailboxes)) if mailboxes and exchange == EVENTS else None
        for mailbox in mailboxes:
            mailbox.put(Letter(message, exchange, routing_key, message["headers"], receipt))
        if receipt is None:
            answer()

    def basic_qos(self, *, prefetch_count: int, **_ignored: object) -> None:
        """Set how many deliveries a consumer that comes later may have unsettled."""
        self._prefetch = prefetch_count

    def basic_consume(
        self, queue: str, *, consumer_tag: str, callback: Callable[[virtual.Message], None], **_ignored: object
    ) -> None:
        """Hand out letters of this queue from now on."""
        mailbox = self._mailboxes.get(queue)
        if mailbox is None:
            raise NotFound(f"no queue '{queue}'")
        self._check_owner(mailbox)
        taker = Taker(partial(self._deliver, mailbox, callback), self._prefetch)
        self._takers[consumer_tag] = mailbox, taker
        mailbox.add(taker)

    def basic_cancel(self, consumer_tag: str) -> None:
        """Hand out nothing more through this consumer."""
        mailbox, taker = self._takers.pop(consumer_tag)
        mailbox.remove(taker)
        mailbox.hand_out()

    def basic_ack(self, delivery_tag: int, *, multiple: bool = False) -> None:
        """Be done with a letter, or with all up to it."""
        tags = takewhile(delivery_tag.__ge__, list(self._unsettled)) if multiple else [delivery_tag]
        for tag in tags:
            mailbox, _, letter = self._settle(tag)
            letter.finish()
            mailbox.hand_out()

    def basic_reject(self, delivery_tag: int, **_ignored: object) -> None:
        """Send a letter to where the dead ones go."""
        mailbox, _, letter = self._settle(delivery_tag)
        self._bury(mailbox, letter, "rejected")
        mailbox.hand_out()

    def basic_nack(self, delivery_tag: int, **_ignored: object) -> None:
        """Give a letter back."""
        mailbox, _, letter = self._settle(delivery_tag)
        self._put_back(mailbox, letter)
        mailbox.hand_out()

    def close(self) -> None:
        """End all consumers, then give back what they had, then hand it out again: so nobody gets it out of order."""
        for mailbox, taker in self._takers.values():
            mailbox.remove(taker)
        touched = {id(mailbox): mailbox for mailbox, _ in self._takers.values()}
        while self._unsettled:
            mailbox, _, letter = self._settle(next(reversed(self._unsettled)))
            self._put_back(mailbox, letter)
            touched[id(mailbox)] = mailbox
        self._takers.clear()
        super().close()
        for mailbox in touched.values():
            mailbox.hand_out()

    def _check_owner(self, mailbox: Mailbox) -> None:
        if mailbox.owner not in {None, self.connection}:
            raise ResourceLocked(f"queue '{mailbox.queue.name}' is exclusive to another connection")

    def _route(self, exchange: str, routing_key: str) -> list[Mailbox]:
        """Return the queues that take this message; if there is none, those behind the alternate exchange."""
        names = self._lookup(exchange, routing_key)
        found = [self._mailboxes[name] for name in names if name in self._mailboxes]
        alternate = self.state.exchanges.get(exchange, {}).get("arguments", {}).get("alternate-exchange")
        return found or (self._route(alternate, routing_key) if alternate else [])

    def _message(self, letter: Letter, *, tag: int) -> virtual.Message:
        """Return a letter as kombu gives it to a consumer."""
        info = {
            "exchange": letter.exchange,
            "routing_key": letter.routing_key,
            "redelivered": letter.returns > 0,
            "delivery_tag": tag,
        }
        properties = letter.content["properties"] | {"delivery_tag": tag, "delivery_info": info}
        return self.Message(letter.content | {"headers": letter.headers, "properties": properties}, channel=self)

    def _deliver(
        self, mailbox: Mailbox, callback: Callable[[virtual.Message], None], taker: Taker, letter: Letter
    ) -> None:
        self._delivered += 1
        self._unsettled[self._delivered] = mailbox, taker, letter
        callback(self._message(letter, tag=self._delivered))

    def _settle(self, tag: int) -> tuple[Mailbox, Taker, Letter]:
        """Take a letter from among the unsettled ones."""
        mailbox, taker, letter = self._unsettled.pop(tag)
        taker.unsettled -= 1
        return mailbox, taker, letter

    def _put_back(self, mailbox: Mailbox, letter: Letter) -> None:
        if not mailbox.put_back(letter):
            self._bury(mailbox, letter, "delivery_limit")

    def _bury(self, mailbox: Mailbox, letter: Letter, reason: str) -> None:
        """Send a letter to the dead-letter exchange of its queue, as RabbitMQ does: same key, and a header says why."""
        exchange = mailbox.queue.arguments.get("x-dead-letter-exchange")
        if exchange is not None:
            death = {
                "queue": mailbox.queue.name,
                "reason": reason,
                "count": 1,
                "exchange": letter.exchange,
                "routing-keys": [letter.routing_key],
                "time": datetime.now(UTC),
            }
            headers = letter.headers | {"x-death": [death], "x-first-death-reason": reason}
            for target in self._route(str(exchange), letter.routing_key):
                target.put(Letter(letter.content, str(exchange), letter.routing_key, headers))
        letter.finish()

    def _answer(self, event: str, tag: int) -> None:
        if not self.closed:
            self._say(event, tag, False)  # noqa: FBT003  as py-amqp does it

    def _say(self, event: str, *values: object) -> None:
        for callback in self.events[event]:
            callback(*values)


class Transport(virtual.Transport):  # type: ignore[misc]
    """A connection to a hub."""

    Channel = Channel

    def __init__(self, client: Connection, **options: object) -> None:
        super().__init__(client, **options)
        hub: Hub = client.transport_options["hub"]
        self.state = hub.state
        self.mailboxes = hub.mailboxes

    def close_connection(self, connection: "Transport") -> None:
        """End the channels, and the queues that are exclusive to this connection."""
        super().close_connection(connection)
        for name, mailbox in list(self.mailboxes.items()):
            if mailbox.owner is self:
                del self.mailboxes[name]


class HubLine:
    """A connection to a hub: it cannot break, and nothing comes by itself."""

    errors: tuple[type[Exception], ...] = (ChannelError,)

    def __init__(self, hub: "Hub", later: Callable[[float, Action], None]) -> None:
        self.is_open = True
        self._later = later
        client = Connection(transport=Transport, transport_options={"hub": hub})
        self._transport = client.transport

    @property
    def version(self) -> str:
        """None: of RabbitMQ's arguments a hub knows those that it knows."""
        return ""

    def open(self) -> None:
        """Connect."""
        self._transport.establish_connection()

    def call_later(self, seconds: float, action: Action) -> None:
        """Do something later on the hub's thread."""
        self._later(seconds, action)

    def channel(self, **_ignored: object) -> virtual.Channel:
        """Return a new channel; it raises where it is called, so nobody else can be struck by its failure."""
        return self._transport.create_channel(self._transport)

    def listen(self, *, blocked: Callable[[str], None], unblocked: Action) -> None:
        """Say when publishing is blocked: never."""

    def socket(self) -> None:
        """Return nothing to wait on."""

    def read(self) -> None:
        """Take in nothing."""

    def beat(self) -> None:
        """Need no heartbeat."""

    def close(self) -> None:
        """End."""
        self._transport.close_connection(self._transport)

    def abort(self) -> None:
        """Hold nobody up."""


class Hub:
    """The broker of one process. Brokers from `connect` share it; what is in it goes with it."""

    url = URL
    user = USER

    def __init__(self) -> None:
        self.state = virtual.BrokerState()
        self.mailboxes: dict[str, Mailbox] = {}
        self._thread = Thread()

    def connect(self, name: str, sink: Sink) -> Broker:
        """Return a broker that is not open yet. The hub's thread has the name of the broker that was opened first."""
        link = partial(Link, partial(HubLine, self), name, self._thread)
        client = Client(
            publishing_link=link,
            consuming_link=link,
            publish_session=PublishSession,
            consume_session=ConsumeSession,
            capabilities=CAPABILITIES,
            name_held_seconds=0.0,
        )
        address = Address(url=URL, host="", port=0, vhost="/", user=USER, password="", tls=False, library="kombu")
        return TwoHalves(address, client, sink=sink)
