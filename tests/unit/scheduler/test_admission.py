"""Flood control: what is published next, and what stays where it is until there is room."""

import msgspec
import pytest

from headway.protocol.dag import Argv, OutputRef
from headway.protocol.messages import Capacity, Instance
from headway.protocol.names import BootId, DagId, QueueName, TaskId, WorkerName
from headway.protocol.topology import QueueLimits
from headway.scheduler.core.admission import free_in_window, touched_queues, window_of
from headway.scheduler.core.deltas import QueueDelta
from headway.scheduler.core.rows import BootKey, QueueRow
from headway.scheduler.core.snapshot import Snapshot
from world import START, World, cut_slices, dag, running

DEFAULT = QueueName("default")


@pytest.mark.parametrize(("slots", "window"), [(0, 100), (50, 100), (51, 102), (1000, 2000)])
def test_the_window_is_twice_the_slots_and_at_least_a_hundred(slots: int, window: int):
    """A new worker finds work at once, and a big one does not wait for it."""
    assert window_of(QueueRow(queue=DEFAULT, slots=slots)) == window
    assert window_of(QueueRow(queue=DEFAULT, slots=slots, window=7)) == 7


def test_an_operator_may_say_what_the_window_is():
    """Of one queue; a batch that moves its counters goes on with it."""
    limits = {DEFAULT: QueueLimits(window=3)}
    row = QueueRow(queue=DEFAULT, queued=1, slots=50).limited(limits)
    assert free_in_window(row, QueueDelta(queued=1)) == 1
    other = QueueRow(queue=QueueName("io"))
    assert other.limited(limits) is other


def test_the_batch_counts_before_it_is_stored():
    """What it queued takes room, what it granted gives some, and a window may shrink below what is out."""
    row = QueueRow(queue=DEFAULT, queued=90, slots=60)
    assert free_in_window(row, QueueDelta()) == 30
    assert free_in_window(row, QueueDelta(queued=30)) == 0
    assert free_in_window(row, QueueDelta(queued=-1)) == 31
    assert free_in_window(row, QueueDelta(slots=10)) == 50
    assert free_in_window(msgspec.structs.replace(row, queued=110), QueueDelta(slots=-60)) == 0


@pytest.mark.usefixtures("narrow")
def test_what_finds_no_room_is_held_until_there_is_some():
    """A grant makes room for the next, a new worker for as many as it has slots."""
    world = running("a, b, c, d, e")
    assert list(world.states().values()) == ["queued"] + ["scheduled"] * 4
    assert world.task("b").hold == "window"
    world.start("a")
    assert list(world.states().values()) == ["running", "queued"] + ["scheduled"] * 3
    world.tell(world.online(BootKey(WorkerName("x"), BootId("x-1")), slots=2))
    assert list(world.states().values()) == ["running"] + ["queued"] * 3 + ["scheduled"]
    assert world.task("d").hold is None


@pytest.mark.usefixtures("narrow")
def test_priority_goes_first_then_the_order_of_becoming_ready():
    """Whether a task was ready before the batch or became so in it."""
    world = running("a, b, c, d, e", c={"priority": 2}, e={"priority": -1})
    world.later(1)
    world.tell(world.trigger("run-2"))
    order = []
    while queued := [row for row in world.db.tasks.values() if row.state == "queued"]:
        order += [f"{row.task_id}{row.run_id[-1]}" for row in queued]
        world.tell(world.started(queued[0].task_id, run_id=queued[0].run_id))
    assert order == ["c1", "c2", "a1", "b1", "d1", "a2", "b2", "d2", "e1", "e2"]


def test_a_choice_is_one_event_for_each_run():
    """So that it is recorded with the run that it concerns."""
    world = World(dag("a, b"))
    world.tell_all(world.trigger("run-1"), world.trigger("run-2"))
    events = [envelope.event for envelope, _ in world.records[-2:]]
    assert [(event.run_id, event.instances) for event in events] == [
        (run, (Instance(task_id="a"), Instance(task_id="b"))) for run in ("run-1", "run-2")
    ]


