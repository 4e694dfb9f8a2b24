"""Which consumers this worker has, so that the broker hands it what it has slots for, and nothing more.

Every consumer ("tap") has prefetch 1: it holds at most one unsettled delivery, and while it does, no other follows. A
slot that is free has an idle tap on each queue. A short task keeps its tap: its ack lets the next message through, with
no change of consumers. A long one gives it up: cancel, wait until the broker took note, then ack, for an ack on a
living tap would bring a message that no slot is free for.

    OPEN -- cancel --> CLOSING -- the broker took note --> GONE (only while its delivery is unsettled)

What is handed back (REQUEUE) waits until no tap is CLOSING: RabbitMQ up to 4.0.2 loses a message that is requeued while
its consumer is cancelled, and an idle tap of ours would be handed the same message again at once. When the connection
is lost all deliveries are void and the broker's adapter consumes again through every tap that is OPEN.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum

import msgspec

from headway.broker.port import Delivery, Outcome
from headway.protocol.names import QueueName

from .values import CancelConsumer, Consume, Effect, Settle, Tap


class TapState(StrEnum):
    """Where a consumer stands."""

    OPEN = "open"
    CLOSING = "closing"
    GONE = "gone"


class _Tap(msgspec.Struct, kw_only=True):
    """A consumer. `then` is what becomes of its delivery once it is gone."""

    queue: QueueName
    state: TapState = TapState.OPEN
    then: Outcome | None = None


class Consumers:
    """All consumers of task queues of one boot."""

    def __init__(self, queues: Iterable[QueueName], emit: Callable[[Effect], None]) -> None:
        self._emit = emit
        self._taps: dict[Tap, _Tap] = {}
        self._idle: dict[QueueName, dict[Tap, None]] = {queue: {} for queue in queues}
        self._held: dict[Tap, Delivery] = {}
        self._closing = 0
        self._returning: list[Delivery] = []
        self._last = Tap(0)

    @property
    def is_quiet(self) -> bool:
        """Whether no consumer is left and nothing is on its way back."""
        return not self._taps and not self._returning

    def take(self, tap: Tap, delivery: Delivery) -> None:
        """Note that a consumer holds a delivery."""
        self._held[tap] = delivery
        self._idle[self._taps[tap].queue].pop(tap, None)

    def settle(self, tap: Tap, outcome: Outcome) -> None:
        """End the delivery of a consumer that stays as it is."""
        self._emit(Settle(delivery=self._held.pop(tap), outcome=outcome))
        self._rest(tap)

    def release(self, tap: Tap, outcome: Outcome) -> None:
        """Cancel a consumer, and end its delivery after that."""
        found = self._taps[tap]
        found.then = outcome
        if found.state is TapState.OPEN:
            self._cancel(tap)
        elif found.state is TapState.GONE:
            self._bury(tap, found)

    def ended(self, tap: Tap) -> None:
        """The broker took note of a cancel."""
        found = self._taps[tap]
        found.state = TapState.GONE
        self._closing -= 1
        if found.then is not None or tap not in self._held:
            self._bury(tap, found)
        self._hand_back()

    def void(self) -> None:
        """The connection is gone, and with it every delivery."""
        self._returning.clear()
        while self._held:
            self._rest(self._held.popitem()[0])

    def balance(self, *, free: int, spare: int) -> None:
        """Have at least `free` idle consumers on each queue, and at most `spare` more."""
        for queue, idle in self._idle.items():
            while len(idle) > free + spare:
                self._cancel(next(reversed(idle)))
            for _ in range(free - len(idle)):
                self._open(queue)

    def _open(self, queue: QueueName) -> None:
        self._last = Tap(self._last + 1)
        self._taps[self._last] = _Tap(queue=queue)
        self._idle[queue][self._last] = None
        self._emit(Consume(tap=self._last, queue=queue))

    def _rest(self, tap: Tap) -> None:
        """A consumer holds nothing any more: it waits for the next, unless it is gone."""
        found = self._taps[tap]
        if found.state is TapState.OPEN:
            self._idle[found.queue][tap] = None
        elif found.state is TapState.GONE:
            del self._taps[tap]

    def _cancel(self, tap: Tap) -> None:
        found = self._taps[tap]
        found.state = TapState.CLOSING
        self._closing += 1
        self._idle[found.queue].pop(tap, None)
        self._emit(CancelConsumer(tap=tap))

    def _bury(self, tap: Tap, found: _Tap) -> None:
        """End a consumer that is gone, and the delivery that it was released with, if that is not void."""
        del self._taps[tap]
        delivery = self._held.pop(tap, None)
        if delivery is None or found.then is None:
            return
        if found.then is Outcome.REQUEUE:
            self._returning.append(delivery)
            self._hand_back()
        else:
            self._emit(Settle(delivery=delivery, outcome=found.then))

    def _hand_back(self) -> None:
        while self._returning and not self._closing:
            self._emit(Settle(delivery=self._returning.pop(0), outcome=Outcome.REQUEUE))
