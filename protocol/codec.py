"""Bytes to messages and back. JSON only; whatever does not fit raises MalformedMessage, and nothing else.

A reader ignores unknown fields; it refuses unknown kinds and versions above the one it knows, because guessing at the
meaning of a message is how state gets lost.
"""

from typing import Any, Final, TypeVar

import msgspec

from .dag import Dag
from .errors import MalformedMessage
from .kinds import Event
from .limits import DAG_BYTES_MAX, MESSAGE_BYTES_MAX
from .log_chunk import LogChunk
from .messages import AttemptMessage, Message, Task, TaskAddress, WorkerOrder

M = TypeVar("M", bound=Message)

_encoder: Final = msgspec.json.Encoder()
_events: Final[msgspec.json.Decoder[Event]] = msgspec.json.Decoder(Event)
_orders: Final[msgspec.json.Decoder[WorkerOrder]] = msgspec.json.Decoder(WorkerOrder)
_tasks: Final = msgspec.json.Decoder(Task)
_addresses: Final = msgspec.json.Decoder(TaskAddress)
_chunks: Final = msgspec.json.Decoder(LogChunk)
_dags: Final = msgspec.json.Decoder(Dag)

_ADDRESS: Final = tuple(name for name in AttemptMessage.__struct_fields__ if name != "v")

_NOT_READABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""All that msgspec raises for bytes that somebody else wrote; the last one for a thousand brackets in a row."""


def encode(message: Message | Dag) -> bytes:
    """Write a message or a DAG value as JSON in UTF-8."""
    return _encoder.encode(message)


def decode_event(body: bytes) -> Event:
    """Read an event; raise MalformedMessage."""
    return _decode(_events, body)


def decode_order(body: bytes) -> WorkerOrder:
    """Read an order to a worker; raise MalformedMessage."""
    return _decode(_orders, body)


def decode_task(body: bytes) -> Task:
    """Read a task message; raise MalformedMessage."""
    return _decode(_tasks, body)


def decode_address(body: bytes) -> TaskAddress:
    """Read only which attempt a task message is about, whatever else it holds; raise MalformedMessage."""
    return _decode(_addresses, body)


def decode_log_chunk(body: bytes) -> LogChunk:
    """Read a piece of output; raise MalformedMessage."""
    return _decode(_chunks, body)


def address_of(source: object) -> dict[str, Any]:
    """Return the fields that address an attempt, of a message about it or of its row, for another message about it."""
    return {name: getattr(source, name) for name in _ADDRESS}


def decode_dag(body: bytes) -> Dag:
    """Read a DAG value; raise MalformedMessage."""
    if len(body) > DAG_BYTES_MAX:
        raise MalformedMessage(detail=f"{len(body)} bytes, and a DAG value may have {DAG_BYTES_MAX}")
    try:
        body.decode()
        return _dags.decode(body)
    except _NOT_READABLE as error:
        raise MalformedMessage(detail=str(error)) from error


def _decode(decoder: msgspec.json.Decoder[M], body: bytes) -> M:
    if len(body) > MESSAGE_BYTES_MAX:
        raise MalformedMessage(detail=f"{len(body)} bytes, and a message may have {MESSAGE_BYTES_MAX}")
    try:
        body.decode()  # msgspec looks only at the strings that it hands out
        message = decoder.decode(body)
    except _NOT_READABLE as error:
        raise MalformedMessage(detail=str(error)) from error
    if not 1 <= message.v <= message.version_max:
        raise MalformedMessage(detail=f"version {message.v} of a kind known up to version {message.version_max}")
    return message
