"""The table of rules: a story for each row of the state machine, and no event that breaks a decision in any state."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from headway.protocol.dag import Argv, OutputRef
from headway.protocol.kinds import ROLE_OF_KIND, Event, kind_of
from headway.protocol.names import TaskId, Token
from headway.protocol.states import (
    ATTEMPT_TRANSITIONS,
    RUN_TRANSITIONS,
    TASK_TRANSITIONS,
    AttemptState,
    EndReason,
    RunState,
    TaskChange,
    TaskState,
)
from headway.scheduler.core.decide import RULES
from headway.scheduler.core.snapshot import Transition
from headway.scheduler.core.timers import TIMER_STATES
from world import BOOT, RUN, World, cut_slices, dag, running

# --- a story for each row ---------------------------------------------------------------------------------------------


def cancelled_before_its_turn() -> World:
    """A task is cancelled that waits for another."""
    world = running("a >> b")
    world.tell(world.cancel("b"))
    return world


def with_an_upstream_that_failed() -> World:
    """The task before it fails."""
    world = running("a >> b")
    world.play("a", exit_code=1)
    return world


def with_an_upstream_that_went_well() -> World:
    """The task was to mend what failed."""
    world = running("a >> b", b={"trigger_rule": "one_failed"})
    world.play("a")
    return world


def held(**fields: Any) -> World:
    """The queue has no room."""
    world = running("a", a=fields)
    world.start("a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headway.scheduler.core.admission.WINDOW_MIN", 0)
        patch.setattr("headway.scheduler.core.admission.WINDOW_PER_SLOT", 0)
        world.tell(world.worker_lost("a"))
        if "queued_timeout" in fields:
            world.ring("a", "queued_timeout")
        else:
            world.tell(world.cancel("a"))
    return world


def impatient() -> World:
    """Nobody takes it in time."""
    world = running("a", a={"queued_timeout": 1.0, "on_queued_timeout": "fail"})
    world.ring("a", "queued_timeout")
    return world


def moved_back(name: str) -> World:
    """It gives its turn to others, from its queue or from the line before it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headway.scheduler.core.admission.WINDOW_MIN", 1)
        patch.setattr("headway.scheduler.core.admission.WINDOW_PER_SLOT", 1)
        world = running("a, b", each={"queued_timeout": 1.0})
        world.ring(name, "queued_timeout")
    return world


def refused() -> World:
    """A worker cannot run it."""
    world = running("a")
    world.tell(world.refused("a"))
    return world


def cancelled_in_its_queue() -> World:
    """It is taken back before anybody asked for it."""
    world = running("a")
    world.tell(world.cancel("a"))
    return world


def played(exit_code: int = 0, **fields: Any) -> World:
    """It runs and ends."""
    world = running("a", a=fields)
    world.play("a", exit_code=exit_code)
    return world


def lost() -> World:
    """It runs, and its worker dies."""
    world = running("a")
    world.start("a")
    world.tell(world.worker_lost("a"))
    return world


def reported_late(exit_code: int = 0, *, held: bool = False, retries: int = 0) -> World:
    """Its worker is thought dead, and reports all the same; the next attempt stands in its queue, or waits for room."""
    world = running("a", a={"retries": retries})
    world.start("a")
    finished = world.finished("a", exit_code)
    with pytest.MonkeyPatch.context() as patch:
        if held:
            patch.setattr("headway.scheduler.core.admission.WINDOW_MIN", 0)
            patch.setattr("headway.scheduler.core.admission.WINDOW_PER_SLOT", 0)
        world.tell(world.worker_lost("a"))
        world.tell(finished)
    return world


def unkillable() -> World:
    """It is told to stop, and nothing is heard of it for too long."""
    world = running("a >> b")
    world.start("a")
    world.tell(world.cancel("a"))
    world.ring("a", "unkillable")
    return world


def stopped() -> World:
    """It runs, and is told to stop."""
    world = running("a")
    world.start("a")
    world.tell(world.cancel())
    world.tell(world.finished("a", None, signal="SIGTERM", reason=EndReason.CANCELLED))
    return world


