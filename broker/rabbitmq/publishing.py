"""The publishing half: a channel in confirm mode, and the window of what the broker has not confirmed yet.

What is published after a declaration waits until the queue is there, and finds it.

The broker may end the channel alone: after a publish to an exchange that somebody deleted (404), or without
permission (403). That ends the session as well: `lost` is told, both halves begin anew, and the exchanges are
declared again.
"""

from collections import deque
from functools import partial

from pika import BasicProperties  # type: ignore[import-untyped]
from pika.channel import Channel  # type: ignore[import-untyped]
from pika.exceptions import ChannelClosedByBroker  # type: ignore[import-untyped]
from pika.frame import Method  # type: ignore[import-untyped]
from pika.spec import Basic  # type: ignore[import-untyped]

from headway.protocol.errors import HeadwayError, QueueMismatch
from headway.protocol.topology import EXCHANGES, Exchange, Queue

from ..address import Address
from ..failures import translate
from ..halves import Action, Reports
from ..port import Blocked, Failed, Outgoing, Unblocked, Unconfirmed
from ..publisher import properties_of
from ..windows import ConfirmWindow
from .connection import Connection
from .declaring import Declarer, Reply


class PublishSession:
    """One connection that publishes. All of it runs on the link's thread."""

    def __init__(self, connection: Connection, address: Address, *, queues: dict[str, Queue], reports: Reports) -> None:
        self._connection = connection
        self._address = address
        self._queues = queues
        self._reports = reports
        self._declarer = Declarer(connection)
        self._undeclared = 0
        self._channel: Channel | None = None
        self._window = ConfirmWindow()
        self._waiting: deque[Outgoing] = deque()
        self._is_ready = False
        self._is_over = False
        self._when_idle: list[Action] = []

    def begin(self) -> None:
        """Open the channel and declare what there is to declare; `ready` follows, or `lost`."""
        self._connection.add_on_connection_blocked_callback(self._blocked)
        self._connection.add_on_connection_unblocked_callback(self._unblocked)
        self._connection.channel(on_open_callback=self._opened)
        for exchange in EXCHANGES:
            self.declare(exchange)
        for queue in self._queues.values():
            self.declare(queue)

    def declare(self, wanted: Exchange | Queue) -> None:
        """Declare this, and hold back what is published from now on until it is there."""
        if self._is_over:
            return
        self._undeclared += 1
        self._declarer.declare(wanted, done=self._declared, failed=partial(self._undeclarable, wanted))

    def publish(self, message: Outgoing) -> None:
        """Publish a message now, or once all is declared."""
        self._waiting.append(message)
        self._advance()

    def call_when_idle(self, action: Action) -> None:
        """Do this once nothing is outstanding."""
        self._when_idle.append(action)
        self._check_idle()

    def end(self) -> None:
        """Report all that is outstanding as lost, and say nothing more."""
        self._is_over = True
        self._declarer.end()
        for signal in self._window.lost():
            self._reports.sink(signal)
        while self._waiting:
            self._reports.sink(Unconfirmed(self._waiting.popleft().message_id, "lost"))
        self._check_idle()

    def _opened(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._closed)
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._answered, callback=partial(self._confirming, channel))

    def _confirming(self, channel: Channel, _reply: Reply) -> None:
        self._channel = channel
        self._advance()

    def _declared(self, _reply: Reply = None) -> None:
        self._undeclared -= 1
        self._advance()

    def _undeclarable(self, wanted: Exchange | Queue, error: Exception) -> None:
        """Do without a queue that exists with other arguments; anything else ends the session."""
        ours = translate(error, url=self._address.url, declared=wanted)
        if isinstance(ours, QueueMismatch) and isinstance(wanted, Queue):
            self._queues.pop(wanted.name, None)
            self._reports.sink(Failed(ours))
            self._declared()
        else:
            self._fail(ours)

    def _advance(self) -> None:
        """Publish what waits, if nothing is missing."""
        if self._is_over or self._channel is None or self._undeclared:
            return
        if not self._is_ready:
            self._is_ready = True
            self._reports.ready()
        while self._waiting:
            self._send(self._channel, self._waiting.popleft())

    def _send(self, channel: Channel, message: Outgoing) -> None:
        self._window.sent(message.message_id)
        properties = BasicProperties(**properties_of(message, user=self._address.user))
        channel.basic_publish(message.exchange, message.routing_key, message.body, properties, mandatory=True)

    def _returned(self, _channel: Channel, _method: Method, properties: BasicProperties, _body: bytes) -> None:
        self._window.returned(str(properties.message_id))

    def _answered(self, frame: Method) -> None:
        method = frame.method
        settle = self._window.acked if isinstance(method, Basic.Ack) else self._window.nacked
        for signal in settle(method.delivery_tag, multiple=method.multiple):
            self._reports.sink(signal)
        self._check_idle()

    def _check_idle(self) -> None:
        if self._when_idle and not self._window and not self._waiting:
            actions, self._when_idle = self._when_idle, []
            for action in actions:
                action()

    def _blocked(self, _connection: Connection, frame: Method) -> None:
        if not self._is_over:
            self._reports.sink(Blocked(str(frame.method.reason)))

    def _unblocked(self, _connection: Connection, _frame: Method) -> None:
        if not self._is_over:
            self._reports.sink(Unblocked())

    def _closed(self, _channel: Channel, error: Exception) -> None:
        if not self._is_over and isinstance(error, ChannelClosedByBroker):
            self._fail(translate(error, url=self._address.url))

    def _fail(self, error: HeadwayError) -> None:
        self.end()
        self._reports.lost(error)
