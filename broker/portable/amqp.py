"""kombu's transport for AMQP, which is py-amqp, with what our sessions need of it and it leaves out.

py-amqp reads before each publish whether the broker has blocked us, cannot say `basic.nack`, drops the reason of an
alarm, and waits for answers without end. So publishing here writes and nothing else, and every wait for the socket has
an end: a line that is silent for `STALL_SECONDS` in the middle of a frame or of an answer is broken.
"""

import logging
import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import amqp  # type: ignore[import-untyped]
from amqp import spec
from amqp.exceptions import ChannelError, RecoverableConnectionError  # type: ignore[import-untyped]
from kombu import Connection as Settings
from kombu.transport import pyamqp

from ..address import Address
from ..halves import Action
from ..timing import CONNECT_SECONDS_MAX, GOODBYE_SECONDS_MIN, HEARTBEAT_SECONDS, TCP_USER_TIMEOUT_MS

STALL_SECONDS: Final = 2.0 * HEARTBEAT_SECONDS
"""How long the broker may take for an answer, or for the rest of a frame: as long as for a heartbeat."""

FRAMES_MAX: Final = 500
"""Methods that are read before what was posted meanwhile has its turn."""

_LOG: Final = logging.getLogger("amqp")


def _with_zone(value: object) -> object:
    """Return a header with all its times in UTC, as the broker means them: py-amqp drops the zone."""
    match value:
        case datetime():
            return value.replace(tzinfo=UTC)
        case dict():
            return {name: _with_zone(item) for name, item in value.items()}
        case list():
            return [_with_zone(item) for item in value]
        case _:
            return value


class Channel(pyamqp.Channel):  # type: ignore[misc]
    """A channel that publishes without looking around, can give a message back, and may be vital to its connection.

    py-amqp raises a channel's failure to whoever waits for anything on the connection, and opens the channel again,
    without its consumers. A declaration must not take the end of another channel for its own refusal.
    """

    may_fail = True

    def _on_close(self, reply_code: int, reply_text: str, class_id: int, method_id: int) -> None:
        try:
            super()._on_close(reply_code, reply_text, class_id, method_id)
        except ChannelError as error:
            if self.may_fail:
                raise
            raise RecoverableConnectionError(reply_text, (class_id, method_id), reply_code=reply_code) from error

    def basic_publish(self, message: amqp.Message, exchange: str, routing_key: str, *, mandatory: bool) -> None:
        """Write a message."""
        self.send_method(spec.Basic.Publish, "Bssbb", (0, exchange, routing_key, mandatory, False), message)

    def basic_nack(self, delivery_tag: int, *, requeue: bool) -> None:
        """Give a message back."""
        self.send_method(spec.Basic.Nack, "Lbb", (delivery_tag, False, requeue))

    def message_to_python(self, raw_message: amqp.Message) -> pyamqp.Message:
        """Return a message as all transports of kombu have it."""
        message = super().message_to_python(raw_message)
        message.headers = _with_zone(message.headers)
        return message


class Connection(pyamqp.Connection):  # type: ignore[misc]
    """A connection that is known before it connects, so that another thread can abort it, and that tells of alarms."""

    Channel = Channel
    _METHODS = pyamqp.Connection._METHODS | {  # noqa: SLF001  where py-amqp keeps what arguments a method has
        spec.Connection.Blocked: spec.method(spec.Connection.Blocked, "s")
    }

    def __init__(self, *, made: Callable[["Connection"], None], **options: object) -> None:
        super().__init__(**options)
        made(self)

    def _on_blocked(self, reason: str) -> None:
        if self.on_blocked:
            self.on_blocked(reason)


class Transport(pyamqp.Transport):  # type: ignore[misc]
    """py-amqp with our connection."""

    Connection = Connection


class AmqpLine:
    """A connection to RabbitMQ."""

    errors = (*Transport.connection_errors, *Transport.channel_errors)

    def __init__(self, address: Address, name: str, later: Callable[[float, Action], None], *, publishes: bool) -> None:
        self.is_open = False
        self._later = later
        self._connection: Any = None  # ours, once there is one
        self._poll = select.poll()
        self._settings = Settings(
            hostname=f"[{address.host}]" if ":" in address.host else address.host,
            port=address.port,
            virtual_host=address.vhost,
            userid=address.user,
            password=address.password,
            login_method="PLAIN",
            ssl={"server_hostname": address.host, "cert_reqs": ssl.CERT_REQUIRED} if address.tls else False,
            heartbeat=HEARTBEAT_SECONDS,
            connect_timeout=CONNECT_SECONDS_MAX,
            transport=Transport,
            transport_options={
                "client_properties": {"connection_name": name},
                "socket_settings": {socket.TCP_USER_TIMEOUT: 0 if publishes else TCP_USER_TIMEOUT_MS},
                "made": self._made,
            },
        )
        self._transport = self._settings.transport

    @property
    def version(self) -> str:
        """The broker's."""
        return str(self._connection.server_properties.get("version", ""))

    def open(self) -> None:
        """Connect."""
        # What it reports there reaches the service as signals.
        _LOG.setLevel(logging.CRITICAL)
        self._transport.establish_connection()
        self._connection.sock.settimeout(STALL_SECONDS)
        self._poll.register(self._connection.sock, select.POLLIN)
        self.is_open = True

    def call_later(self, seconds: float, action: Action) -> None:
        """Do something later on the link's thread."""
        self._later(seconds, action)

    def listen(self, *, blocked: Callable[[str], None], unblocked: Action) -> None:
        """Say when an alarm blocks publishing, and when that is over."""
        self._connection.on_blocked, self._connection.on_unblocked = blocked, unblocked

    def channel(self, *, may_fail: bool = False) -> pyamqp.Channel:
        """Return a new channel; unless it may fail, the connection does not go on without it."""
        channel = self._transport.create_channel(self._connection)
        channel.auto_decode = False
        channel.may_fail = may_fail
        return channel

    def socket(self) -> int:
        """Return what to wait on."""
        return int(self._connection.sock.fileno())

    def read(self) -> None:
        """Take in what has come."""
        for _ in range(FRAMES_MAX):
            self._transport.drain_events(self._connection)
            if not self._has_more():
                return

    def beat(self) -> None:
        """Send a heartbeat if one is due; raise if none came."""
        self._transport.heartbeat_check(self._connection)

    def close(self) -> None:
        """Say goodbye, the channels first: so a single-active-consumer queue has all back before it goes on."""
        if self._connection is None:
            return
        # Not to be asked for its socket where it has none: py-amqp would connect again.
        if self.is_open and self._connection.connected:
            with suppress(*self.errors):
                self._connection.sock.settimeout(GOODBYE_SECONDS_MIN)
                for channel in [item for number, item in self._connection.channels.items() if number]:
                    channel.close()
                self._connection.close()
        self._connection.collect()

    def abort(self) -> None:
        """Shut the socket."""
        transport = self._connection and self._connection._transport  # noqa: SLF001  its property would connect again
        if transport and transport.sock is not None:
            with suppress(OSError):
                transport.sock.shutdown(socket.SHUT_RDWR)

    def _made(self, connection: Connection) -> None:
        self._connection = connection

    def _has_more(self) -> bool:
        """Return whether something can be read at once, from the socket or from what TLS has decrypted already."""
        sock = self._connection.sock
        return bool(isinstance(sock, ssl.SSLSocket) and sock.pending()) or bool(self._poll.poll(0))