def retried() -> World:
    """It fails, rests, and is ready again."""
    world = played(1, retries=1)
    world.ring("a", "retry")
    return world


def cancelled_between_tries() -> World:
    """It rests, and is cancelled."""
    world = played(1, retries=1)
    world.tell(world.cancel("a"))
    return world


def mapped(*codes: int, over: Any = (1, 2)) -> World:
    """A task is mapped over a list, and its instances end with these codes."""
    world = running("a >> b", a={"over": over})
    for index, code in enumerate(codes):
        world.play(f"a[{index}]", exit_code=code)
    return world


def over_nothing() -> World:
    """What it is mapped over is empty."""
    world = running("a >> b", b={"over": OutputRef(task_id=TaskId("a"))})
    world.start("a")
    world.tell(world.finished("a", output=msgspec.Raw(b"[]")))
    return world


def mapped_and_cancelled() -> World:
    """All instances of a mapped task are cancelled before they begin."""
    world = mapped()
    world.tell(world.cancel("a"))
    return world


def crowded() -> World:
    """As many runs go on as may, and one waits."""
    world = World(msgspec.structs.replace(dag("a >> b"), max_active_runs=1))
    world.tell(world.online())
    world.tell(world.trigger("run-0"))
    world.tell(world.trigger())
    return world


def cancelled_while_it_is_held() -> World:
    """It is cancelled before anything is made of it."""
    world = crowded()
    world.tell(world.cancel())
    return world


def scheduled() -> World:
    """A DAG has a schedule, and a date of it has come."""
    world = World(msgspec.structs.replace(dag("a >> b"), schedule="@hourly"))
    world.tell(world.online())
    world.ring_schedule()
    return world


def in_time() -> World:
    """It runs, and has a time by which it should have ended."""
    world = World(msgspec.structs.replace(dag("a >> b", a={"deadline": 60.0}), deadline=90.0, run_timeout=120.0))
    world.tell(world.online())
    world.tell(world.trigger())
    world.start("a")
    return world


def timed_out() -> World:
    """Its time is over, and what it runs is told to stop."""
    world = in_time()
    world.ring_run("run_timeout")
    return world


def with_a_past() -> World:
    """A task waits until it succeeded in the run before."""
    world = World(msgspec.structs.replace(dag("a >> b", a={"depends_on_past": True}), schedule="@hourly"))
    world.tell(world.online())
    world.ring_schedule()
    world.ring_schedule()
    return world


def backfilling() -> World:
    """Two of the dates of a backfill have their runs, and others wait."""
    world = World(msgspec.structs.replace(dag("a >> b"), schedule="@hourly"))
    world.tell(world.online())
    world.tell(world.backfill(5, max_active=2))
    return world


def polled(*events: str, **fields: Any) -> World:
    """It says "not yet", and these things happen before it is asked again."""
    world = running("a", a={"poll_every": 60.0} | fields)
    world.play("a", exit_code=75)
    for event in events:
        world.tell(getattr(world, event)("a"))
    return world


def polled_for_too_long() -> World:
    """It says "not yet" until nobody asks any more."""
    world = polled(poll_timeout=300.0)
    world.ring("a", "poll_timeout")
    return world


def polled_again() -> World:
    """It says "not yet", and is asked again."""
    world = polled()
    world.ring("a", "poll")
    return world


