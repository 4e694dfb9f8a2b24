"""The publishing half: a channel in confirm mode, and the window of what the broker has not confirmed yet.

A declaration returns when the broker has answered, so what is published after it finds the queue. While an alarm
blocks the connection nothing is written, declarations neither: a socket that nobody reads would hold this thread up.
"""

from collections import deque

from amqp.exceptions import ChannelError  # type: ignore[import-untyped]
from kombu.transport.base import Message, StdChannel

from headway.protocol.errors import BrokerUnavailable, HeadwayError, QueueMismatch
from headway.protocol.topology import EXCHANGES, Exchange, Queue

from ..address import Address
from ..failures import translate
from ..halves import Action, Reports
from ..port import Blocked, Confirmed, Failed, Outgoing, Unblocked, Unconfirmed
from ..publisher import properties_of
from ..timing import BLOCKED_SECONDS_MAX
from ..windows import ConfirmWindow
from .declaring import Declarer
from .link import Line


class PublishSession:
    """One connection that publishes. All of it runs on the link's thread."""

    def __init__(self, line: Line, address: Address, *, queues: dict[str, Queue], reports: Reports) -> None:
        self._line = line
        self._address = address
        self._queues = queues
        self._reports = reports
        self._declarer: Declarer | None = None
        self._channel: StdChannel = None
        self._window = ConfirmWindow()
        self._waiting: deque[Outgoing | Exchange | Queue] = deque()
        self._blocks = 0
        self._is_blocked = False
        self._is_over = False
        self._when_idle: list[Action] = []

    def begin(self) -> None:
        """Declare what there is to declare and open the channel; `ready` follows, or `lost`."""
        self._line.listen(blocked=self._block, unblocked=self._unblock)
        self._declarer = Declarer(self._line)
        for exchange in EXCHANGES:
            self.declare(exchange)
        for queue in list(self._queues.values()):
            self.declare(queue)
        if self._is_over:
            return
        self._channel = self._line.channel()
        self._channel.confirm_select()
        self._channel.events["basic_ack"].add(self._acked)
        self._channel.events["basic_nack"].add(self._nacked)
        self._channel.events["basic_return"].add(self._returned)
        self._reports.ready()

    def declare(self, wanted: Exchange | Queue) -> None:
        """Declare this; do without a queue that exists with other arguments, anything else ends the session."""
        if self._is_over or self._declarer is None:
            return
        if self._is_blocked:
            self._waiting.append(wanted)
            return
        try:
            self._declarer.declare(wanted)
        except ChannelError as error:
            ours = translate(error, url=self._address.url, declared=wanted)
            if isinstance(ours, QueueMismatch) and isinstance(wanted, Queue):
                self._queues.pop(wanted.name, None)
                self._reports.sink(Failed(ours))
            else:
                self._fail(ours)

    def publish(self, message: Outgoing) -> None:
        """Publish a message now, or once the alarm is over."""
        if self._is_blocked:
            self._waiting.append(message)
        elif self._is_over:
            self._reports.sink(Unconfirmed(message.message_id, "lost"))
        else:
            self._send(message)

    def call_when_idle(self, action: Action) -> None:
        """Do this once nothing is outstanding."""
        self._when_idle.append(action)
        self._check_idle()

    def end(self) -> None:
        """Report all that is outstanding as lost, and say nothing more."""
        self._is_over = True
        self._is_blocked = False
        for signal in self._window.lost():
            self._reports.sink(signal)
        while self._waiting:
            if isinstance(waiting := self._waiting.popleft(), Outgoing):
                self._reports.sink(Unconfirmed(waiting.message_id, "lost"))
        self._check_idle()

    def _send(self, message: Outgoing) -> None:
        self._window.sent(message.message_id)
        properties = properties_of(message, user=self._address.user)
        content_type = properties.pop("content_type")
        content = self._channel.prepare_message(message.body, content_type=content_type, properties=properties)
        self._channel.basic_publish(content, message.exchange, message.routing_key, mandatory=True)

    def _returned(self, _error: Exception, _exchange: str, _routing_key: str, message: Message) -> None:
        self._window.returned(str(message.properties["message_id"]))

    def _acked(self, tag: int, multiple: bool) -> None:  # noqa: FBT001  as py-amqp calls it
        self._tell(self._window.acked(tag, multiple=multiple))

    def _nacked(self, tag: int, multiple: bool) -> None:  # noqa: FBT001  as py-amqp calls it
        self._tell(self._window.nacked(tag, multiple=multiple))

    def _tell(self, signals: "list[Unconfirmed] | list[Confirmed | Unconfirmed]") -> None:
        for signal in signals:
            self._reports.sink(signal)
        self._check_idle()

    def _check_idle(self) -> None:
        if self._when_idle and not self._window and not self._waiting:
            actions, self._when_idle = self._when_idle, []
            for action in actions:
                action()

    def _block(self, reason: str) -> None:
        if self._is_over:
            return
        self._is_blocked = True
        self._blocks += 1
        number = self._blocks
        self._line.call_later(BLOCKED_SECONDS_MAX, lambda: self._end_block(number))
        self._reports.sink(Blocked(reason))

    def _end_block(self, number: int) -> None:
        """Give up a connection that has been blocked since: another one may reach a node without an alarm."""
        if self._is_blocked and number == self._blocks:
            detail = f"it was blocked by an alarm for {BLOCKED_SECONDS_MAX:g} s"
            self._fail(BrokerUnavailable(url=self._address.url, detail=detail))

    def _unblock(self) -> None:
        if self._is_over:
            return
        self._is_blocked = False
        self._reports.sink(Unblocked())
        while self._waiting and not self._is_blocked:
            waiting = self._waiting.popleft()
            if isinstance(waiting, Outgoing):
                self.publish(waiting)
            else:
                self.declare(waiting)

    def _fail(self, error: HeadwayError) -> None:
        self.end()
        self._reports.lost(error)
