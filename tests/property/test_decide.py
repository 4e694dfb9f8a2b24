"""Whatever is said, in whatever order and however often: what must hold holds, and every run comes to its end."""

from functools import partial
from random import Random
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from headway.protocol.dag import Dag, OutputRef, Shell, Task, TriggerRule
from headway.protocol.names import UNMAPPED, DagId, QueueName, TaskId
from headway.protocol.states import FINAL_TASK_STATES, EndReason, Intent
from world import RUN, World, cut_slices, name_of
from world.audit import audit
from world.players import FINAL_CODE, Liars, Players
from world.reference import Outcome, Script, interpret_run, possible

TASKS_MAX = 12
TRIES_MAX = 4
RUNS = ("run-1", "run-2")
POOLS = {"small": 2, "large": 5}
OUTCOMES: tuple[Outcome, ...] = ("output",) * 6 + (
    "silence",
    "skip",
    "failure",
    "failure",
    "final",
    "lease",
    "lost",
    "refused",
)

roles = st.one_of(
    st.builds(dict),
    st.fixed_dictionaries({"trigger_rule": st.sampled_from(get_args(TriggerRule)), "branch": st.booleans()}),
    st.fixed_dictionaries({"trigger_rule": st.sampled_from(get_args(TriggerRule)), "setup": st.just(value=True)}),
    st.fixed_dictionaries({"teardown": st.just(value=True), "on_failure_fail_dagrun": st.booleans()}),
)
"""What a task is to others: half of all are nothing special or wait by some rule."""

seeds = st.integers(0, 2**32)
rows = st.sampled_from([1, 2, 3, 1000])
windows = st.sampled_from([1, 3, 100])