STORIES: dict[tuple[str, str, str, str], Callable[[], World]] = {
    ("task", "waiting", "release", "scheduled"): played,
    ("task", "waiting", "inherit_failure", "upstream_failed"): with_an_upstream_that_failed,
    ("task", "waiting", "skip", "skipped"): with_an_upstream_that_went_well,
    ("task", "waiting", "cancel", "cancelled"): cancelled_before_its_turn,
    ("task", "waiting", "expand", "mapped"): mapped,
    ("task", "mapped", "succeed", "success"): lambda: mapped(0, 0),
    ("task", "mapped", "fail", "failed"): lambda: mapped(0, 1),
    ("task", "mapped", "skip", "skipped"): over_nothing,
    ("task", "mapped", "cancel", "cancelled"): mapped_and_cancelled,
    ("task", "scheduled", "admit", "queued"): played,
    ("task", "scheduled", "requeue", "scheduled"): lambda: moved_back("b"),
    ("task", "scheduled", "succeed", "success"): lambda: reported_late(held=True),
    ("task", "scheduled", "skip", "skipped"): lambda: reported_late(99, held=True),
    ("task", "scheduled", "retry", "up_for_retry"): lambda: reported_late(1, held=True, retries=1),
    ("task", "scheduled", "fail", "failed"): lambda: held(queued_timeout=1.0, on_queued_timeout="fail"),
    ("task", "scheduled", "cancel", "cancelled"): held,
    ("task", "queued", "grant", "running"): played,
    ("task", "queued", "rerun", "scheduled"): refused,
    ("task", "queued", "requeue", "scheduled"): lambda: moved_back("a"),
    ("task", "queued", "succeed", "success"): reported_late,
    ("task", "queued", "skip", "skipped"): lambda: reported_late(99),
    ("task", "queued", "retry", "up_for_retry"): lambda: reported_late(1, retries=1),
    ("task", "queued", "fail", "failed"): impatient,
    ("task", "queued", "cancel", "cancelled"): cancelled_in_its_queue,
    ("task", "running", "succeed", "success"): played,
    ("task", "running", "skip", "skipped"): lambda: played(99),
    ("task", "running", "poll", "up_for_reschedule"): polled,
    ("task", "running", "fail", "failed"): lambda: played(1),
    ("task", "running", "retry", "up_for_retry"): retried,
    ("task", "running", "rerun", "scheduled"): lost,
    ("task", "running", "cancel", "cancelled"): stopped,
    ("task", "up_for_retry", "wake", "scheduled"): retried,
    ("task", "up_for_retry", "cancel", "cancelled"): cancelled_between_tries,
    ("task", "up_for_reschedule", "wake", "scheduled"): polled_again,
    ("task", "up_for_reschedule", "fail", "failed"): polled_for_too_long,
    ("task", "up_for_reschedule", "cancel", "cancelled"): lambda: polled("cancel"),
    ("attempt", "queued", "grant", "running"): played,
    ("attempt", "queued", "withdraw", "withdrawn"): cancelled_in_its_queue,
    ("attempt", "queued", "refuse", "refused"): refused,
    ("attempt", "running", "succeed", "success"): played,
    ("attempt", "running", "skip", "skipped"): lambda: played(99),
    ("attempt", "running", "poll", "polling"): polled,
    ("attempt", "polling", "admit", "queued"): polled_again,
    ("attempt", "polling", "fail", "failed"): polled_for_too_long,
    ("attempt", "polling", "cancel", "cancelled"): lambda: polled("cancel"),
    ("attempt", "running", "fail", "failed"): lambda: played(1),
    ("attempt", "running", "lose", "lost"): lost,
    ("attempt", "running", "cancel", "cancelled"): stopped,
    ("attempt", "lost", "succeed", "success"): reported_late,
    ("attempt", "lost", "skip", "skipped"): lambda: reported_late(99),
    ("attempt", "lost", "fail", "failed"): lambda: reported_late(1),
    ("run", "queued", "start", "running"): played,
    ("run", "queued", "cancel", "cancelled"): cancelled_while_it_is_held,
    ("run", "running", "succeed", "success"): played,
    ("run", "running", "fail", "failed"): lambda: played(1),
    ("run", "running", "cancel", "cancelled"): stopped,
}
TABLES = {"task": TASK_TRANSITIONS, "attempt": ATTEMPT_TRANSITIONS, "run": RUN_TRANSITIONS}


def rows_of(transitions: list[Transition]) -> set[tuple[str, str, str, str]]:
    """Return the rows that transitions went along; what was made came from nowhere."""
    return {(one.subject, one.before, one.change, one.after) for one in transitions if one.before}


@pytest.mark.parametrize("row", STORIES, ids=" ".join)
def test_a_row_is_gone_along(row: tuple[str, str, str, str]):
    """What the story tells leads along this row, by decisions alone."""
    world = STORIES[row]()
    assert row in rows_of([one for _, decision in world.records for one in decision.transitions])


