"""A message that came to nothing: the same attempt is published again, and only poison spends a budget."""

from datetime import timedelta

import pytest

from headway.protocol.names import BootId, WorkerName
from headway.scheduler.core.retry import republish_delay
from headway.scheduler.core.rows import BootKey
from world import World, running

BOOTS = [BootKey(WorkerName(name), BootId(f"{name}-1")) for name in "xyz"]


def served_by(*boots: BootKey, **fields: object) -> World:
    """Return a world in which a task is queued, and so many more workers than the usual one serve its queue."""
    world = running("a", a=fields)
    for boot in boots:
        world.tell(world.online(boot))
    return world


def republish_in(world: World) -> float:
    """Return the seconds until the message is published again."""
    return (world.timer("a", "republish").due - world.now).total_seconds()


# --- at once ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["expired", "missing"])
def test_what_nobody_took_is_published_again(kind: str):
    """The same attempt with the same token, and no budget spent."""
    world = running("a")
    world.later(600)
    assert world.tell(getattr(world, kind)("a")).applied
    first, second = world.published
    assert (first.message, first.publication, second.publication) == (second.message, 1, 2)
    assert [one.message_id for one in world.published] == [f"{first.message.token}.{n}" for n in (1, 2)]
    task, attempt = world.task("a"), world.attempt("a")
    assert (task.state, task.try_number, task.infra_used) == ("queued", 1, 0)
    assert (attempt.queued_at, attempt.published_at) == (world.now - timedelta(seconds=600), world.now)
    assert world.timer("a", "queued_deadline").due == world.now + timedelta(seconds=660)


@pytest.mark.parametrize("kind", ["expired", "delivery_limit", "unroutable", "rejected"])
def test_what_comes_back_twice_is_published_once(kind: str):
    """Each double would come back in its turn, for ever."""
    world = served_by(*BOOTS)
    event, first = getattr(world, kind)("a"), world.published[0].message_id
    assert world.tell(event, message_id=first).applied
    again = world.tell(event, message_id=first)
    if kind != "expired":
        assert again.reason == "it is about to be published again"
        world.ring("a", "republish")
        again = world.tell(event, message_id=first)
    assert again.reason == "it was published again since"
    assert [one.publication for one in world.published] == [1, 2]
    assert world.tell(event, message_id=world.published[1].message_id).applied


def test_a_message_that_is_missing_is_published_once():
    """Whoever misses an older one knows less than is recorded; the queue counts what had to be mended."""
    world = running("a")
    event = world.missing("a")
    assert world.tell(event).applied
    assert world.tell(event).reason == "it was published again since"
    assert [one.publication for one in world.published] == [1, 2]
    assert world.db.queues["default"].mended == 1


def test_a_message_that_is_missing_again_and_again_waits_longer_each_time():
    """Somebody empties the queue, and there is no use in filling it as fast."""
    world = running("a")
    world.tell(world.missing("a"))
    waits = []
    for _ in range(3):
        assert world.tell(world.missing("a")).applied
        assert world.tell(world.missing("a")).reason == "it is about to be published again"
        waits.append(republish_in(world))
        world.ring("a", "republish")
    assert waits == [0.2, 0.4, 0.8]
    assert world.attempt("a").reason == "lost"


def test_a_message_that_missed_its_deadline_is_published_again():
    """It was neither taken nor handed back: that is mended, and counted."""
    world = running("a")
    assert world.ring("a", "queued_deadline").reason == "published again"
    assert (world.attempt("a").reason, world.db.queues["default"].mended) == ("lost", 1)


def test_a_message_that_expired_was_in_its_queue():
    """So nothing of what came back before it counts as in a row."""
    world = running("a")
    for _ in range(5):
        world.tell(world.delivery_limit("a"))
        world.ring("a", "republish")
        assert world.attempt("a").reason == "poisoned"
        world.tell(world.expired("a"))
        assert (world.attempt("a").reason, world.attempt("a").returns) == (None, 0)
    assert world.states() == {"a": "queued"}


@pytest.mark.parametrize("kind", ["expired", "missing"])
def test_what_waits_to_be_published_again_can_neither_expire_nor_be_missing(kind: str):
    """Nothing of it is with the broker now."""
    world = running("a")
    world.tell(world.unroutable("a"))
    assert world.tell(getattr(world, kind)("a")).reason == "it is about to be published again"


@pytest.mark.parametrize("kind", ["expired", "delivery_limit", "unroutable", "missing", "refused", "rejected"])
def test_what_was_granted_cannot_come_back(kind: str):
    """A late return of a message changes nothing, nor does a refusal of its double."""
    world = running("a")
    returned = getattr(world, kind)("a")
    world.start("a")
    assert world.tell(returned).reason == "the attempt is running"
    assert len(world.published) == 1


# --- with a backoff ---------------------------------------------------------------------------------------------------


