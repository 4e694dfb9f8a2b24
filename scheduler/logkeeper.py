"""The logkeeper's shell: carries output of tasks from the broker to the database, and removes what is old.

One thread. What is in the inbox is stored in one transaction and acked after it, so after a crash it is delivered
again, and each piece is stored once. A piece that cannot be read, or that is not of the attempt that it names, is
dropped with a warning: output decides nothing, and must not stop that of others.

- The broker is away: nothing arrives, the adapter reconnects; what was not acked is delivered again.
- The database is away: the batch is tried again with backoff; the queue on the broker grows up to its bound.
- `stop`: the batch in hand is finished; what is left goes to the next logkeeper.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from headway.broker.port import Broker, Connected, Delivered, Delivery, Disconnected, Failed, Signal, Sink
from headway.protocol.codec import decode_log_chunk
from headway.protocol.errors import InvalidName, MalformedMessage, Unavailable
from headway.protocol.log_chunk import LogChunk
from headway.protocol.names import check_name, log_key
from headway.protocol.topology import LOG_QUEUE

from .patience import try_patiently
from .store.engine import Engine
from .store.logs import add_chunks, remove_chunks

log = logging.getLogger(__name__)

BATCH_MAX: Final = 100
"""Pieces stored in one transaction: a few megabytes at most."""

PREFETCH: Final = 2 * BATCH_MAX
"""Unacked pieces: a batch is at hand while another is stored."""

REMOVE_SECONDS: Final = 60.0
"""Between two looks for what is old."""

IDLE_SECONDS: Final = 1.0
"""Longest wait for a signal, so that old output is removed while nothing arrives."""

CLOSE_SECONDS: Final = 5.0
"""How long the end waits for the broker."""


class Logkeeper:
    """One logkeeper process. `run` returns when it was asked to stop."""

    def __init__(self, engine: Engine, connect: Callable[[Sink], Broker], *, keep: timedelta) -> None:
        """Store in `engine` what comes over the broker that `connect` gives for a sink, and keep it that long."""
        self._inbox: queue.SimpleQueue[Signal | None] = queue.SimpleQueue()
        self._broker = connect(self._inbox.put)
        self._engine = engine
        self._keep = keep
        self._stopping = threading.Event()
        self._remove_at = 0.0

    def stop(self) -> None:
        """End after the batch in hand; may be called from a signal handler."""
        self._stopping.set()
        self._inbox.put(None)

    def run(self) -> None:
        """Serve until `stop`; raise what cannot be mended by trying again."""
        self._broker.consume(LOG_QUEUE, prefetch=PREFETCH)
        self._broker.open()
        log.info("logkeeper started, output is kept for %s", self._keep)
        try:
            while not self._stopping.is_set():
                self._step()
        except Unavailable as error:
            if not self._stopping.is_set():
                raise
            log.warning("stopped while waiting, nothing is lost: %s", error)
        finally:
            self._broker.close(timeout_seconds=CLOSE_SECONDS)
            log.info("logkeeper stopped")

    def _step(self) -> None:
        deliveries = self._take()
        if deliveries:
            try_patiently(lambda: self._store(deliveries), stopping=self._stopping)
            self._broker.ack_through(deliveries[-1])
        if time.monotonic() >= self._remove_at:
            try_patiently(self._remove_old, stopping=self._stopping)
            self._remove_at = time.monotonic() + REMOVE_SECONDS

    def _take(self) -> list[Delivery]:
        deliveries: list[Delivery] = []
        try:
            self._hear(self._inbox.get(timeout=IDLE_SECONDS), deliveries)
        except queue.Empty:
            return []
        while len(deliveries) < BATCH_MAX and not self._inbox.empty():
            self._hear(self._inbox.get_nowait(), deliveries)
        return deliveries

    def _hear(self, signal: Signal | None, deliveries: list[Delivery]) -> None:
        match signal:
            case Delivered(delivery):
                deliveries.append(delivery)
            case Connected():
                log.info("connected to the broker")
            case Disconnected(detail):
                log.warning("the broker is away: %s", detail)
            case Failed(error):
                raise error
            case _:
                pass

    def _store(self, deliveries: list[Delivery]) -> None:
        chunks = []
        for delivery in deliveries:
            try:
                chunks.append(read(delivery))
            except (MalformedMessage, InvalidName) as error:
                log.warning("output that user %s published is dropped: %s", delivery.user_id, error)
        for chunk in add_chunks(self._engine, chunks, datetime.now(UTC)):
            name = f"{chunk.task_id} of run {chunk.run_id}, try {chunk.try_number}"
            log.warning("output is dropped: no attempt of task %s has the token that came with it", name)

    def _remove_old(self) -> None:
        removed = 0
        for count in remove_chunks(self._engine, before=datetime.now(UTC) - self._keep):
            removed += count
            if self._stopping.is_set():
                break
        if removed:
            log.info("removed %d pieces of output, older than %s", removed, self._keep)


def read(delivery: Delivery) -> LogChunk:
    """Return the piece of output that a delivery is; raise MalformedMessage or InvalidName."""
    if delivery.user_id is None:
        raise MalformedMessage(detail="it carries no user_id, so nobody vouches for it")
    if delivery.routing_key != log_key(delivery.user_id):
        raise MalformedMessage(detail=f"its routing key {delivery.routing_key!r} is not that of its user")
    chunk = decode_log_chunk(delivery.body)
    if not chunk.size and not chunk.eof:
        raise MalformedMessage(detail="it stands for nothing")
    check_name("run id", chunk.run_id)
    check_name("task id", chunk.task_id)
    return chunk