def test_every_row_has_a_story():
    """A new row needs a rule that leads along it, and a story of it."""
    rows = {
        (subject, str(before), str(change), str(after))
        for subject, table in TABLES.items()
        for (before, change), after in table.items()
    }
    assert rows == STORIES.keys()


# --- every kind in every state ----------------------------------------------------------------------------------------


def bad_input() -> World:
    """A task fails for its inputs, before any attempt."""
    world = running("a >> b", b={"command": Argv(args=("x", OutputRef(task_id=TaskId("a"))))})
    world.play("a")
    return world


def making() -> World:
    """Half of a run is made."""
    with pytest.MonkeyPatch.context() as patch:
        cut_slices(patch, 1)
        world = World(dag("a >> b, c"), settling=False, rounds_max=0)
        world.tell(world.online())
        world.tell(world.trigger())
    return world


def expanding() -> World:
    """Some instances of a mapped task are made."""
    with pytest.MonkeyPatch.context() as patch:
        cut_slices(patch, 2)
        world = World(dag("a >> b", a={"over": tuple(range(5))}), settling=False, rounds_max=0)
        world.tell(world.online())
        world.tell(world.trigger())
        while not any(key.map_index >= 0 for key in world.db.tasks):
            world.tell(world.owed.pop(0))
    return world


def started_with(*events: str) -> World:
    """A task runs while these things have happened."""
    world = running("a >> b")
    world.settling = False
    world.start("a")
    for event in events:
        world.tell(getattr(world, event)())
    return world


SITUATIONS: dict[str, Callable[[], World]] = {
    "nothing": lambda: World(dag("a")),
    "held": lambda: running("b, a"),
    "making": making,
    "queued": lambda: running("a >> b"),
    "running": started_with,
    "cancelling": lambda: started_with("cancel"),
    "offline": lambda: started_with("offline"),
    "resting": lambda: played(1, retries=1),
    "retried": retried,
    "success": played,
    "failed": with_an_upstream_that_failed,
    "skipped": with_an_upstream_that_went_well,
    "cancelled": cancelled_before_its_turn,
    "stopped": stopped,
    "lost": lost,
    "reported late": reported_late,
    "unkillable": unkillable,
    "refused": refused,
    "withdrawn": cancelled_in_its_queue,
    "impatient": impatient,
    "bad input": bad_input,
    "expanding": expanding,
    "mapped": mapped,
    "mapped, one ended": lambda: mapped(0),
    "crowded": crowded,
    "scheduled": scheduled,
    "in time": in_time,
    "timed out": timed_out,
    "with a past": with_a_past,
    "backfill": backfilling,
    "skipped by its own word": lambda: played(99),
    "polling": lambda: polled(poll_timeout=300.0),
    "polled again": polled_again,
}


def events_about(world: World) -> list[Event]:
    """Return every kind of event about every task and attempt there may be, honest and not."""
    base: dict[str, Any] = {
        "dag_id": "etl",
        "run_id": RUN,
        "detail": "",
        "due": world.now,
        "listening_since": world.now,
    }
    base |= {"queue": "default", "instances": [["a"], ["b"], ["z"], ["a", 0]]}
    base |= {"digest": "x", "file": "f", "task_count": 1}
    base |= {"host": "h", "pid": 1, "queues": ["default"], "slots": 1, "lease_seconds": 9.0, "heartbeat_seconds": 1.0}
    base |= {"headway_version": "0", "logical_date": world.now, "exit_code": 0, "seq": 10**6, **BOOT._asdict()}
    base |= {"data_interval_start": world.now, "data_interval_end": world.now}
    base |= {"publication": 1, "backfill_id": "etl__backfill", "cursor": world.now, "begin": world.now}
    base |= {"end": world.now}
    timers = [*TIMER_STATES, "run_timeout"]
    varied: list[dict[str, Any]] = [
        {"task_id": name, "try": number, "token": _token(world, name, number)} for name in "abz" for number in (1, 2)
    ]
    varied += [{**varied[0], **other} for other in ({"run_id": "run-9"}, {"dag_id": "other"}, {"boot": "w-9"})]
    varied += [{"task_id": "a", "timer": timer} for timer in timers]
    varied += [
        {"task_id": name, "step": step, "cursor": cursor}
        for name in "az"
        for step in ("create", "release", "cancel", "downstream")
        for cursor in (0, 1, 5)
    ]
    varied += [{**fields, "map_index": index} for fields in varied for index in (0, 1)]
    varied += [
        {"task_id": name, "step": step, "cursor": cursor}
        for name in "abz"
        for step in ("expand", "expand_release", "expand_cancel")
        for cursor in (0, 1, 2, 5)
    ]
    varied += [{"due": timer.due, "timer": timer.timer, "task_id": timer.task_id} for timer in world.db.timers.values()]
    varied += [{"due": dag.next_date} for dag in world.db.dags.values() if dag.next_date is not None]
    varied += [
        {"cursor": row.next_date, "run_id": run_id}
        for row in world.db.backfills.values()
        for run_id in (row.asked or ("r",))
    ]
    varied += [{"due": boot.lease_due} for boot in world.db.workers.values()]
    events: dict[bytes, Event] = {}
    for kind in RULES:
        for fields in varied:
            try:
                event = msgspec.convert(base | {"kind": kind_of(kind)} | fields, kind)
            except msgspec.ValidationError:
                continue
            events[msgspec.json.encode(event)] = event
    return list(events.values())


