"""Forged, replayed, early and foreign: whatever it is, the state stays as it is and the reason is recorded.

What may not even be decided is refused by the intake, with the reason; the rest is decided, and ignored.
"""

from collections.abc import Callable

import msgspec
import pytest

from headway.broker.port import ConsumerId, Delivery
from headway.protocol.codec import encode
from headway.protocol.kinds import Event, kind_of
from headway.protocol.names import BootId, WorkerName, event_key
from headway.scheduler.core.rows import BootKey
from headway.scheduler.intake import Arrival, Unreadable, partition_of_event, read
from world import BOOT, World, running

OTHER = BootKey(WorkerName("x"), BootId("x-1"))


def busy() -> World:
    """Return a world in which `a` is queued, `b` runs, `c` waits, and a second worker has nothing to do."""
    world = running("a, b >> c", each={"retries": 1})
    world.tell(world.online(OTHER))
    world.start("b")
    return world


def early_timer(world: World) -> Event:
    """Say that a timer is due which is stored for later, with a due time of its own."""
    return world.due(msgspec.structs.replace(world.timer("a", "queued_deadline"), due=world.now))


IGNORED: dict[str, tuple[Callable[[World], Event], str]] = {
    "started with a guessed token": (lambda w: w.started("a", token="x"), "its token is not the attempt's"),
    "started with another's token": (lambda w: w.started("a", token=w.attempt("b").token), "its token is not"),
    "finished with a guessed token": (lambda w: w.finished("b", token="x"), "its token is not the attempt's"),
    "refused with a guessed token": (lambda w: w.refused("a", token="x"), "its token is not the attempt's"),
    "expired with a guessed token": (lambda w: w.expired("a", token="x"), "its token is not the attempt's"),
    "missing with a guessed token": (lambda w: w.missing("a", token="x"), "its token is not the attempt's"),
    "lost with a guessed token": (lambda w: w.worker_lost("b", token="x"), "its token is not the attempt's"),
    "another's attempt finished": (lambda w: w.finished("b", **OTHER._asdict()), "the attempt was granted to boot"),
    "another's attempt asked for": (lambda w: w.started("b", OTHER), "the attempt is running"),
    "another's attempt refused": (lambda w: w.refused("b", OTHER), "the attempt is running"),
    "another boot's attempt lost": (lambda w: w.worker_lost("b", **OTHER._asdict()), "the attempt was granted to"),
    "an attempt that is still to come": (
        lambda w: msgspec.structs.replace(w.started("a"), try_number=9),
        "no such attempt",
    ),
    "a boot that nobody knows": (
        lambda w: w.started("a", BOOT._replace(boot=BootId("w-9"))),
        "boot w-9 of worker w is",
    ),
    "a result before its grant": (lambda w: w.finished("a"), "the attempt is queued"),
    "a publication that is still to come": (lambda w: w.missing("a", publication=7), "it was published again since"),
    "a timer before its time": (early_timer, "no such timer is due"),
    "a lease before its end": (lambda w: w.lease_due(), "the lease is not over yet"),
    "a slice that is not due": (lambda w: w.go_on("downstream", 0, "b"), "this slice was done before"),
    "a cancel of another DAG": (lambda w: w.cancel("a", dag_id="other"), "there is no run"),
    "a run that is there already": (lambda w: w.trigger(), "a run run-1 exists already"),
    "a parameter that nobody declared": (lambda w: w.trigger("run-2", x=1), "there is no parameter 'x'"),
}


@pytest.mark.parametrize("case", IGNORED)
def test_what_may_not_be_is_ignored_and_recorded(case: str):
    """No row changes, no transition is noted, and the record says why."""
    say, reason = IGNORED[case]
    world = busy()
    event = say(world)
    stored = world.db.copy()
    decision = world.tell(event)
    assert (decision.applied, decision.recorded, decision.transitions) == (False, True, ())
    assert decision.reason.startswith(reason)
    assert world.db.copy() == stored


@pytest.mark.parametrize("name", ["started", "finished"])
def test_what_is_replayed_is_ignored(name: str):
    """An event that was applied once is nothing new."""
    world = busy()
    event = world.started("a") if name == "started" else world.finished("b", exit_code=1)
    assert world.tell(event).applied
    stored = world.db.copy()
    assert not world.tell(event).applied
    assert world.db.copy() == stored


def delivered(event: Event, user: str = "worker-1", **fields: object) -> Delivery:
    """Return the delivery of an event that a user published."""
    given = {
        "consumer": ConsumerId(1),
        "queue": "headway.events.p00",
        "exchange": "headway.events",
        "routing_key": event_key(user, kind_of(event), partition_of_event(event)),
        "message_id": "m",
        "kind": kind_of(event),
        "user_id": user,
        "redelivered": False,
        "headers": {},
        "generation": 1,
        "tag": 1,
        "body": encode(event),
    }
    return Delivery(**(given | fields))


def newer(event: Event) -> bytes:
    """Return an event of a version that nobody has made yet."""
    return encode(event).replace(b'"v":1', b'"v":2')


UNREADABLE: dict[str, tuple[Callable[[World], Delivery], str]] = {
    "no user": (lambda w: delivered(w.finished("b"), user_id=None), "it carries no user_id"),
    "another user": (lambda w: delivered(w.finished("b"), user_id="bob"), "its routing key"),
    "another kind": (
        lambda w: delivered(w.finished("b"), routing_key=event_key("worker-1", "started", 0)),
        "its routing key",
    ),
    "a newer version": (lambda w: delivered(w.finished("b"), body=newer(w.finished("b"))), "Not a message that this"),
    "an unknown kind": (lambda w: delivered(w.finished("b"), body=b'{"kind":"gossip","v":1}'), "Not a message that"),
    "the broker's word": (lambda w: delivered(w.expired("a")), "only the broker says that"),
    "the broker's exchange": (
        lambda w: delivered(w.finished("b"), exchange="headway.dead"),
        "exchange 'headway.dead' is not for events of others",
    ),
    "a forged death": (
        lambda w: delivered(
            w.expired("a"), exchange="headway.dead", headers={"x-death": [{"reason": "expired", "queue": "q"}]}
        ),
        "exchange 'headway.dead' is not for events of others",
    ),
    "a time without its offset": (
        lambda w: delivered(w.trigger("r9"), body=encode(w.trigger("r9")).replace(b"00:00:00Z", b"00:00:00")),
        "Not a message that this",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_nobody_vouches_for_is_not_decided(case: str):
    """It is kept with the reason, for an operator."""
    make, reason = UNREADABLE[case]
    found = read(make(busy()), own_user="headway")
    assert isinstance(found, Unreadable)
    assert found.reason.startswith(reason)


def test_a_forged_death_beside_an_event_is_nothing():
    """Headers of an event are not looked at."""
    world = busy()
    death = {"x-death": [{"reason": "expired", "queue": "headway.q.default"}], "x-last-death-reason": "expired"}
    honest, forged = (delivered(world.finished("b", seq=9), headers=headers) for headers in ({}, death))
    assert read(forged, own_user="headway") == read(honest, own_user="headway")
    assert isinstance(read(forged, own_user="headway"), Arrival)