def test_a_long_choice_is_cut_into_slices(monkeypatch: pytest.MonkeyPatch):
    """No event may touch more than so many rows."""
    cut_slices(monkeypatch, 2)
    world = running("a, b, c")
    chosen = [envelope.event for envelope, _ in world.records if isinstance(envelope.event, Capacity)]
    assert [len(event.instances) for event in chosen] == [2, 1]


def test_only_queues_that_something_moved_in_are_looked_at():
    """A batch costs what it touches."""
    snapshot = Snapshot()
    snapshot.changes.queues = {
        QueueName(name): delta
        for name, delta in {
            "still": QueueDelta(),
            "ready": QueueDelta(waiting=1),
            "granted": QueueDelta(queued=-1),
            "served": QueueDelta(slots=2),
            "failed": QueueDelta(waiting=-1),
        }.items()
    }
    assert touched_queues(snapshot) == ["failed", "granted", "ready", "served"]


def test_capacity_that_comes_late_queues_what_is_left():
    """What was cancelled or queued since is passed over, as is what waits for another queue."""
    world = running("a, b, c", c={"queue": "gpu"})
    assert world.tell(world.capacity("a", "b", "c", "z")).reason == "none of them is waiting for room any more"
    assert [world.task(name).try_number for name in "abc"] == [1, 1, 1]


@pytest.mark.usefixtures("narrow")
def test_capacity_is_for_one_queue():
    """A task that is held for another stays held."""
    world = running("a, b, c", b={"queue": "gpu"}, c={"queue": "gpu"})
    assert world.states() == {"a": "queued", "b": "queued", "c": "scheduled"}
    assert not world.tell(world.capacity("c", queue="default")).applied


def test_capacity_for_no_run_is_ignored():
    """Neither for one that is not there, nor for one of another DAG."""
    world = running("a")
    event = world.capacity("a")
    for forged in ({"run_id": "run-2"}, {"dag_id": DagId("other")}):
        assert world.tell(msgspec.structs.replace(event, **forged)).reason == "no such run"


def test_tokens_come_from_the_seed_that_is_recorded():
    """Nobody can guess one without it, and an audit makes the same."""
    world = running("a, b")
    event, decision = world.records[-1]
    assert decision.facts == {"seed": event.seed}
    tokens = {world.attempt(name).token for name in "ab"}
    assert len(tokens) == 2
    assert all(len(token) == 32 for token in tokens)


TAKES = {"command": Argv(args=("load", OutputRef(task_id=TaskId("a"), path=("rows",))))}


def test_a_task_without_its_inputs_fails_unstarted():
    """It has no attempt; the reason says what is absent; its downstreams hear of it."""
    world = running("a >> b >> c", b=TAKES | {"queued_timeout": 60.0})
    world.play("a")
    task = world.task("b")
    assert (task.state, task.reason, task.try_number, task.hold) == ("failed", "bad_input", 0, None)
    assert task.detail == "task 'a' wrote no output to HEADWAY_OUTPUT, and this task takes it in"
    assert (world.states()["c"], world.run_state(), world.db.timers) == ("upstream_failed", "failed", {})


def test_the_last_task_may_fail_for_its_inputs():
    """And end the run."""
    world = running("a >> b", b=TAKES)
    world.play("a")
    assert (world.states(), world.run_state()) == ({"a": "success", "b": "failed"}, "failed")


@pytest.mark.usefixtures("narrow")
def test_what_fails_for_its_inputs_leaves_its_room_to_the_next():
    """All of them fail, although one only was chosen at first; then the one that needs nothing is queued."""
    world = running("a >> b, c, d, e", b=TAKES, c=TAKES, d=TAKES)
    world.play("a")
    assert world.states() == {"a": "success", **dict.fromkeys("bcd", "failed"), "e": "queued"}


def test_many_bad_inputs_end_in_decisions_of_their_own(monkeypatch: pytest.MonkeyPatch):
    """One capacity event touches the tasks that it names, whatever follows them (P6)."""
    cut_slices(monkeypatch, 2)
    world = running("a >> b, c >> d, e, f", b=TAKES, c=TAKES)
    world.play("a")
    assert (set(world.states().values()), world.run_state()) == ({"success", "failed", "upstream_failed"}, "failed")
    assert world.run().finished_at == START