def _token(world: World, name: str, number: int) -> Token:
    attempts = [row for row in world.db.attempts.values() if (row.task_id, row.try_number) == (name, number)]
    return attempts[0].token if attempts else Token("none")


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.usefixtures("narrow")
def test_nothing_that_can_be_said_breaks_a_decision(situation: str):
    """What is ignored has a reason and changes no row; what is applied leaves everything true."""
    world = SITUATIONS[situation]()
    world.settling = False
    stored = world.db.copy()
    owed = list(world.owed)
    kinds = set()
    for event in events_about(world):
        kinds.add(type(event))
        decision = world.tell(event)
        if not decision.applied:
            assert world.db.copy() == stored
            continue
        for name, rows in stored.items():
            setattr(world.db, name, dict(rows))
        world.owed = list(owed)
        world.restart()
    assert kinds == RULES.keys()


@pytest.mark.usefixtures("narrow")
def test_every_state_is_among_the_situations():
    """So that each kind met each of them."""
    worlds = [build() for build in SITUATIONS.values()]
    assert {row.state for world in worlds for row in world.db.tasks.values()} == set(TaskState)
    assert {row.state for world in worlds for row in world.db.attempts.values()} == set(AttemptState)
    assert {row.state for world in worlds for row in world.db.runs.values()} == set(RunState)


def test_every_kind_has_a_rule():
    """The table of rules and the table of senders name the same kinds."""
    assert RULES.keys() == ROLE_OF_KIND.keys()


def test_a_change_without_a_row_ignores_the_event(monkeypatch: pytest.MonkeyPatch):
    """Were a rule to want one, nothing would change, and the reason would say so."""
    without = {row: after for row, after in TASK_TRANSITIONS.items() if row != (TaskState.QUEUED, TaskChange.GRANT)}
    monkeypatch.setattr("headway.protocol.states.TASK_TRANSITIONS", without)
    world = running("a")
    decision = world.tell(world.started("a"))
    assert (decision.applied, decision.reason) == (False, "a task that is queued cannot grant")
    assert (decision.effects, world.states()) == ((), {"a": "queued"})


def test_the_same_inputs_give_the_same_decision():
    """There is no clock, no randomness and no memory in it."""

    def tell() -> list[tuple]:
        world = running("a >> b", a={"retries": 1})
        world.play("a", exit_code=1)
        world.ring("a", "retry")
        world.play("a", "b")
        return [(one.transitions, one.effects, one.facts) for _, one in world.records]

    assert tell() == tell()


def test_an_operators_message_is_decided_once():
    """The world itself keeps that promise, as the decider does."""
    world = World(dag("a"))
    assert world.tell(world.trigger(), message_id="once").applied
    assert world.tell(world.trigger("run-2"), message_id="once").reason == "decided before"
    assert list(world.db.runs) == [RUN]
