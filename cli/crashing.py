"""A store and a broker that pass crash points (crash_points.py); otherwise they are what they wrap."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast

from headway.broker.port import Broker, Confirmed, Delivered, Delivery, Outcome, Outgoing, Signal, Sink
from headway.protocol.names import QueueName
from headway.protocol.topology import QueueLimits, task_queue_name
from headway.scheduler.store.engine import Engine
from headway.scheduler.store.store import Batch, Store

from .crash_points import CrashAt, CrashPoint, Fuse

_ON_PUBLISH: Final = {"started": CrashPoint.BEFORE_STARTED, "finished": CrashPoint.BEFORE_FINISHED}
_ON_CONFIRM: Final = {"task": CrashPoint.AFTER_PUBLISH, "finished": CrashPoint.AFTER_FINISHED}


class CrashingStore(Store):
    """A store whose transactions are crash points, if they recorded an event."""

    def __init__(
        self, engine: Engine, limits: Mapping[QueueName, QueueLimits], at: CrashAt, *, pools: Mapping[str, int]
    ) -> None:
        """Take what a store takes."""
        super().__init__(engine, limits, pools=pools)
        self._fuse = Fuse(at)

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """Open one transaction, and pass a point on each side of its commit."""
        with super().batch() as batch:
            before = dict(batch.sequences)
            yield batch
            has_recorded = batch.sequences != before
            if has_recorded:
                self._fuse.passes(CrashPoint.BEFORE_COMMIT)
        if has_recorded:
            self._fuse.passes(CrashPoint.AFTER_COMMIT)


class CrashingBroker:
    """A broker whose calls and signals are crash points."""

    def __init__(self, connect: Callable[[Sink], Broker], sink: Sink, at: CrashAt) -> None:
        self._fuse = Fuse(at)
        self._sink = sink
        self._awaited: dict[str, CrashPoint] = {}
        self._granted: set[str | None] = set()
        self._has_acked = False
        self._broker = connect(self._hear)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a broker has
        return getattr(self._broker, name)

    def publish(self, message: Outgoing) -> None:
        """Publish a message."""
        if message.kind in _ON_PUBLISH:
            self._fuse.passes(_ON_PUBLISH[message.kind])
        if message.kind in _ON_CONFIRM:
            self._awaited[message.message_id] = _ON_CONFIRM[message.kind]
        self._broker.publish(message)

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """End one delivery."""
        if delivery.queue.startswith(task_queue_name("")) and outcome is Outcome.ACK:
            self._fuse.passes(CrashPoint.BEFORE_TASK_ACK)
        self._broker.settle(delivery, outcome)

    def ack_through(self, delivery: Delivery) -> None:
        """Ack this delivery and all unsettled ones before it."""
        self._fuse.passes(CrashPoint.BEFORE_ACK)
        self._broker.ack_through(delivery)
        self._has_acked = True

    def _hear(self, signal: Signal) -> None:
        if self._has_acked:
            self._has_acked = False
            self._fuse.passes(CrashPoint.AFTER_ACK)
        match signal:
            case Confirmed(message_id) if message_id in self._awaited:
                self._fuse.passes(self._awaited.pop(message_id))
            case Delivered(delivery) if delivery.kind == "grant" and delivery.message_id not in self._granted:
                self._granted.add(delivery.message_id)  # each repetition of `started` brings the same grant again
                self._fuse.passes(CrashPoint.AFTER_GRANT)
            case _:
                pass
        self._sink(signal)


def crashing(connect: Callable[[Sink], Broker], at: CrashAt) -> Callable[[Sink], Broker]:
    """Return what connects as `connect` does, through crash points."""
    return lambda sink: cast("Broker", CrashingBroker(connect, sink, at))
