"""A worker that answers at once: asks for each task, and reports success the moment it is granted.

    python benchmarks/echo.py BROKER_URL QUEUE SLOTS

Speaks the real protocol over the real adapter, so that a benchmark measures the control plane and nothing else.
"""

import os
import queue
import signal
import sys
import uuid

from headway.broker.connecting import connect
from headway.broker.port import Connected, Delivered, Delivery, Outcome, Outgoing, Signal
from headway.protocol.codec import decode_order, decode_task, encode
from headway.protocol.kinds import kind_of
from headway.protocol.messages import Finished, Grant, Heartbeat, Message, Offline, Online, Started, Task
from headway.protocol.names import WORKERS_PARTITION, BootId, QueueName, WorkerName, event_key, partition_of
from headway.protocol.topology import EVENTS, control_queue, task_queue


class Echo:
    """One boot of such a worker."""

    def __init__(self, url: str, queue_name: str, slots: int) -> None:
        """Connect to nothing yet."""
        self._inbox: queue.SimpleQueue[Signal | None] = queue.SimpleQueue()
        self._worker = WorkerName(f"echo-{os.getpid()}")
        self._boot = BootId(uuid.uuid4().hex)
        self._broker = connect(url, name=f"headway worker {self._worker}", sink=self._inbox.put)
        self._queue, self._slots, self._seq = QueueName(queue_name), slots, 0
        self._asked: dict[str, tuple[Task, Delivery]] = {}

    def run(self) -> None:
        """Serve until SIGTERM."""
        signal.signal(signal.SIGTERM, lambda *_: self._inbox.put(None))
        self._broker.consume(control_queue(self._worker), prefetch=1000)
        self._broker.open()
        while not isinstance(self._inbox.get(), Connected):
            pass
        self._publish(self._about(Online), WORKERS_PARTITION)
        self._broker.consume(task_queue(self._queue), prefetch=self._slots)
        while (heard := self._next()) is not None:
            if isinstance(heard, Delivered):
                self._take(heard.delivery)
        self._publish(Offline(worker=self._worker, boot=self._boot, seq=self._seq), WORKERS_PARTITION)
        self._broker.close(timeout_seconds=5)

    def _next(self) -> Signal | None:
        while True:
            try:
                return self._inbox.get(timeout=5)
            except queue.Empty:
                self._publish(self._about(Heartbeat), WORKERS_PARTITION)

    def _take(self, delivery: Delivery) -> None:
        if delivery.queue.startswith("headway.q."):
            task = decode_task(delivery.body)
            self._asked[task.token] = task, delivery
            self._report(task, Started)
            return
        order = decode_order(delivery.body)
        self._broker.settle(delivery, Outcome.ACK)
        task, asked_by = self._asked.pop(order.token, (None, None))
        if task is not None and asked_by is not None:
            self._broker.settle(asked_by, Outcome.ACK)
            if isinstance(order, Grant):
                self._report(task, Finished, exit_code=0)

    def _report(self, task: Task, kind: type[Message], **fields: object) -> None:
        self._seq += 1
        message = kind(
            dag_id=task.dag_id,
            run_id=task.run_id,
            task_id=task.task_id,
            map_index=task.map_index,
            try_number=task.try_number,
            token=task.token,
            worker=self._worker,
            boot=self._boot,
            seq=self._seq,
            **fields,
        )
        self._publish(message, partition_of(task.dag_id))

    def _about(self, kind: type[Message]) -> Message:
        self._seq += 1
        return kind(
            worker=self._worker,
            boot=self._boot,
            seq=self._seq,
            host="benchmark",
            pid=os.getpid(),
            queues=(self._queue,),
            slots=self._slots,
            lease_seconds=300.0,
            heartbeat_seconds=5.0,
            headway_version="benchmark",
        )

    def _publish(self, message: Message, partition: int) -> None:
        self._broker.publish(
            Outgoing(
                message_id=uuid.uuid4().hex,
                exchange=EVENTS,
                routing_key=event_key(self._broker.user, kind_of(message), partition),
                kind=kind_of(message),
                body=encode(message),
            )
        )


if __name__ == "__main__":
    Echo(sys.argv[1], sys.argv[2], int(sys.argv[3])).run()
