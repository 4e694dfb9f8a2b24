"""From a delivery to an event: what it says, who said it, and whether that may be believed.

The broker's word is the exchange, the routing key and a `user_id` that is set; headers and body are anybody's. An event
must come through headway.events, carry a user, and be published under the key that names this user, its kind and its
partition: RabbitMQ's topic permissions then say who may send what. A task message that came back came through
headway.dead, where only the broker and the scheduler write, or still names headway.tasks, when no queue took it.
"""

from typing import Final

import msgspec

from headway.broker.port import Delivery
from headway.protocol import topology
from headway.protocol.codec import address_of, decode_address, decode_event
from headway.protocol.errors import MalformedMessage
from headway.protocol.kinds import ROLE_OF_KIND, Event, Role, kind_of
from headway.protocol.messages import DeliveryLimit, Expired, Message, Rejected, Unroutable
from headway.protocol.names import WORKERS_PARTITION, QueueName, event_key, partition_of
from headway.protocol.topology import task_queue_name

_RETURNS: Final[dict[str, type[Expired | Rejected | DeliveryLimit]]] = {
    "expired": Expired,
    "rejected": Rejected,
    "delivery_limit": DeliveryLimit,
}


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """An event that may be decided."""

    event: Event
    partition: int
    message_id: str
    user_id: str
    origin: Role


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that cannot be decided, with the reason."""

    delivery: Delivery
    reason: str


def read(delivery: Delivery, *, own_user: str) -> Arrival | Unreadable:
    """Return the event that a delivery is, or why it is none. `own_user` is the scheduler's user on the broker."""
    if delivery.user_id is None:
        return Unreadable(delivery=delivery, reason="it carries no user_id, so nobody vouches for it")
    try:
        match delivery.exchange:
            case topology.EVENTS:
                event = decode_event(delivery.body)
            case topology.DEAD | topology.TASKS if delivery.user_id == own_user:
                event = _returned(delivery)
            case _:
                return Unreadable(
                    delivery=delivery, reason=f"exchange {delivery.exchange!r} is not for events of others"
                )
    except MalformedMessage as error:
        return Unreadable(delivery=delivery, reason=str(error))
    partition = partition_of_event(event)
    doubt = _doubt(delivery, event, event_key(delivery.user_id, kind_of(event), partition))
    if doubt is not None:
        return Unreadable(delivery=delivery, reason=doubt)
    return Arrival(
        event=event,
        partition=partition,
        message_id=delivery.message_id or "",
        user_id=delivery.user_id,
        origin=ROLE_OF_KIND[type(event)],
    )


def _doubt(delivery: Delivery, event: Event, key: str) -> str | None:
    """Say why an event that can be read may not be decided: `key` is the one under which it should have come."""
    role = ROLE_OF_KIND[type(event)]
    if role == "operator" and not delivery.message_id:
        return "it carries no message_id, by which a double would be known"
    if delivery.exchange == topology.EVENTS and role == "broker":
        return "only the broker says that, and it says so by handing a task back"
    if delivery.exchange == topology.EVENTS and delivery.routing_key != key:
        return f"its routing key {delivery.routing_key!r} is not that of its content"
    return None


def partition_of_event(event: Message) -> int:
    """Return the partition that decides an event: that of its DAG, or the one for workers."""
    dag_id = getattr(event, "dag_id", None)
    return WORKERS_PARTITION if dag_id is None else partition_of(dag_id)


def _returned(delivery: Delivery) -> Event:
    """Return what became of a task message of ours."""
    address = decode_address(delivery.body)
    if delivery.exchange == topology.TASKS:
        return Unroutable(**address_of(address), queue=queue_of_key(delivery.routing_key))
    reason, queue = _last_death(delivery.headers)
    kind = _RETURNS.get(reason)
    if kind is None or delivery.exchange != topology.DEAD:
        raise MalformedMessage(detail=f"it came back for the reason {reason!r}, which is not known")
    return kind(**address_of(address), queue=QueueName(queue.removeprefix(task_queue_name(""))))


def queue_of_key(routing_key: str) -> QueueName:
    """Return the queue that a task is published to; raise MalformedMessage for a key of anything else."""
    words = routing_key.split(".")
    if len(words) != len(("task", "queue", "partition")):
        raise MalformedMessage(detail=f"its routing key {routing_key!r} is not that of a task")
    return QueueName(words[1])


def _last_death(headers: dict[str, object]) -> tuple[str, str]:
    """Return reason and queue of the newest x-death entry; RabbitMQ before 3.13 has no x-last-death headers."""
    deaths = headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict):
        return str(deaths[0].get("reason")), str(deaths[0].get("queue"))
    return "unknown", ""
