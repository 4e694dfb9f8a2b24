"""What our connections have in common: their parameters, and that they write in few pieces."""

import ssl
from collections.abc import Callable
from typing import Final

import pika  # type: ignore[import-untyped]
from pika.adapters.select_connection import SelectConnection  # type: ignore[import-untyped]
from pika.channel import Channel  # type: ignore[import-untyped]

from ..address import Address
from ..timing import BLOCKED_SECONDS_MAX, CONNECT_SECONDS_MAX, HEARTBEAT_SECONDS, TCP_USER_TIMEOUT_MS

PIECE_BYTES: Final = 65_536
"""What is written at once at most: larger pieces are copied more often, as the socket takes them in parts."""

_HANDSHAKE_SECONDS_MAX: Final = 15.0


def parameters(address: Address, *, name: str, publishes: bool) -> pika.ConnectionParameters:
    """Return pika's parameters of one connection, which RabbitMQ's management shows under `name`."""
    return pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=address.vhost,
        credentials=pika.PlainCredentials(address.user, address.password),
        ssl_options=pika.SSLOptions(ssl.create_default_context(), address.host) if address.tls else None,
        heartbeat=HEARTBEAT_SECONDS,
        blocked_connection_timeout=BLOCKED_SECONDS_MAX if publishes else None,
        tcp_options=None if publishes else {"TCP_USER_TIMEOUT": TCP_USER_TIMEOUT_MS},
        connection_attempts=1,
        socket_timeout=CONNECT_SECONDS_MAX,
        stack_timeout=_HANDSHAKE_SECONDS_MAX,
        client_properties={"connection_name": name},
    )


class UnbrokenChannel(Channel):  # type: ignore[misc]
    """A channel that closes in one step.

    pika first cancels each consumer, and at that moment the next consumer of a single-active-consumer queue begins,
    with what is behind the deliveries that we hold; those go back only when the channel ends, and come too late. A
    channel that ends together with its consumers gives them back first.
    """

    def close(self, reply_code: int = 0, reply_text: str = "Normal shutdown") -> None:
        """Close the channel; its consumers end with it."""
        self._consumers.clear()
        super().close(reply_code, reply_text)


class Connection(SelectConnection):  # type: ignore[misc]
    """A connection that can hold back what it writes, and send it in few pieces.

    pika sends each frame by a system call, three for a message, and the interpreter's lock changes hands each time.
    """

    _held: list[bytes] | None = None
    _held_bytes = 0

    def _create_channel(self, channel_number: int, on_open_callback: Callable[[Channel], None]) -> Channel:
        return UnbrokenChannel(self, channel_number, on_open_callback)

    def abort(self) -> None:
        """Close the socket without a goodbye, for a broker that does not answer. One that is opening needs none."""
        if self._opened:
            self._adapter_disconnect_stream()

    def hold(self) -> None:
        """Send nothing until `release`, or until there is much to send."""
        self._held = []

    def release(self) -> None:
        """Send what was held back."""
        self._send_held()
        self._held = None

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._held is None:
            super()._adapter_emit_data(data)
            return
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > PIECE_BYTES:
            self._send_held()

    def _send_held(self) -> None:
        if self._held:
            super()._adapter_emit_data(b"".join(self._held))
            self._held.clear()
            self._held_bytes = 0
