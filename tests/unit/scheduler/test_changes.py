"""One constructor for each legal change: the tables are asked, the counters kept, the transition noted."""

from collections.abc import Callable

import msgspec
import pytest

from headway.protocol.errors import Corrupt
from headway.protocol.states import (
    ATTEMPT_TRANSITIONS,
    RUN_TRANSITIONS,
    TASK_TRANSITIONS,
    AttemptChange,
    AttemptState,
    RunChange,
    RunState,
    TaskChange,
    TaskState,
)
from headway.scheduler.core import changes
from headway.scheduler.core.deltas import QueueDelta
from headway.scheduler.core.rows import TaskKey, VersionKey
from headway.scheduler.core.snapshot import Draft, Snapshot, Transition
from world import START, World, running


def drafted(world: World) -> Draft:
    """Return a decision in the making that sees all of a world."""
    snapshot = Snapshot()
    for name in ("dags", "runs", "tasks", "attempts"):
        for key, row in getattr(world.db, name).items():
            getattr(snapshot, name).fill(key, row)
    version = VersionKey(world.run().dag_id, world.run().version)
    snapshot.graphs[version] = world.db.graph(version)
    return Draft(snapshot, world.envelope(world.trigger()), START)


def with_state(row, state):
    """Return a row in another state, whether a rule leads there or not."""
    return msgspec.structs.replace(row, state=state)


CASES = [
    (changes.move_task, lambda world: world.task("a"), TaskState, TaskChange, TASK_TRANSITIONS),
    (changes.move_attempt, lambda world: world.attempt("a"), AttemptState, AttemptChange, ATTEMPT_TRANSITIONS),
    (changes.move_run, lambda world: world.run(), RunState, RunChange, RUN_TRANSITIONS),
]


@pytest.mark.parametrize("case", CASES, ids=["task", "attempt", "run"])
def test_a_change_needs_a_row_in_the_table(case: tuple[Callable, Callable, type, type, dict]):
    """Every pair of state and change: with a row it is made and noted, without one nothing is touched."""
    move, row_of, states, moves, table = case
    world = running("a")
    for state in states:
        for change in moves:
            draft = drafted(world)
            row = with_state(row_of(world), state)
            after = table.get((state, change))
            if after is None:
                with pytest.raises(changes.NoSuchChange, match=f"that is {state} cannot"):
                    move(draft, row, change)
                assert (draft.transitions, draft.changes.tasks, draft.changes.queues) == ([], {}, {})
            else:
                assert move(draft, row, change).state is after
                (noted,) = draft.transitions
                assert (noted.before, noted.after, noted.change) == (state, after, change)


@pytest.mark.parametrize(
    ("state", "change", "waiting", "queued"),
    [
        (TaskState.WAITING, TaskChange.RELEASE, 1, 0),
        (TaskState.SCHEDULED, TaskChange.ADMIT, -1, 1),
        (TaskState.SCHEDULED, TaskChange.CANCEL, -1, 0),
        (TaskState.QUEUED, TaskChange.GRANT, 0, -1),
        (TaskState.QUEUED, TaskChange.RERUN, 1, -1),
        (TaskState.RUNNING, TaskChange.SUCCEED, 0, 0),
    ],
)
def test_a_queues_counters_move_with_its_tasks(state: TaskState, change: TaskChange, waiting: int, queued: int):
    """What leaves one of the two states is taken off, what enters is added."""
    world = running("a")
    draft = drafted(world)
    changes.move_task(draft, with_state(world.task("a"), state), change)
    assert draft.changes.queues == {"default": QueueDelta(waiting=waiting, queued=queued)}


def test_a_runs_counters_move_with_final_states():
    """A leaf that failed is what a run fails by; a failed task in the middle has leaves of its own."""
    world = running("a >> b, c")
    world.play("a")
    assert (world.run().unfinished, world.run().failed_leaves) == (2, 0)
    world.play("b", exit_code=1)
    assert (world.run().unfinished, world.run().failed_leaves) == (1, 1)
    world.play("c")
    assert (world.run().unfinished, world.run().failed_leaves) == (0, 1)


def test_a_transition_tells_who_went_where_and_why():
    """The reason stands beside a final state, and for an attempt beside its end."""
    world = running("a")
    world.start("a")
    decision = world.tell(world.finished("a", 1))
    assert list(decision.transitions) == [
        Transition("attempt", "a", -1, 1, "running", "failed", "fail", "exit_code"),
        Transition("task", "a", -1, 1, "running", "failed", "fail", "exit_code"),
        Transition("run", "", 0, 0, "running", "failed", "fail", ""),
    ]


def test_each_upstream_counts_as_it_ended():
    """Cancelled counts as failed; a task that is final already goes on counting."""
    world = running("a, b, c, d >> e", "x >> d")
    world.play("a")
    world.play("b", exit_code=1)
    assert world.states()["e"] == "upstream_failed"
    world.tell(world.cancel("c"))
    world.play("x", exit_code=1)
    counters = world.task("e")
    assert (counters.up_success, counters.up_failed, counters.up_upstream_failed) == (1, 2, 1)
    assert world.task("e").detail == "upstream task b ended as failed, and the trigger rule is all_success"


def test_a_downstream_that_is_not_there_is_passed_over():
    """A slice reaches only what has been made."""
    world = running("a >> b")
    draft = drafted(world)
    draft.snapshot.tasks.rows[TaskKey(world.run().run_id, "b")] = None
    changes.end_task(draft, with_state(world.task("a"), TaskState.RUNNING), TaskChange.SUCCEED)
    assert [key.task_id for key in draft.changes.tasks] == ["a"]


def test_a_token_is_of_one_attempt_and_one_seed():
    """Whoever does not know the seed cannot make it."""
    world = running("a, b")
    a, b = world.task("a"), world.task("b")
    made = [changes.token_for(seed, task, number) for seed in "xy" for task in (a, b) for number in (1, 2)]
    assert len(set(made)) == 8
    assert made[0] == changes.token_for("x", a, 1)


def test_a_task_without_its_attempt_is_corrupt():
    """Whoever cancels it hears so; nothing is passed over in silence."""
    world = running("a")
    world.start("a")
    attempt = world.attempt("a")
    world.checked = False
    world.db.attempts[attempt.key] = msgspec.structs.replace(attempt, worker=None, boot=None)
    world.restart()
    with pytest.raises(Corrupt, match="task a of run run-1 is running, and nobody holds it"):
        world.tell(world.cancel("a"))
    world.restart()
    del world.db.attempts[attempt.key]
    with pytest.raises(Corrupt, match="task a of run run-1 is running without an attempt"):
        world.tell(world.cancel("a"))
