"""The worker's side of the broker: signals become the core's inputs, its effects become calls of the port.

The edge of this room: what was written by others is read and checked here, and nothing behind it doubts a name again.
Names become names of files, so a task message with an illegal one is malformed, however it got past the scheduler.
"""

import logging
import re
from collections.abc import Mapping
from typing import Final, assert_never

from headway.broker.port import (
    Blocked,
    Broker,
    Confirmed,
    Connected,
    ConsumerGone,
    ConsumerId,
    Delivered,
    Delivery,
    Disconnected,
    Failed,
    Outcome,
    Outgoing,
    QueueDepth,
    Signal,
    Unblocked,
    Unconfirmed,
)
from headway.protocol.codec import decode_order, decode_task, encode
from headway.protocol.errors import InvalidName, MalformedMessage, QueueMismatch
from headway.protocol.kinds import kind_of
from headway.protocol.messages import AttemptMessage, Message, Task
from headway.protocol.names import WORKERS_PARTITION, QueueName, WorkerName, check_name, event_key, partition_of
from headway.protocol.topology import ANY_QUEUE, EVENTS, QueueLimits, control_queue, task_queue, task_queue_name

from .core.values import ConsumerEnded, Input, OrderArrived, Tap, TaskArrived

_log = logging.getLogger(__name__)

_CONTROL_PREFETCH: Final = 100
"""Orders on their way at a time; each is acked as it is read, and there is at most one for each slot that asks."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


class BrokerLink:
    """A worker's own queue, its task consumers, and its events. Used by one thread."""

    def __init__(self, broker: Broker, worker: WorkerName, limits: Mapping[QueueName, QueueLimits]) -> None:
        self._broker = broker
        self._limits = limits
        self._consumers: dict[Tap, ConsumerId] = {}
        self._taps: dict[ConsumerId, Tap] = {}
        # Before the connection is made: `Connected` then says that the queue, and so the name, is ours.
        self._control = broker.consume(control_queue(worker), prefetch=_CONTROL_PREFETCH)

    def hear(self, signal: Signal) -> Input | None:
        """Return what a signal means to the core, if anything; raise the error of one that nothing can mend."""
        match signal:
            case Delivered(delivery=delivery):
                return self._read_order(delivery) if delivery.consumer == self._control else self._read_task(delivery)
            case ConsumerGone(consumer=consumer):
                return self._end_consumer(consumer)
            case Connected() | Confirmed() | Unconfirmed():
                return signal
            case Disconnected() | Blocked() | Unblocked():
                _log.warning("%s", _SENTENCES[type(signal)].format(getattr(signal, "detail", "")))
                return signal
            case Failed(error=QueueMismatch() as error) if _is_of_tasks(error):
                _log.error("%s Until then this worker takes no tasks from it; all other queues go on.", error)
                return None
            case Failed(error=error):
                raise error
            case QueueDepth():
                return None
            case _:
                assert_never(signal)

    def publish(self, message_id: str, event: Message) -> None:
        """Publish an event to the partition that it belongs to."""
        kind = kind_of(event)
        partition = partition_of(event.dag_id) if isinstance(event, AttemptMessage) else WORKERS_PARTITION
        self._broker.publish(
            Outgoing(
                message_id=message_id,
                exchange=EVENTS,
                routing_key=event_key(self._broker.user, kind, partition),
                kind=kind,
                body=encode(event),
            )
        )

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """End a delivery."""
        self._broker.settle(delivery, outcome)

    def consume(self, tap: Tap, queue: QueueName) -> None:
        """Take tasks, one at a time."""
        consumer = self._broker.consume(task_queue(queue, self._limits.get(queue, ANY_QUEUE)), prefetch=1)
        self._consumers[tap] = consumer
        self._taps[consumer] = tap

    def cancel(self, tap: Tap) -> None:
        """Take no more through a consumer."""
        self._broker.cancel(self._consumers[tap])

    def _end_consumer(self, consumer: ConsumerId) -> Input | None:
        tap = self._taps.pop(consumer, None)
        if tap is None:
            return None
        del self._consumers[tap]
        return ConsumerEnded(tap=tap)

    def _read_order(self, delivery: Delivery) -> Input | None:
        """Read an order. One that cannot be read is gone: the scheduler repeats what it means."""
        self._broker.settle(delivery, Outcome.ACK)
        try:
            return OrderArrived(order=decode_order(delivery.body))
        except MalformedMessage as error:
            _log.warning("An order that cannot be read was ignored: %s", error)
            return None

    def _read_task(self, delivery: Delivery) -> Input | None:
        """Read a task message. One that cannot be read goes to the dead letters, and so back to the scheduler."""
        tap = self._taps.get(delivery.consumer)
        if tap is None:
            self._broker.settle(delivery, Outcome.REQUEUE)
            return None
        try:
            task = _checked(decode_task(delivery.body))
        except (MalformedMessage, InvalidName) as error:
            _log.warning("A task message from %s that cannot be read was rejected: %s", delivery.queue, error)
            self._broker.settle(delivery, Outcome.REJECT)
            return None
        return TaskArrived(tap=tap, delivery=delivery, task=task)


_SENTENCES: Final[dict[type[Signal], str]] = {
    Disconnected: "There is no connection to the broker ({}); what runs goes on",
    Blocked: "The broker takes no messages for now ({}); what runs goes on",
    Unblocked: "The broker takes messages again",
}


def _is_of_tasks(error: QueueMismatch) -> bool:
    return str(error.fields.get("queue", "")).startswith(task_queue_name(""))


def _checked(task: Task) -> Task:
    """Return the task if every name in it is legal; raise InvalidName or MalformedMessage."""
    check_name("DAG id", task.dag_id)
    check_name("run id", task.run_id)
    check_name("task id", task.task_id)
    for name in task.env:
        check_name("environment variable", name)
    for name in task.secrets:
        check_name("secret", name)
    for name in task.context.params:
        check_name("parameter", name)
    if not _TOKEN.fullmatch(task.token):
        raise MalformedMessage(detail="its token has other characters than letters, digits, '_' and '-'")
    return task
