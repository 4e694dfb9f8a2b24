"""What workers say of themselves, and their silence."""

from datetime import timedelta

import msgspec
import pytest

from headway.protocol.messages import Drop, Grant, NotHeld, WorkerLost
from headway.protocol.names import BootId
from headway.scheduler.core.rows import BootKey
from world import BOOT, START, World, running

NEXT = BootKey(BOOT.worker, BootId("w-2"))
PATIENCE = timedelta(seconds=310)  # a lease of 300 s and two heartbeats of 5 s


def quiet(*chains: str, **fields: dict) -> World:
    """Return a running world in which what follows for attempts stays owed."""
    world = running(*chains, **fields)
    world.settling = False
    return world


def said(world: World) -> list[tuple[type, str, str]]:
    """Return what is owed: kind, task and detail."""
    return [(type(event), event.task_id, event.detail) for event in world.owed]


def test_a_boot_is_registered_with_its_slots():
    """The queue's counter says how many slots serve it."""
    world = running("a")
    world.tell(world.online(NEXT._replace(worker="x"), slots=4, queues=("default", "gpu")))
    boot = world.db.workers[BOOT]
    assert (boot.state, boot.host, boot.slots, boot.lease_due) == ("online", "host", 1, START + PATIENCE)
    assert {name: row.slots for name, row in world.db.queues.items()} == {"default": 5, "gpu": 4}


def test_online_counts_once():
    """A second one of the same boot changes nothing, whatever has become of it."""
    world = running("a")
    assert world.tell(world.online()).reason == "this boot is known already"
    world.tell(world.offline())
    assert world.tell(world.online()).reason == "this boot is known already"
    assert world.db.workers[BOOT].state == "ended"


def test_a_new_boot_ends_the_one_before_it_with_what_it_held():
    """The evidence is quicker than the lease; the consequences stand in line behind the results."""
    world = quiet("a, b, c")
    world.start("a", "b")
    world.tell(world.finished("b"))
    world.tell(world.online(NEXT))
    assert {key: row.state for key, row in world.db.workers.items()} == {BOOT: "ended", NEXT: "online"}
    assert world.db.queues["default"].slots == 1
    assert said(world) == [(WorkerLost, "a", "worker w was started anew")]
    world.settle()
    assert (world.states()["a"], world.attempt("a", try_number=1).state) == ("queued", "lost")


def test_a_result_that_was_there_first_counts():
    """The loss is decided after what the broker held already."""
    world = quiet("a")
    world.start("a")
    world.tell(world.online(NEXT))
    world.tell(world.finished("a"))
    world.settle()
    assert (world.states(), world.run_state()) == ({"a": "success"}, "success")


def test_all_in_one_batch_is_seen():
    """A grant of the same batch is among what the boot held, and an ended boot is ended once."""
    world = quiet("a")
    world.tell_all(world.started("a"), world.online(NEXT), world.online(NEXT._replace(boot="w-3")))
    assert [row.state for row in world.db.workers.values()] == ["ended", "ended", "online"]
    assert said(world) == [(WorkerLost, "a", "worker w was started anew")]


def test_a_heartbeat_renews_the_lease_and_is_not_recorded():
    """Thousands of them say nothing new."""
    world = running("a")
    world.later(5)
    decision = world.tell(world.heartbeat())
    assert (decision.applied, decision.recorded) == (True, False)
    assert world.db.workers[BOOT].lease_due == world.now + PATIENCE
    assert world.db.workers[BOOT].last_heartbeat == world.now


def test_a_heartbeat_of_an_unknown_boot_registers_it():
    """Its online was lost, or has not been decided yet."""
    world = running("a")
    assert world.tell(world.heartbeat(NEXT)).reason == "the boot was not known: registered"
    assert {key: row.state for key, row in world.db.workers.items()} == {BOOT: "ended", NEXT: "online"}
    assert world.tell(world.heartbeat(BOOT)).reason == "the boot has ended, and boot w-2 of its name is online"


def test_heartbeats_are_heard_in_order():
    """A late one says what was true before."""
    world = running("a")
    early, late = world.heartbeat(), world.heartbeat()
    world.tell(late)
    assert world.tell(early).reason == "a later word of this boot was heard before"
    assert world.tell(late).reason == "a later word of this boot was heard before"


def test_what_a_boot_does_not_hold_is_missed():
    """What it lists is there, what was granted after it spoke cannot be in its list."""
    world = quiet("a, b, c")
    world.start("a", "b")
    spoken = world.heartbeat(BOOT, "a")
    world.start("c")
    decision = world.tell(spoken)
    assert decision.recorded
    assert said(world) == [(NotHeld, "b", "worker w lives and does not hold it")]
    world.settle()
    assert world.states() == {"a": "running", "b": "queued", "c": "running"}


def test_an_attempt_of_another_boot_is_not_missed():
    """Each boot answers for its own."""
    world = quiet("a, b")
    world.tell(world.online(NEXT._replace(worker="x")))
    world.start("a")
    world.tell(world.started("b", NEXT._replace(worker="x")))
    world.tell(world.heartbeat(BOOT, "a"))
    assert world.owed == []


def test_a_boot_that_goes_in_good_order_leaves_nothing():
    """What it did not report is lost; a second farewell is nothing new."""
    world = quiet("a")
    world.start("a")
    assert world.tell(world.offline(NEXT)).reason == "no such boot"
    assert world.tell(world.offline()).applied
    assert world.tell(world.offline()).reason == "the boot has ended"
    assert said(world) == [(WorkerLost, "a", "its worker went offline")]
    assert (world.db.workers[BOOT].state, world.db.queues["default"].slots) == ("ended", 0)


