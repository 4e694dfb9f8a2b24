"""The audit: a record gives the state that is stored, and whatever was altered in either shows."""

import msgspec
import pytest

from headway.scheduler.core.replay import Fault, Recorded, decide_again, fold, subject_of
from headway.scheduler.core.snapshot import Transition
from world import World, running
from world.audit import audit, graph_of, records_of


@pytest.fixture
def world() -> World:
    """Give a run that has had its share: a retry, a loss, a return, a timeout, outputs, a forgery, and a cancel."""
    world = running("a >> b >> c", "x, y", a={"retries": 1}, b={"inputs": ("a",)}, x={"queued_timeout": 5.0})
    world.play("a", exit_code=1)
    world.ring("a", "retry")
    world.start("a")
    world.tell(world.finished("a", token="guessed"))
    world.tell(world.finished("a", output=msgspec.Raw(b"1")))
    world.tell(world.expired("b"))
    world.start("b")
    world.tell(world.worker_lost("b"))
    world.ring("x", "queued_timeout")
    world.start("y")
    world.tell(world.cancel())
    world.tell(world.finished("y", 1))
    return world


def alter(records: list[Recorded], number: int, **fields: object) -> list[Recorded]:
    """Return the records with one of them altered."""
    return [*records[:number], msgspec.structs.replace(records[number], **fields), *records[number + 1 :]]


def test_a_record_gives_the_state_that_is_stored(world: World):
    """Folded and decided again, without any difference."""
    assert world.run_state() == "cancelled"
    assert audit(world) == []


def test_a_fold_follows_every_subject(world: World):
    """Tasks by their instance, attempts by their number, and the run."""
    states, faults = fold(records_of(world))
    assert faults == []
    assert states["run", "", 0, 0] == "cancelled"
    assert states["task", "a", -1, 0] == "success"
    assert [states["attempt", "a", -1, number] for number in (1, 2)] == ["failed", "success"]
    assert subject_of(Transition("task", "a", 3, 2, "queued", "running", "grant", "")) == ("task", "a", 3, 0)


def test_a_step_that_does_not_follow_is_a_fault(world: World):
    """Such as one whose record is missing before it."""
    records = records_of(world)
    started = next(number for number, record in enumerate(records) if b'"started"' in record.body)
    _, faults = fold(records[:started] + records[started + 1 :])
    ref = records[started + 1].ref
    assert faults == [
        Fault("a", f"{ref} moves a attempt from 'running', and it was 'queued'"),
        Fault("a", f"{ref} moves a task from 'running', and it was 'queued'"),
    ]


def test_another_verdict_is_a_fault(world: World):
    """Applied or ignored, and why."""
    records = records_of(world)
    (number,) = [number for number, record in enumerate(records) if record.reason == "its token is not the attempt's"]
    ref = records[number].ref
    for fields, said in (
        ({"reason": "for fun"}, "ignored (for fun)"),
        ({"reason": "", "applied": True}, "applied"),
        ({"reason": ""}, "ignored"),
    ):
        (fault,) = decide_again(alter(records, number, **fields), graph_of(world))
        assert fault.detail == f"{ref} was {said}, and is now ignored (its token is not the attempt's)"


def test_another_transition_is_a_fault(world: World):
    """On either side."""
    records = records_of(world)
    last = records[-1]
    left, *kept = last.transitions
    invented = Transition("task", "c", -1, 1, "queued", "running", "grant", "")
    altered = alter(records, len(records) - 1, transitions=(*kept, invented))
    mine, theirs = sorted(fault.detail for fault in decide_again(altered, graph_of(world)))
    assert mine.startswith(f"{last.ref}, decided now only: {left.subject} from ")
    assert theirs == f"{last.ref}, recorded only: task from 'queued' to 'running'"


def test_facts_are_read_from_the_record(world: World):
    """What was outside the run then is not looked at now: another fact gives another verdict."""
    records = records_of(world)
    number = next(number for number, record in enumerate(records) if "boot" in record.facts)
    faults = list(decide_again(alter(records, number, facts={"boot": "lost"}), graph_of(world)))
    assert "it must report first" in faults[0].detail


def test_words_about_workers_are_decided_again_too(world: World):
    """They have a record of their own, in which nothing of a run stands."""
    world.tell(world.offline())
    records = [record for record in records_of(world, None) if b'"dag_version"' not in record.body]
    assert [record.applied for record in records] == [True, True]
    assert list(decide_again(records, graph_of(world))) == []