def mapped_over(sources: list[TaskId]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw over what a task is mapped: the outputs of these are lists. Most are not mapped; a branch cannot be."""
    refs = [OutputRef(task_id=task_id) for task_id in sources]
    overs = st.sampled_from([(1,), ("x", None, {}), *refs])
    return st.builds(dict) | st.builds(dict) | st.fixed_dictionaries({"over": overs, "branch": st.just(value=False)})


@st.composite
def dags(draw: st.DrawFn, **fields: st.SearchStrategy[Any]) -> Dag:
    """Draw a DAG whose tasks stand in any order, each with any number of upstreams."""
    names = draw(st.permutations([TaskId(name) for name in "abcdefghijkl"[: draw(st.integers(1, TASKS_MAX))]]))
    upstream = {
        name: draw(st.lists(st.sampled_from(names[:place]), unique=True, max_size=4)) if place else []
        for place, name in enumerate(names)
    }
    special = {name: draw(roles) for name in names}
    tasks = [
        Task(
            task_id=name,
            command=Shell(script="true"),
            upstream=tuple(upstream[name]),
            inputs=tuple(upstream[name][: draw(st.sampled_from([0, 0, 0, 1]))]),
            queue=QueueName(draw(st.sampled_from("qr"))),
            priority=draw(st.integers(0, 1)),
            retries=draw(st.integers(0, 2)),
            retry_delay=draw(st.sampled_from([0.0, 60.0])),
            infra_retries=draw(st.integers(0, 2)),
            on_lost=draw(st.sampled_from(["retry", "retry", "fail"])),
            on_partition=draw(st.sampled_from(["kill", "kill", "keep"])),
            queued_timeout=draw(st.sampled_from([None, None, 30.0])),
            pool=draw(st.sampled_from([None, None, *POOLS])),
            max_active=draw(st.sampled_from([None, None, 1])),
            poll_every=draw(st.sampled_from([None, None, 20.0])),
            exit_codes={FINAL_CODE: "fail"},
            **special[name] | draw(mapped_over([one for one in upstream[name] if not special[one].get("branch")])),
            **{field: draw(strategy) for field, strategy in fields.items()},
        )
        for name in sorted(names)
    ]
    tasks = [task if task.pool is None else replace(task, pool_slots=draw(st.integers(1, 2))) for task in tasks]
    most = draw(st.sampled_from([None, None, 1, 2, 3]))
    return Dag(dag_id=DagId("etl"), tasks=tuple(tasks), max_active_tasks=most)


def script_of(seed: int) -> Script:
    """Return what the attempts of all tasks come to; in the end all goes well."""

    def outcome(run_id: str, name: str, number: int) -> Outcome:
        return Random(f"{seed} {run_id} {name} {number}").choice(OUTCOMES) if number <= TRIES_MAX else "output"

    return outcome


def set_bounds(patch: pytest.MonkeyPatch, slice_rows: int, window: int) -> None:
    """Let decisions and windows be as small as they are drawn."""
    cut_slices(patch, slice_rows)
    patch.setattr("headway.scheduler.core.admission.WINDOW_MIN", window)
    patch.setattr("headway.scheduler.core.admission.WINDOW_PER_SLOT", 1)


@settings(deadline=None, max_examples=100)
@given(dags(), seeds, rows, windows)
def test_every_dag_ends_as_its_attempts_say(dag: Dag, seed: int, slice_rows: int, window: int):
    """Late, doubled and repeated events, crashes of the scheduler and dying workers leave no trace in the end."""
    with pytest.MonkeyPatch.context() as patch:
        set_bounds(patch, slice_rows, window)
        world = World(dag, settling=False)
        world.set_pools(POOLS)
        players = Players(world, Random(seed), script_of(seed))
        for run in RUNS:
            players.fly(world.trigger(run))
        for _ in range(60):
            players.step()
        while len(world.db.runs) < len(RUNS):
            players.deliver()
        players.end()
        assert [audit(world, run) for run in RUNS] == [[], []]
    for run in RUNS:
        states = world.states(run)
        allowed = possible(dag, partial(script_of(seed), run), states)
        assert {name: state for name, state in states.items() if state not in allowed[name]} == {}
        assert world.run_state(run) == interpret_run(dag, states)


@settings(deadline=None, max_examples=100)
@given(
    dags(on_queued_timeout=st.sampled_from(["requeue", "fail"]), poll_timeout=st.sampled_from([None, 30.0, 300.0])),
    seeds,
    rows,
    windows,
)
def test_whatever_is_said_all_that_must_hold_holds(dag: Dag, seed: int, slice_rows: int, window: int):
    """Forged, contradictory and malicious events too; and still every run comes to its end."""
    with pytest.MonkeyPatch.context() as patch:
        set_bounds(patch, slice_rows, window)
        world = World(dag, settling=False)
        world.set_pools(POOLS)
        players = Liars(world, Random(seed), script_of(seed))
        players.fly(world.trigger(RUN))
        for _ in range(150):
            players.step()
        while not world.db.runs:
            players.deliver()
        players.end()
        assert audit(world) == []
    wanted = "cancelled" if world.run().intent is Intent.CANCEL else interpret_run(dag, world.states())
    assert world.run_state() == wanted
    for task in world.db.tasks.values():
        assert task.state in FINAL_TASK_STATES
        spec = next(one for one in dag.tasks if one.task_id == task.task_id)
        if spec.over is None or task.map_index != UNMAPPED:
            assert_true_to_its_attempts(world, dag, name_of(task))


def assert_true_to_its_attempts(world: World, dag: Dag, name: str) -> None:
    """The end of a task follows from those of its attempts and of its upstreams."""
    task = world.task(name)
    spec = next(one for one in dag.tasks if one.task_id == task.task_id)
    attempts = [world.attempt(name, try_number=number) for number in range(1, task.try_number + 1)]
    ends = [attempt.state for attempt in attempts]
    above = [world.states()[upstream] for upstream in spec.upstream]
    assert not ends or spec.teardown or spec.trigger_rule != "all_success" or set(above) <= {"success"}
    superseded = [one for one in attempts if one.reason is EndReason.SUPERSEDED]
    assert (task.state == "success") == ("success" in ends)
    assert ends[-1 - len(superseded) :].count("success") == ends.count("success")
    assert ends.count("success") <= 1
    assert task.retries_used <= spec.retries
    assert task.infra_used <= spec.infra_retries
    if task.state == "upstream_failed":
        assert not ends
        assert set(above) - {"success"} or any(one.setup for one in dag.tasks)
    if task.state == "cancelled":
        assert task.reason in ("cancelled", "unkillable")
