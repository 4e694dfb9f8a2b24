"""Which rows a decision looks at: asked for in a few rounds, and never more than the slice at hand."""

from typing import Any

import msgspec
import pytest

from headway.protocol.dag import Argv, OutputRef
from headway.protocol.kinds import Event
from headway.protocol.names import BootId, RunId, TaskId
from headway.scheduler.core.needs import Needs, needs_of
from headway.scheduler.core.rows import BootKey
from headway.scheduler.core.snapshot import Snapshot
from headway.scheduler.core.timers import TIMER_STATES
from world import BOOT, RUN, World, cut_slices, dag, running

TAKES = {"command": Argv(args=("load", OutputRef(task_id=TaskId("a"))))}


def rounds(world: World, *events: Event, snapshot: Snapshot | None = None) -> list[dict[str, set[Any]]]:
    """Return what is asked for, round by round, until nothing is missing; keys of rows by their task alone."""
    snapshot = snapshot or Snapshot()
    envelopes = [world.envelope(event) for event in events]
    asked = []
    while (needs := needs_of(snapshot, envelopes)).any():
        asked.append({name: _short(getattr(needs, name)) for name in Needs.__struct_fields__ if getattr(needs, name)})
        world.db.load(snapshot, needs)
    return asked


def _short(keys: set[Any]) -> set[Any]:
    return {getattr(key, "task_id", key) for key in keys}


def test_an_end_needs_its_downstreams():
    """The run names the version, the version names those who wait."""
    world = running("a >> b, c >> d")
    world.start("a")
    version = next(iter(world.db.versions))
    assert rounds(world, world.finished("a")) == [
        {"runs": {RUN}, "tasks": {"a"}, "attempts": {"a"}},
        {"dags": {"etl"}, "versions": {version}},
        {"tasks": {"b", "c"}},
    ]


def test_a_grant_needs_the_worker_and_nobody_downstream():
    """It is the most frequent of all, and must be the cheapest."""
    world = running("a >> b")
    asked = rounds(world, world.started("a"))
    assert asked[0] == {"runs": {RUN}, "tasks": {"a"}, "attempts": {"a"}, "workers": {"w"}}
    assert [round_.keys() for round_ in asked[1:]] == [{"dags", "versions"}]


@pytest.mark.parametrize("kind", ["expired", "missing", "queued_deadline", "republish"])
def test_what_is_published_again_needs_its_inputs(kind: str):
    """The outputs of those that it takes in."""
    world = running("a >> b >> c", b=TAKES)
    world.start("a")
    world.tell(world.finished("a", output=msgspec.Raw(b"1")))
    if kind == "republish":
        world.tell(world.delivery_limit("b"))
    event = world.due(world.timer("b", kind)) if kind in TIMER_STATES else getattr(world, kind)("b")
    assert {"a"} in [asked.get("outputs") for asked in rounds(world, event)]


def test_admission_needs_the_inputs_of_those_that_take_some():
    """And of no others; nobody downstream is looked at."""
    world = running("a >> b, c >> d", b=TAKES)
    asked = rounds(world, world.capacity("b", "c", "z"))
    assert asked[0] == {"runs": {RUN}}
    assert asked[2] == {"tasks": {"b", "c", "z"}, "outputs": {"a"}}
    assert len(asked) == 3


def test_a_timer_needs_its_task_the_attempt_and_the_queue():
    """Patience that is over may end the task, so those who wait for it are needed too."""
    world = running("a >> b", a={"queued_timeout": 60.0})
    asked = rounds(world, world.due(world.timer("a", "queued_timeout")))
    assert asked[0] == {"runs": {RUN}, "tasks": {"a"}, "timers": {"a"}}
    assert asked[1].keys() == {"dags", "versions", "attempts", "queues"}
    assert asked[2] == {"tasks": {"b"}}


def test_a_refusal_needs_to_know_how_many_serve_the_queue():
    """And whether the message is about to be published again; its end may end the task."""
    world = running("a >> b")
    for event in (world.refused("a"), world.rejected("a")):
        first, second, third = rounds(world, event)
        assert first == {"runs": {RUN}, "tasks": {"a"}, "attempts": {"a"}, "timers": {"a"}}
        assert second.keys() == {"dags", "versions", "queues"}
        assert third == {"tasks": {"b"}}


def test_a_late_end_needs_the_attempt_that_it_supersedes():
    """The newer one is withdrawn."""
    world = running("a")
    world.start("a")
    finished = world.finished("a")
    world.tell(world.worker_lost("a"))
    snapshot = Snapshot()
    rounds(world, finished, snapshot=snapshot)
    assert {key.try_number for key in snapshot.attempts.rows} == {1, 2}