def test_a_queue_that_is_not_there_is_made():
    """And the message follows: in a moment, and then less and less often, for as long as the queue is not there."""
    world = running("a", a={"queue": "gpu"})
    waits = []
    for _ in range(12):
        assert world.tell(world.unroutable("a")).applied
        waits.append(republish_in(world))
        assert world.ring("a", "republish").reason == "published again"
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0]
    assert world.declared == ["gpu"] * 12
    assert [one.publication for one in world.published] == [*range(1, 14)]
    assert (world.task("a").infra_used, world.attempt("a").reason) == (0, "unroutable")
    world.start("a")
    assert (world.attempt("a").reason, world.attempt("a").returns) == (None, 0)


def test_a_wait_has_a_bound():
    """Whatever was counted."""
    assert republish_delay(10**6) == 60.0


def test_the_third_delivery_limit_in_a_row_is_poison():
    """The first two spend nothing; the third ends the attempt and spends the budget of the infrastructure."""
    world = running("a", a={"retries": 3, "on_lost": "fail"})
    for number in (1, 2):
        for wait in (0.1, 0.2):
            assert world.tell(world.delivery_limit("a")).applied
            assert republish_in(world) == wait
            world.ring("a", "republish")
        assert world.task("a").infra_used == number - 1
        assert world.tell(world.delivery_limit("a")).applied
        ended = world.attempt("a", try_number=number)
        assert (ended.state, ended.reason, ended.worker) == ("withdrawn", "poisoned", None)
    task = world.task("a")
    assert (task.state, task.reason, task.infra_used, task.retries_used) == ("failed", "poisoned", 1, 0)
    assert task.detail == "its message came back from dying or leaving workers 3 times in a row"
    assert world.db.timers == {}


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["refused", "rejected"])
def test_what_its_only_worker_refuses_is_refused(kind: str):
    """There is nobody else to ask. It spends the infra budget even where nothing may run twice: it never started."""
    world = running("a", a={"on_lost": "fail"})
    say = getattr(world, kind)
    assert world.tell(say("a")).applied
    refused = world.attempt("a", try_number=1)
    assert (refused.state, refused.reason, refused.worker) == ("refused", "refused", None)
    assert refused.detail == {"refused": "it cannot", "rejected": "a worker of queue default could not read it"}[kind]
    assert (world.task("a").state, world.task("a").try_number) == ("queued", 2)
    world.tell(say("a"))
    assert (world.task("a").state, world.task("a").reason) == ("failed", "refused")
    assert world.db.timers == {}


def test_a_refusal_sends_the_message_to_others():
    """Three different workers must refuse it; one that does so again is remembered, and counts once."""
    world = served_by(*BOOTS)
    for count, boot in [(1, BOOTS[0]), (1, BOOTS[0]), (2, BOOTS[1])]:
        decision = world.tell(world.refused("a", boot))
        assert decision.reason.endswith(f"for others: {count} refused it")
        assert decision.facts == {"workers": 4}
        assert (world.states(), world.task("a").infra_used) == ({"a": "queued"}, 0)
        world.ring("a", "republish")
    assert set(world.attempt("a").refused_by) == {"x", "y"}
    assert world.tell(world.refused("a", BOOTS[2])).applied
    assert (world.attempt("a", try_number=1).state, world.task("a").infra_used) == ("refused", 1)
    assert world.attempt("a").refused_by == {}


def test_a_refusal_is_counted_once():
    """One that comes twice changes nothing; one of a double, while the message waits, brings no other publication."""
    world = served_by(*BOOTS)
    first, second = world.refused("a", BOOTS[0]), world.refused("a", BOOTS[1])
    world.tell(first)
    assert world.tell(first).reason == "this refusal was counted before"
    due = world.timer("a", "republish").due
    assert world.tell(second).reason == "it is about to be published again"
    assert world.timer("a", "republish").due == due
    assert set(world.attempt("a").refused_by) == {"x", "y"}
    world.ring("a", "republish")
    assert world.tell(first).reason == "this refusal was counted before"
    assert len(world.published) == 2


def test_a_later_boot_may_refuse_again():
    """Its sequence numbers begin anew; it is the same worker."""
    world = served_by(*BOOTS)
    world.tell(world.refused("a", BOOTS[0], seq=100))
    later = BootKey(BOOTS[0].worker, BootId("x-2"))
    assert world.tell(world.refused("a", later, seq=2)).applied
    assert world.attempt("a").refused_by == {"x": ("x-2", 2)}


def test_each_that_cannot_read_it_counts_as_another():
    """The broker does not say who it was."""
    world = served_by(*BOOTS)
    for _ in range(2):
        assert world.tell(world.rejected("a")).applied
        world.ring("a", "republish")
    world.tell(world.rejected("a"))
    assert world.attempt("a", try_number=1).state == "refused"


def test_a_forged_refusal_changes_nothing():
    """Without the token nobody has it to refuse."""
    world = running("a")
    for kind in ("refused", "rejected"):
        assert world.tell(getattr(world, kind)("a", token="guessed")).reason == "its token is not the attempt's"
