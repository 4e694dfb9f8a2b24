"""From a delivery to an event: who said it, and whether that may be believed."""

from typing import Any

import msgspec
import pytest

from headway.broker.port import ConsumerId, Delivery
from headway.protocol.codec import encode
from headway.protocol.kinds import ROLE_OF_KIND, kind_of
from headway.protocol.messages import DeliveryLimit, Expired, Finished, Heartbeat, Rejected, Unroutable
from headway.protocol.names import WORKERS_PARTITION, event_key, partition_of
from headway.scheduler.core.decide import RULES
from headway.scheduler.core.snapshot import PublishTask
from headway.scheduler.intake import Arrival, Unreadable, partition_of_event, read
from world import World, running

OWN = "headway"
PARTITION = partition_of("etl")


def delivery(body: bytes, **fields: Any) -> Delivery:
    """Return a delivery as the broker hands it over."""
    fields = {
        "consumer": ConsumerId(1),
        "queue": f"headway.events.p{PARTITION:02d}",
        "exchange": "headway.events",
        "routing_key": "",
        "message_id": "message",
        "kind": None,
        "user_id": "ann",
        "redelivered": False,
        "headers": {},
        "generation": 1,
        "tag": 1,
    } | fields
    return Delivery(body=body, **fields)


def said(event: Any, user: str = "ann", **fields: Any) -> Delivery:
    """Return the delivery of an event that a user published as it should be."""
    key = event_key(user, kind_of(event), partition_of_event(event))
    return delivery(encode(event), **({"routing_key": key, "user_id": user} | fields))


def published(world: World) -> PublishTask:
    """Return the message that waits in queue gpu."""
    return next(one for one in world.published if one.message.queue == "gpu")


def returned(world: World, **fields: Any) -> Delivery:
    """Return the delivery of a task message that the broker handed back."""
    death = {"reason": "expired", "queue": "headway.q.gpu", "count": 1}
    message = encode(published(world).message)
    given = {"exchange": "headway.dead", "routing_key": f"task.gpu.p{PARTITION:02d}", "user_id": OWN}
    return delivery(message, **(given | {"headers": {"x-death": [death]}} | fields))


@pytest.fixture
def world() -> World:
    """Give a world in which a task is published to queue gpu, and another runs."""
    world = running("a, b", a={"queue": "gpu"})
    world.start("b")
    return world


def test_an_event_is_what_its_user_said(world: World):
    """Partition, user and message id stand beside it, and the role that may say such a thing."""
    event = world.finished("b", detail="é")
    arrival = read(said(event, "worker-1"), own_user=OWN)
    assert arrival == Arrival(
        event=event, partition=PARTITION, message_id="message", user_id="worker-1", origin="worker"
    )
    assert isinstance(arrival.event, Finished)


def test_words_about_workers_have_a_partition_of_their_own(world: World):
    """They name no DAG."""
    arrival = read(said(world.heartbeat()), own_user=OWN)
    assert isinstance(arrival.event, Heartbeat)
    assert (arrival.partition, arrival.origin) == (WORKERS_PARTITION, "worker")


@pytest.mark.parametrize(("say", "origin"), [("trigger", "operator"), ("cancel", "operator"), ("online", "worker")])
def test_the_kind_says_the_role(world: World, say: str, origin: str):
    """The broker's permissions see to it that only this role can send the kind."""
    assert read(said(getattr(world, say)()), own_user=OWN).origin == origin


def test_every_kind_has_a_role_and_a_rule():
    """Nothing can arrive that nobody decides."""
    assert ROLE_OF_KIND.keys() == RULES.keys()


def test_a_message_without_an_id_has_an_empty_one(world: World):
    """A worker's events are told apart by what they say."""
    assert read(said(world.finished("b"), message_id=None), own_user=OWN).message_id == ""


def test_an_operator_must_number_what_is_said(world: World):
    """A double of it would start a second run or be taken for another's word."""
    unreadable = read(said(world.trigger(), message_id=None), own_user=OWN)
    assert unreadable.reason == "it carries no message_id, by which a double would be known"