@pytest.mark.parametrize("kind", ["unroutable", "retry", "queued_deadline", "republish", "stop"])
def test_what_ends_no_task_needs_nobody_downstream(kind: str):
    """There may be thousands."""
    world = running("a >> b >> c", b=TAKES)
    stored = world.timer("a", "queued_deadline")
    assert stored is not None
    due = world.due(msgspec.structs.replace(stored, timer=kind))
    asked = rounds(world, world.unroutable("a") if kind == "unroutable" else due)
    assert set().union(*(round_.get("tasks", set()) for round_ in asked)) == {"a"}


def test_a_cancel_needs_one_slice(monkeypatch: pytest.MonkeyPatch):
    """However many tasks the run has; and of each its attempt."""
    world = running("a >> b >> c >> d")
    cut_slices(monkeypatch, 2)
    asked = rounds(world, world.cancel())
    assert [sorted(round_) for round_ in asked] == [["messages", "runs"], ["dags", "versions"], ["tasks"], ["attempts"]]
    assert asked[2] == {"tasks": {"a", "b"}}
    assert {"tasks": {"c", "d"}} in rounds(world, world.go_on("cancel", 2))


def test_a_cancel_of_one_task_needs_its_downstreams():
    """It is looked at even where the run is not known."""
    world = running("a >> b >> c")
    asked = rounds(world, world.cancel("b"))
    assert asked[0] == {"messages": asked[0]["messages"], "runs": {RUN}, "tasks": {"b"}}
    assert asked[-1] == {"tasks": {"c"}}
    assert rounds(world, world.cancel("b", run_id="run-2"))[0]["tasks"] == {"b"}


@pytest.mark.parametrize(
    ("step", "cursor", "name", "tasks"),
    [
        ("release", 0, None, {"a", "b"}),
        ("release", 2, None, {"c"}),
        ("cancel", 4, None, {"e", "f"}),
        ("cancel", 6, None, set()),
        ("downstream", 0, "a", {"a", "d", "e"}),
        ("downstream", 2, "a", {"a", "f"}),
        ("downstream", 0, "z", {"z"}),
        ("downstream", 0, None, set()),
        ("create", 2, None, set()),
    ],
)
def test_a_slice_needs_its_rows(
    monkeypatch: pytest.MonkeyPatch, step: str, cursor: int, name: str | None, tasks: set[str]
):
    """From the cursor on, and no further than it may go."""
    world = running("a, b, c", "a >> d, e, f")
    cut_slices(monkeypatch, 2)
    asked = rounds(world, world.go_on(step, cursor, name))
    assert set().union(*(round_.get("tasks", set()) for round_ in asked)) == tasks


def test_a_worker_needs_what_its_boots_hold():
    """First the boots of its name, then what each was granted."""
    world = running("a")
    for event in (world.heartbeat(), world.online(), world.offline(), world.lease_due()):
        assert rounds(world, event) == [{"workers": {"w"}}, {"held": {BOOT}}]


def test_a_worker_needs_nothing_of_its_ended_boots():
    """Boots are kept for ever, and what an ended one held was reported when it ended."""
    world = running("a")
    world.tell(world.online(later := BootKey(BOOT.worker, BootId("w-2"))))
    (_, asked) = rounds(world, world.heartbeat(later))
    assert asked == {"held": {later}}


def test_a_trigger_needs_the_newest_version():
    """And to know whether the run exists, and whether the message was decided before."""
    world = running("a")
    asked = rounds(world, world.trigger("run-2"))
    assert asked[0] == {"messages": asked[0]["messages"], "runs": {"run-2"}, "dags": {"etl"}}
    assert asked[1].keys() == {"versions"}
    assert len(rounds(world, world.trigger("run-2", dag_id="other"))) == 1


def test_a_version_needs_its_value():
    """And the one before it."""
    world = World()
    event = world.version(dag("a"))
    (asked,) = rounds(world, event)
    assert (asked["dags"], asked["digests"]) == ({"etl"}, {event.digest})


def test_a_run_that_is_not_there_needs_nothing_more():
    """Whatever is said about it is ignored."""
    world = running("a")
    nowhere = {"run_id": RunId("run-2")}
    for event in (world.capacity("a"), world.go_on("cancel", 0), world.finished("a")):
        assert len(rounds(world, msgspec.structs.replace(event, **nowhere))) == 1


def test_a_task_that_the_version_does_not_have_needs_nothing_more():
    """A forged id is no position in the graph."""
    world = running("a >> b")
    world.start("a")
    for event in (world.finished("a"), world.expired("a"), world.worker_lost("a")):
        assert len(rounds(world, msgspec.structs.replace(event, task_id=TaskId("z")))) == 2


def test_what_is_known_is_not_asked_for_again():
    """Also when it is known to be absent."""
    world = running("a >> b")
    snapshot = Snapshot()
    event = world.expired("a")
    assert rounds(world, event, snapshot=snapshot)
    assert rounds(world, event, world.refused("a"), snapshot=snapshot) == [{"tasks": {"b"}, "queues": {"default"}}]
    assert rounds(world, event, snapshot=snapshot) == []
