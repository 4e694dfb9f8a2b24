"""For the command line: connect, do one thing, wait for its end, disconnect."""

import queue
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from headway.protocol.errors import BrokerUnavailable

from . import port
from .connecting import Transport
from .port import Blocked, Confirmed, Connected, Disconnected, Failed, Outgoing, QueueDepth, Unconfirmed

_NAME: Final = "headway command"
_UNCONFIRMED: Final = {
    "returned": "no queue takes this message: is a scheduler running with this broker?",
    "refused": "the queue is full",
}


class _Conversation:
    """A broker and what it says, up to a deadline."""

    def __init__(self, transport: Transport, *, timeout_seconds: float) -> None:
        self._signals: queue.SimpleQueue[port.Signal] = queue.SimpleQueue()
        self._deadline = time.monotonic() + timeout_seconds
        self._url = transport.url
        self._trouble = "it did not answer in time"
        self.broker: port.Broker = transport.connect(_NAME, self._signals.put)

    def signals(self) -> Iterator[port.Signal]:
        """Yield what the broker says; raise what it failed of, or BrokerUnavailable at the deadline."""
        while True:
            try:
                signal = self._signals.get(timeout=max(0.0, self._deadline - time.monotonic()))
            except queue.Empty:
                raise self.unavailable(self._trouble) from None
            match signal:
                case Failed(error=error):
                    raise error
                case Disconnected(detail=detail) | Blocked(detail=detail):
                    self._trouble = detail
                case _:
                    pass
            yield signal

    def unavailable(self, detail: str) -> BrokerUnavailable:
        """Return the error to raise."""
        return BrokerUnavailable(url=self._url, detail=detail)


@contextmanager
def _conversation(transport: Transport, *, timeout_seconds: float) -> Iterator[_Conversation]:
    conversation = _Conversation(transport, timeout_seconds=timeout_seconds)
    conversation.broker.open()
    try:
        yield conversation
    finally:
        conversation.broker.close(timeout_seconds=0.0)


def publish_once(transport: Transport, message: Outgoing, *, timeout_seconds: float) -> None:
    """Publish one message and return when the broker has it.

    A message that was lost on the way is published again, under the same id, until the time is over. Raises
    BrokerUnavailable or BrokerRefused.
    """
    with _conversation(transport, timeout_seconds=timeout_seconds) as conversation:
        for signal in conversation.signals():
            match signal:
                case Connected():
                    conversation.broker.publish(message)
                case Confirmed():
                    return
                case Unconfirmed(reason="returned" | "refused" as reason):
                    raise conversation.unavailable(_UNCONFIRMED[reason])
                case _:
                    pass


def measure_once(transport: Transport, queues: Iterable[str], *, timeout_seconds: float) -> list[QueueDepth]:
    """Return how deep these queues are (broker's names), in their order; raises as `publish_once` does."""
    names = list(queues)
    depths: dict[str, QueueDepth] = {}
    with _conversation(transport, timeout_seconds=timeout_seconds) as conversation:
        for signal in conversation.signals():
            match signal:
                case Connected():
                    for name in names:
                        conversation.broker.measure(name)
                case QueueDepth(queue=name):
                    depths[name] = signal
                case _:
                    pass
            if len(depths) == len(set(names)):
                break
    return [depths[name] for name in names]