def test_a_silent_boot_is_lost_with_what_it_held():
    """It holds nothing any more, and its slots serve nobody."""
    world = quiet("a")
    world.start("a")
    world.now = START + PATIENCE
    assert world.tell(world.lease_due()).applied
    assert said(world) == [(WorkerLost, "a", "worker w was silent for 310 s")]
    assert (world.db.workers[BOOT].state, world.db.queues["default"].slots) == ("lost", 0)
    assert world.tell(world.lease_due()).reason == "no such lease is running"


def test_only_silence_that_somebody_could_hear_counts():
    """A scheduler that was away itself gives every lease in full again."""
    world = running("a")
    world.now = START + PATIENCE
    decision = world.tell(world.lease_due(listening_since=world.now - timedelta(seconds=10)))
    assert decision.reason == "the lease begins anew: we were not listening all the time"
    assert world.db.workers[BOOT].state == "online"
    assert world.db.workers[BOOT].lease_due == world.now - timedelta(seconds=10) + PATIENCE


@pytest.mark.parametrize("wrong", ["early", "other", "unknown"])
def test_a_lease_must_be_stored_and_due(wrong: str):
    """A forged or late word of the clock ends nobody."""
    world = running("a")
    event = world.lease_due()
    world.now = START + PATIENCE
    reason = "no such lease is running"
    if wrong == "early":
        world.now -= timedelta(seconds=1)
        reason = "the lease is not over yet"
    elif wrong == "other":
        world.tell(world.heartbeat())
    else:
        event = msgspec.structs.replace(event, boot=NEXT.boot)
    assert world.tell(event).reason == reason
    assert world.db.workers[BOOT].state == "online"


def test_a_lost_boot_that_speaks_again_is_online_again():
    """Its slots serve again; what it held meanwhile is lost all the same."""
    world = quiet("a")
    world.start("a")
    world.now = START + PATIENCE
    world.tell(world.lease_due())
    decision = world.tell(world.heartbeat(BOOT, "a"))
    assert (decision.reason, decision.recorded) == ("heard again after it was lost", True)
    assert (world.db.workers[BOOT].state, world.db.queues["default"].slots) == ("online", 1)
    world.settle()
    assert (world.states(), world.attempt("a", try_number=1).state) == ({"a": "queued"}, "lost")
    world.start("a")
    assert world.attempt("a").boot == BOOT.boot


def test_a_boot_that_a_late_word_has_ended_is_online_again():
    """An `online` of a dead boot came after the living one's: when that is silent for its lease, the living one is."""
    world = quiet("a")
    world.tell(world.online(NEXT, seq=1))
    for number in range(3):
        world.later(5)
        decision = world.tell(world.heartbeat(BOOT))
        assert (decision.applied, decision.recorded) == (True, number == 0)
        assert world.db.workers[BOOT].state == "ended"
    assert world.tell(world.started("a")).reason.endswith("has ended: nothing is granted to it any more")
    world.now = START + PATIENCE
    world.tell(world.lease_due(NEXT))
    assert world.tell(world.heartbeat(BOOT)).reason == "heard again after it was ended"
    assert {key: row.state for key, row in world.db.workers.items()} == {BOOT: "online", NEXT: "lost"}
    assert (world.db.queues["default"].slots, world.db.queues["default"].workers) == (1, 1)
    assert world.tell(world.started("a")).applied


@pytest.mark.parametrize("say", ["online", "heartbeat"])
def test_a_late_word_of_a_boot_before_ends_nothing(say: str):
    """It died unheard, and what it had sent arrives behind its successor's words; a clock set back takes a lease."""
    world = quiet("a")
    before = BootKey(BOOT.worker, BootId("w-0"))
    assert before < BOOT
    decision = world.tell(getattr(world, say)(before))
    assert (decision.applied, before in world.db.workers) == (False, False)
    assert decision.reason == f"boot {BOOT.boot}, which began later, is online: this word of an earlier one is late"
    assert world.tell(world.started("a")).applied
    world.now = START + PATIENCE
    world.tell(world.lease_due(BOOT))
    assert world.tell(world.heartbeat(before)).reason == "the boot was not known: registered"


def test_a_boot_that_went_stays_gone():
    """What it had said before its farewell and comes later is an earlier word."""
    world = quiet("a")
    late = world.heartbeat()
    world.tell(world.offline())
    assert world.tell(late).reason == "a later word of this boot was heard before"
    assert world.db.workers[BOOT].state == "ended"


@pytest.mark.parametrize("end", ["offline", "online"])
def test_a_lost_boot_can_still_end(end: str):
    """Its slots were taken off once, and are not again."""
    world = quiet("a")
    world.now = START + PATIENCE
    world.tell(world.lease_due())
    world.tell(world.offline() if end == "offline" else world.online(NEXT))
    assert world.db.workers[BOOT].state == "ended"
    assert world.db.queues["default"].slots == (end == "online")


def test_what_was_held_before_a_loss_is_not_granted_again():
    """The boot is heard again before its loss is decided: a grant now would run beside the attempt that follows."""
    world = quiet("a")
    world.start("a")
    world.later(PATIENCE.total_seconds())
    assert world.tell(world.lease_due()).applied
    for word in (world.started("a"), world.heartbeat(BOOT, "a"), world.started("a")):
        world.tell(word)
    assert [type(sent.order) for sent in world.orders] == [Grant, Drop, Drop]
    again = world.started("a")
    world.settle()
    assert (world.attempt("a", try_number=1).state, world.tell(again).reason) == ("lost", "the attempt is lost")
