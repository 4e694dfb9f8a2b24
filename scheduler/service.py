"""The scheduler's shell: carries events from the broker to the core and back, and decides nothing.

One thread takes what the broker's sink has put into the inbox, in batches: up to 500 deliveries that are there already,
never waiting for more. A batch is decided and committed, then its orders, declarations and outbox rows leave, then its
deliveries are acked, all with one ack. Nothing is acked before it is committed, and nothing leaves before either.

- The broker is away: nothing arrives, the outbox grows, the adapter reconnects; what is unconfirmed is published again.
- The database is away: the batch is kept and tried again with backoff; its deliveries stay unacked.
- A commit whose answer was lost, a scheduler that died: its rows stand in the outbox, which is looked at again.
- `stop`: the batch in hand is finished; unacked events go to the next scheduler.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import msgspec

from headway.broker.port import (
    Blocked,
    Broker,
    Confirmed,
    Connected,
    ConsumerGone,
    Delivered,
    Delivery,
    Disconnected,
    Failed,
    QueueDepth,
    Signal,
    Sink,
    Unblocked,
    Unconfirmed,
)
from headway.protocol.errors import QueueMismatch, Unavailable
from headway.protocol.messages import LeaseTimer, Missing, TaskTimer
from headway.protocol.names import QueueName
from headway.protocol.topology import ANY_QUEUE, EVENT_QUEUES, task_queue, task_queue_name

from .census import Census
from .clock import Clock
from .decider import Committed, Decider
from .intake import Arrival, Unreadable, read
from .patience import try_patiently
from .relay import Relay, event_message
from .scanner import Scanner
from .store.store import Store

T = TypeVar("T")

log = logging.getLogger(__name__)

BATCH_MAX: Final = 500
"""Events decided in one transaction (DESIGN 8)."""

PREFETCH: Final = 1_000
"""Unacked events of one queue: two batches, so that one is at hand while the other is decided."""

IDLE_SECONDS: Final = 0.1
"""Longest wait for a signal, so that confirmed rows are removed and refused messages published again in time."""

CONFIRMED_MIN: Final = 200
"""Confirmed rows of the outbox that are removed while there is other work; fewer wait for a quiet moment, so that no
event waits for a transaction that only cleans up. A crash before it publishes them once more."""

ACK_MIN: Final = 100
"""Committed events that are acked together while there is other work. After a crash before it they are delivered again,
and each is ignored as a double."""

OUTBOX_SECONDS: Final = 5.0
"""Between two looks into the outbox for rows that nobody publishes."""

CLOSE_SECONDS: Final = 5.0
"""Wait for outstanding confirms at the end; what is not confirmed by then stays in the outbox."""


class _Taken(msgspec.Struct):
    """What one look into the inbox gave."""

    arrivals: list[Arrival] = []
    unreadable: list[Unreadable] = []
    last: Delivery | None = None
    idle: bool = False


class Scheduler:
    """One scheduler process. `run` returns when it was asked to stop."""

    def __init__(
        self,
        store: Store,
        connect: Callable[[Sink], Broker],
        make_scanner: Callable[[Broker], Scanner] | None = None,
        *,
        schedules: bool = True,
    ) -> None:
        """Decide upon `store`, over the broker that `connect` gives for a sink; a scanner publishes DAGs through it.

        Without `schedules` no DAG is due by itself.
        """
        self._inbox: queue.SimpleQueue[Signal | None] = queue.SimpleQueue()
        self._broker = connect(self._inbox.put)
        self._decider = Decider(store, user=self._broker.user)
        self._relay = Relay(self._broker)
        self._clock = Clock(store, user=self._broker.user, publish=self._broker.publish, schedules=schedules)
        self._scanner = make_scanner(self._broker) if make_scanner is not None else None
        self._census = Census(store, self._broker.measure)
        self._store = store
        self._stopping = threading.Event()
        self._connected = False
        self._has_missed = False
        self._in_doubt = False  # whether the outbox may hold rows of ours that we do not know of
        self._next_look = 0.0
        self._to_ack: Delivery | None = None
        self._unacked = 0

    def stop(self) -> None:
        """End after the batch in hand; may be called from a signal handler."""
        self._stopping.set()
        self._inbox.put(None)

    def run(self) -> None:
        """Serve until `stop`; raise what cannot be mended by trying again (a refused login, a foreign schema)."""
        try:
            self._patiently(self._store.forget_faults)
            rooms = self._patiently(self._store.set_pools)
            self._patiently(lambda: self._decider.look(rooms))
            self._relay.post(self._patiently(self._store.unsent))
            self._serve()
        except Unavailable as error:
            if not self._stopping.is_set():
                raise
            log.warning("stopped while waiting, nothing is lost: %s", error)

    def _serve(self) -> None:
        for event_queue in EVENT_QUEUES:
            self._broker.consume(event_queue, prefetch=PREFETCH)
        self._declare(self._store.limits)  # before a worker does that knows of none
        self._broker.open()
        self._clock.start()
        if self._scanner is not None:
            self._scanner.start()
        log.info("scheduler started")
        try:
            while not self._stopping.is_set():
                self._step()
        finally:
            self._clock.stop()
            if self._scanner is not None:
                self._scanner.stop()
            self._ack(_Taken(idle=True))
            self._broker.close(timeout_seconds=CLOSE_SECONDS)
            log.info("scheduler stopped")

    def _step(self) -> None:
        taken = self._take()
        confirmed = self._relay.confirmed(at_least=1 if taken.idle else CONFIRMED_MIN)
        if taken.arrivals or taken.unreadable or confirmed:
            committed = self._patiently(
                lambda: self._decider.process(taken.arrivals, unreadable=taken.unreadable, confirmed=confirmed)
            )
            self._send(committed)
        self._ack(taken)
        self._look_into_outbox()
        self._relay.publish_again(connected=self._connected)
        if self._connected:
            self._patiently(lambda: self._census.look(time.monotonic()))

    def _look_into_outbox(self) -> None:
        """Publish rows that nobody publishes: our own at once, and after a while those of a scheduler that is gone."""
        now = time.monotonic()
        if not self._connected or (now < self._next_look and not self._in_doubt):
            return
        rows = self._patiently(self._store.unsent)
        if self._in_doubt:
            self._relay.post(rows)
        self._relay.adopt(rows)
        self._in_doubt, self._next_look = False, now + OUTBOX_SECONDS
        full = self._relay.take_full()
        self._patiently(lambda: self._store.note_full(full))

    def _ack(self, taken: _Taken) -> None:
        """Ack what is committed: many at once, or when it is quiet, since each ack is a command to a quorum queue.

        At once where somebody waits for it.
        """
        if taken.last is not None:
            self._to_ack = taken.last
            self._unacked += len(taken.arrivals) + len(taken.unreadable)
        if self._to_ack is not None and (
            taken.idle or self._unacked >= ACK_MIN or self._broker.capabilities.confirms_events == "acked"
        ):
            self._broker.ack_through(self._to_ack)
            self._to_ack, self._unacked = None, 0

    def _take(self) -> _Taken:
        taken = _Taken()
        try:
            self._hear(self._inbox.get(timeout=IDLE_SECONDS), taken)
        except queue.Empty:
            taken.idle = True
        while len(taken.arrivals) + len(taken.unreadable) < BATCH_MAX and not self._inbox.empty():
            self._hear(self._inbox.get_nowait(), taken)
        return taken

    def _hear(self, signal_: Signal | None, taken: _Taken) -> None:
        match signal_:
            case Delivered(delivery):
                self._read(delivery, taken)
            case Confirmed() | Unconfirmed():
                self._relay.hear(signal_)
            case Connected():
                self._in_doubt = True
                self._greet()
            case Disconnected(detail):
                self._connected = False
                self._census.forget()
                self._clock.listen(connected=False)
                log.warning("the broker is away: %s", detail)
            case Blocked(detail):
                self._clock.listen(connected=False)  # nor are workers heard, whose heartbeats it does not take either
                log.warning("the broker has an alarm and takes nothing: %s", detail)
            case Unblocked():
                self._clock.listen(connected=True)
                log.info("the broker's alarm is over")
            case Failed(error):
                self._do_without(error)
            case QueueDepth():
                self._miss(self._census.hear(signal_))
            case ConsumerGone() | None:
                pass

    def _read(self, delivery: Delivery, taken: _Taken) -> None:
        one = read(delivery, own_user=self._broker.user)
        if isinstance(one, Unreadable):
            log.warning("a message of %s is quarantined: %s", delivery.queue, one.reason)
            taken.unreadable.append(one)
        else:
            taken.arrivals.append(self._with_absence(one))
        taken.last = delivery

    def _with_absence(self, arrival: Arrival) -> Arrival:
        """Let a timer know of an absence that came to light after its publishing, or by it."""
        event = arrival.event
        if not isinstance(event, TaskTimer | LeaseTimer):
            return arrival
        since = max(event.listening_since, self._clock.listening_since())
        return msgspec.structs.replace(arrival, event=msgspec.structs.replace(event, listening_since=since))

    def _greet(self) -> None:
        self._connected = True
        if not self._broker.capabilities.is_durable and not self._has_missed:
            self._miss_all()
        self._clock.listen(connected=True)
        if self._scanner is not None:
            self._scanner.look()
        log.info("connected to the broker")

    def _miss_all(self) -> None:
        """What was in a broker that keeps nothing ended with the process before us: say so, once, of each message."""
        self._has_missed = True
        self._miss(self._patiently(self._store.queued))

    def _miss(self, events: Iterable[Missing]) -> None:
        for event in events:
            self._broker.publish(event_message(self._broker.user, event))

    def _send(self, committed: Committed) -> None:
        if committed.queues:
            self._declare(QueueName(name) for name in committed.queues)
        self._relay.order(committed.orders)
        self._relay.post(committed.outbox)
        self._clock.expect(committed.next_due)

    def _declare(self, queues: Iterable[QueueName]) -> None:
        limits = self._store.limits
        self._broker.declare(*(task_queue(queue, limits.get(queue, ANY_QUEUE)) for queue in queues))

    def _do_without(self, error: Exception) -> None:
        """Go on without a task queue that exists with other arguments; raise any other error, for it is the end."""
        name = str(error.fields.get("queue")) if isinstance(error, QueueMismatch) else ""
        if not name.startswith(task_queue_name("")):
            raise error
        log.error("%s Until then its tasks wait; all others go on.", error)
        self._patiently(lambda: self._store.note_fault(QueueName(name.removeprefix(task_queue_name(""))), str(error)))

    def _patiently(self, attempt: Callable[[], T]) -> T:
        """Try again for as long as the database is away, or until we are to stop."""

        def attempt_in_doubt() -> T:
            try:
                return attempt()
            except Unavailable:
                self._in_doubt = True  # it may have been committed all the same: tried again, it comes to nothing
                raise

        return try_patiently(attempt_in_doubt, stopping=self._stopping)