def test_an_unroutable_message_names_its_queue_in_its_key(world: World):
    """Without the three words of a task's key it cannot be one of ours."""
    unreadable = read(returned(world, exchange="headway.tasks", routing_key="task"), own_user=OWN)
    assert "its routing key 'task' is not that of a task" in unreadable.reason


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"user_id": None}, "it carries no user_id, so nobody vouches for it"),
        ({"exchange": "amq.topic"}, "exchange 'amq.topic' is not for events of others"),
        ({"exchange": ""}, "exchange '' is not for events of others"),
        ({"exchange": "headway.dead"}, "exchange 'headway.dead' is not for events of others"),
        ({"exchange": "headway.tasks"}, "exchange 'headway.tasks' is not for events of others"),
        ({"user_id": "bob"}, "its routing key 'event.ann.finished.p"),
        ({"routing_key": f"event.ann.started.p{PARTITION:02d}"}, "its routing key 'event.ann.started.p"),
        ({"routing_key": "event.ann.finished.workers"}, "its routing key 'event.ann.finished.workers' is not"),
        ({"body": b"{"}, "Not a message that this version understands"),
        ({"body": b'{"kind":"gossip"}'}, "Not a message that this version understands"),
        ({"body": b"\xff"}, "Not a message that this version understands"),
    ],
)
def test_what_cannot_be_believed_is_kept_with_the_reason(world: World, wrong: dict, reason: str):
    """Forged, misrouted or malformed: nothing of it is decided."""
    honest = said(world.finished("b"))
    one = msgspec.structs.replace(honest, **wrong)
    found = read(one, own_user=OWN)
    assert isinstance(found, Unreadable)
    assert found.reason.startswith(reason)
    assert found.delivery == one


@pytest.mark.parametrize(
    ("reason", "kind"), [("expired", Expired), ("rejected", Rejected), ("delivery_limit", DeliveryLimit)]
)
def test_a_dead_letter_is_an_event(world: World, reason: str, kind: type):
    """The newest death counts; the message says which attempt it was."""
    deaths = [{"reason": reason, "queue": "headway.q.gpu"}, {"reason": "older", "queue": "headway.q.old"}]
    arrival = read(returned(world, headers={"x-death": deaths}), own_user=OWN)
    attempt = world.attempt("a")
    assert arrival.event == kind(
        dag_id=attempt.dag_id,
        run_id=attempt.run_id,
        task_id=attempt.task_id,
        try_number=attempt.try_number,
        token=attempt.token,
        queue="gpu",
    )
    assert (arrival.partition, arrival.origin, arrival.user_id) == (PARTITION, "broker", OWN)


def test_what_no_queue_took_is_an_event(world: World):
    """It came through the alternate exchange and names the one that it was published to."""
    arrival = read(returned(world, exchange="headway.tasks", headers={}), own_user=OWN)
    assert isinstance(arrival.event, Unroutable)
    assert (arrival.event.queue, arrival.event.token) == ("gpu", world.attempt("a").token)


def test_what_came_back_can_be_decided(world: World):
    """The two ends fit: intake reads what the core published, and the core knows it again."""
    arrival = read(returned(world, message_id=published(world).message_id), own_user=OWN)
    assert world.tell(arrival.event, message_id=arrival.message_id).reason == "published again"
    assert world.tell(arrival.event, message_id=arrival.message_id).reason == "it was published again since"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-death": []},
        {"x-death": "text"},
        {"x-death": ["text"]},
        {"x-death": [{}]},
        {"x-death": [{"reason": "maxlen", "queue": "headway.q.gpu"}]},
    ],
)
def test_a_return_for_no_known_reason_is_kept(world: World, headers: dict):
    """Headers are anybody's."""
    found = read(returned(world, headers=headers), own_user=OWN)
    assert isinstance(found, Unreadable)
    assert "which is not known" in found.reason


@pytest.mark.parametrize("wrong", [{"user_id": "ann"}, {"user_id": None}, {"body": b"{}"}])
def test_only_our_own_messages_come_back(world: World, wrong: dict):
    """Whoever else writes there is not the broker."""
    assert isinstance(read(msgspec.structs.replace(returned(world), **wrong), own_user=OWN), Unreadable)


def test_an_event_is_no_task_that_came_back(world: World):
    """A body of another kind under the broker's exchange is malformed."""
    body = encode(world.heartbeat())
    assert isinstance(read(msgspec.structs.replace(returned(world), body=body), own_user=OWN), Unreadable)
