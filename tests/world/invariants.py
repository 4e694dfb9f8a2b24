"""What must hold after every batch, whatever was said: checked on the whole database."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from headway.protocol.dag import rule_of
from headway.protocol.dag_events import BackfillStep, PastEnded, RunDue
from headway.protocol.messages import Continue, WorkerLost
from headway.protocol.names import UNMAPPED
from headway.protocol.states import (
    FINAL_RUN_STATES,
    FINAL_TASK_STATES,
    GOOD_ENDS,
    OPEN_ATTEMPT_STATES,
    AttemptState,
    HoldReason,
    Intent,
    RunState,
    TaskState,
    WorkerState,
)
from headway.scheduler.core import changes
from headway.scheduler.core.changes import is_ready
from headway.scheduler.core.rows import (
    Attempt,
    AttemptKey,
    BootKey,
    Mapped,
    QueueRow,
    RoomRow,
    Run,
    TaskInstance,
    TaskKey,
    TimerKey,
    VersionKey,
)
from headway.scheduler.core.rules import ends_of
from headway.scheduler.core.snapshot import Decision, Snapshot
from headway.scheduler.core.timers import NO_TASK, TIMER_STATES

from .rooms import check_rooms, is_held_truly
from .rules import deciders_of, follow

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.scheduler.core.graph import Graph

    from .database import Database
    from .world import World


class Before(NamedTuple):
    """The rows that a batch began with."""

    runs: dict[Any, Run]
    tasks: dict[TaskKey, TaskInstance]
    attempts: dict[AttemptKey, Attempt]

    @classmethod
    def of(cls, db: Database) -> Before:
        """Remember the rows as they are."""
        return cls(dict(db.runs), dict(db.tasks), dict(db.attempts))


def check(world: World, before: Before) -> None:
    """Fail if anything that must always hold does not."""
    for one in CHECKS:
        one(world, before)


def check_decision(decision: Decision) -> None:
    """An ignored event changes nothing, and no decision touches more task instances than it may (P6)."""
    changed = decision.changes
    if not decision.applied:
        assert not any(getattr(changed, name) for name in changed.__slots__)
        assert not decision.transitions
        assert decision.reason
    assert len(changed.tasks) <= changes.ROWS_PER_DECISION_MAX + 2  # its own, its node and its slice


def check_kept(db: Database, snapshot: Snapshot) -> None:
    """What is kept for the next batch is what is stored."""
    for name in ("dags", "runs", "tasks", "attempts", "workers"):
        stored = getattr(db, name)
        for key, row in getattr(snapshot, name).rows.items():
            assert row == stored.get(key), f"{name} {key} is kept as it no longer is"
    for queue, row in snapshot.queues.items():
        assert row == db.queues.get(queue, QueueRow(queue=queue))
    for room, kept in snapshot.rooms.items():
        assert kept == db.rooms.get(room, RoomRow(room=room))


def _final_states_are_never_left(world: World, before: Before) -> None:
    for key, run in before.runs.items():
        assert run.state not in FINAL_RUN_STATES or world.db.runs[key].state is run.state
    for task_key, task in before.tasks.items():
        assert task.state not in FINAL_TASK_STATES or world.db.tasks[task_key].state is task.state
    for attempt_key, attempt in before.attempts.items():
        is_over = attempt.state not in (*OPEN_ATTEMPT_STATES, AttemptState.LOST)
        assert not is_over or world.db.attempts[attempt_key] == attempt
        now = world.db.attempts[attempt_key].state
        assert attempt.state is not AttemptState.LOST or now not in OPEN_ATTEMPT_STATES


def _a_holder_never_changes(world: World, before: Before) -> None:
    for key, was in before.attempts.items():
        now = world.db.attempts[key]
        assert (now.token == was.token) == (now.polls == was.polls)
        if now.polls != was.polls:  # each poll is granted by itself
            assert now.polls > was.polls
            continue
        assert was.worker is None or (now.worker, now.boot) == (was.worker, was.boot)
        assert was.state is not AttemptState.QUEUED or now.state is AttemptState.QUEUED or was.worker is None


def _open_attempts_are_current_and_single(world: World, _: Before) -> None:
    is_open = {key for key, row in world.db.attempts.items() if row.state in OPEN_ATTEMPT_STATES}
    wanted = {
        AttemptKey(*key, task.try_number)
        for key, task in world.db.tasks.items()
        if task.state in (TaskState.QUEUED, TaskState.RUNNING, TaskState.UP_FOR_RESCHEDULE)
    }
    polling = {key for key in is_open if world.db.attempts[key].state is AttemptState.POLLING}
    assert is_open - polling <= wanted <= is_open
    for key in is_open:
        task = world.db.tasks[TaskKey(*key[:3])]
        assert task.try_number == key.try_number
        if key in polling:
            assert task.state in (TaskState.UP_FOR_RESCHEDULE, TaskState.SCHEDULED)
        else:
            assert world.db.attempts[key].state == task.state


def _counters_of_upstreams_are_true(world: World, _: Before) -> None:
    for run in world.db.runs.values():
        graph = _graph(world, run)
        heard: dict[TaskKey, Counter[str]] = {}
        for task in _tasks(world, run):
            assert task.map_index == UNMAPPED or task.propagated == 0
            spec = graph.task(task.task_id)
            followed = _followed(world, graph, task) if task.map_index == UNMAPPED else set()
            for place in graph.downstream_of(task.task_id)[: task.propagated]:
                below = graph.tasks[place]
                assert task.state in FINAL_TASK_STATES
                counts = heard.setdefault(TaskKey(run.run_id, below.task_id), Counter())
                counts[task.state] += spec.task_id in below.upstream
                counts["unchosen"] += below.task_id not in followed and not below.teardown
                is_setup = spec.task_id not in below.upstream or rule_of(below) == "all_done_setup_success"
                counts[f"setup {task.state}"] += spec.setup and is_setup
        for task in _tasks(world, run):
            ends = heard.get(task.key, Counter())
            assert ends_of(task) == (
                ends["success"],
                ends["failed"] + ends["cancelled"],
                ends["upstream_failed"],
                ends["skipped"],
                ends["unchosen"],
                ends["setup success"],
                ends["setup failed"] + ends["setup cancelled"] + ends["setup upstream_failed"],
                ends["setup skipped"],
            )


def _followed(world: World, graph: Graph, task: TaskInstance) -> set[str]:
    """Return the direct downstreams of a task that a choice does not leave out, found without what was compiled."""
    ways = set(graph.ids(graph.downstream_of(task.task_id)))
    if not graph.task(task.task_id).branch or task.state is not TaskState.SUCCESS:
        return ways
    return follow(graph.dag, task.task_id, json.loads(world.db.outputs[task.key].value))


def _counters_of_runs_are_true(world: World, _: Before) -> None:
    for run in world.db.runs.values():
        graph = _graph(world, run)
        tasks = [task for task in _tasks(world, run) if task.map_index == UNMAPPED]
        assert len(tasks) == run.created
        if run.state is RunState.CANCELLED and not tasks:
            continue  # it was held
        final = [task for task in tasks if task.state in FINAL_TASK_STATES]
        assert run.unfinished == len(graph.tasks) - len(final)
        leaves = [task for task in final if task.task_id in deciders_of(graph.dag)]
        assert run.failed_leaves == sum(task.state not in GOOD_ENDS for task in leaves)
        assert (run.state in FINAL_RUN_STATES) == (run.unfinished == 0)


def _counters_of_nodes_are_true(world: World, _: Before) -> None:
    for run in world.db.runs.values():
        found: dict[TaskKey, list[TaskInstance]] = {}
        for task in _tasks(world, run):
            if task.map_index != UNMAPPED:
                found.setdefault(TaskKey(run.run_id, task.task_id), []).append(task)
        for node in _tasks(world, run):
            if node.map_index == UNMAPPED and node.mapped is not None:
                _check_node(world, node, node.mapped, found.pop(node.key, []))
        assert not found


def _check_node(world: World, node: TaskInstance, mapped: Mapped, instances: list[TaskInstance]) -> None:
    assert sorted(task.map_index for task in instances) == list(range(mapped.created))
    ended = Counter(task.state for task in instances if task.state in FINAL_TASK_STATES)
    assert mapped.success == ended[TaskState.SUCCESS]
    assert mapped.skipped == ended[TaskState.SKIPPED]
    assert mapped.failed == ended[TaskState.FAILED] + ended[TaskState.CANCELLED]
    assert (ended.total() == mapped.size > 0) <= (node.state in FINAL_TASK_STATES)
    assert mapped.created == mapped.size or all(task.state in _UNRELEASED for task in instances)
    outputs = [world.db.outputs.get(task.key) for task in instances if task.state in FINAL_TASK_STATES]
    assert mapped.output_bytes == sum(len(one.value if one else "null") + 1 for one in outputs)


_UNRELEASED: Final = (TaskState.WAITING, TaskState.CANCELLED)


def _counters_of_dags_are_true(world: World, _: Before) -> None:
    for dag in world.db.dags.values():
        of_dag = [run for run in world.db.runs.values() if run.dag_id == dag.dag_id and run.backfill_id is None]
        live = [run for run in of_dag if run.state not in FINAL_RUN_STATES]
        assert dag.waiting_runs == sum(run.hold is not None for run in live)
        assert dag.active_runs == len(live) - dag.waiting_runs
        assert not (dag.waiting_runs and dag.active_runs < dag.max_active_runs), "a run waits for nothing"


def _counters_of_backfills_are_true(world: World, _: Before) -> None:
    for row in world.db.backfills.values():
        runs = [run for run in world.db.runs.values() if run.backfill_id == row.backfill_id]
        owed = [event for event in world.owed if getattr(event, "backfill_id", None) == row.backfill_id]
        assert set(row.asked) <= {event.run_id for event in owed if isinstance(event, RunDue)}
        assert row.made == len(runs) + len(row.asked)
        assert row.active == sum(run.state not in FINAL_RUN_STATES for run in runs) + len(row.asked)
        assert row.active <= row.max_active
        assert row.failed == sum(run.state in FINAL_RUN_STATES - {RunState.SUCCESS} for run in runs)
        assert (row.finished_at is not None) == (row.next_date is None and not row.active)
        steps = [event for event in owed if isinstance(event, BackfillStep) and event.cursor == row.next_date]
        assert row.next_date is None or steps or row.active == row.max_active, "a backfill stands still"


def _counters_of_queues_are_true(world: World, _: Before) -> None:
    queues = {task.queue for task in world.db.tasks.values()} | world.db.queues.keys()
    for queue in queues:
        tasks = [task.state for task in world.db.tasks.values() if task.queue == queue]
        online = [row for row in world.db.workers.values() if row.state is WorkerState.ONLINE and queue in row.queues]
        counted = world.db.queues.get(queue, QueueRow(queue=queue))
        assert counted.queued == tasks.count(TaskState.QUEUED)
        assert counted.waiting == tasks.count(TaskState.SCHEDULED)
        assert counted.slots == sum(row.slots for row in online)
        assert counted.workers == len(online)


def _nothing_stands_still_without_a_reason(world: World, _: Before) -> None:
    for run in world.db.runs.values():
        graph = _graph(world, run)
        assert run.state is not RunState.QUEUED or run.hold is not None or _is_owed(world, run, "create", run.created)
        for task in _tasks(world, run):
            if task.state not in FINAL_TASK_STATES:
                assert REASONS[task.state](world, run, graph, task), f"{task.task_id} is {task.state} for ever"


def _timers_mean_something(world: World, _: Before) -> None:
    for key in world.db.timers:
        if key.task_id == NO_TASK:
            assert world.db.runs[key.run_id].state not in FINAL_RUN_STATES
            continue
        assert world.db.tasks[TaskKey(*key[:3])].state in TIMER_STATES[key.timer]


def _holds_are_of_scheduled_tasks(world: World, _: Before) -> None:
    for task in world.db.tasks.values():
        is_held = task.state is TaskState.SCHEDULED
        assert (task.hold is not None, task.room != "", task.turn > 0) == (is_held,) * 3
    check_rooms(world.db)


CHECKS: Final[tuple[Callable[[World, Before], None], ...]] = (
    _final_states_are_never_left,
    _a_holder_never_changes,
    _open_attempts_are_current_and_single,
    _counters_of_upstreams_are_true,
    _counters_of_runs_are_true,
    _counters_of_nodes_are_true,
    _counters_of_dags_are_true,
    _counters_of_backfills_are_true,
    _counters_of_queues_are_true,
    _nothing_stands_still_without_a_reason,
    _timers_mean_something,
    _holds_are_of_scheduled_tasks,
)


# --- why a task instance may stand still ------------------------------------------------------------------------------


def _may_wait(world: World, run: Run, graph: Graph, task: TaskInstance) -> bool:
    """It has an upstream that goes on, or a slice that will reach it is owed."""
    if task.map_index != UNMAPPED:
        return _may_wait_as_instance(world, run, task)
    place = graph.position[task.task_id]
    if run.state is RunState.QUEUED:
        return True  # the rest of the creation is owed
    if run.intent is Intent.CANCEL and run.cancelled <= place and _is_owed(world, run, "cancel", run.cancelled):
        return True
    if _waits_for_past(world, run, graph, task):
        return True
    if place in graph.roots:
        return graph.roots.index(place) >= run.released and _is_owed(world, run, "release", run.released)
    setups = [graph.tasks[setup].task_id for setup, scope in graph.scopes.items() if place in scope]
    return any(_still_matters(world, run, graph, place, name) for name in (*graph.tasks[place].upstream, *setups))


def _may_wait_as_instance(world: World, run: Run, task: TaskInstance) -> bool:
    """It waits for the last of its kind to be made, or a slice that will reach it is owed."""
    node = world.db.tasks[TaskKey(run.run_id, task.task_id)]
    mapped = node.mapped
    assert mapped is not None
    return any(
        _is_owed(world, run, step, cursor, task.task_id)
        for step, cursor, is_next in (
            ("expand", mapped.created, mapped.created < mapped.size),
            ("expand_release", mapped.released, mapped.created == mapped.size),
            ("expand_cancel", mapped.cancelled, node.intent is Intent.CANCEL and mapped.cancelled <= task.map_index),
        )
        if is_next
    )


def _may_stand_for_others(world: World, run: Run, _graph: Graph, task: TaskInstance) -> bool:
    """Its instances are about to be made, or one of them is under way, which has a reason of its own."""
    assert task.mapped is not None
    made = [TaskKey(run.run_id, task.task_id, index) for index in range(task.mapped.created)]
    is_open = any(world.db.tasks[key].state not in FINAL_TASK_STATES for key in made)
    return is_open or _is_owed(world, run, "expand", task.mapped.created, task.task_id)


def _waits_for_past(world: World, run: Run, graph: Graph, task: TaskInstance) -> bool:
    """The same task of the run before has not ended well, and that run knows whom to tell."""
    if run.previous is None or not graph.task(task.task_id).depends_on_past or not is_ready(graph, task):
        return False
    before = world.db.runs[run.previous]
    same = world.db.tasks.get(TaskKey(run.previous, task.task_id))
    open_past = before.state is RunState.QUEUED if same is None else same.state not in GOOD_ENDS
    told = {(event.run_id, event.task_id) for event in world.owed if isinstance(event, PastEnded)}
    return run.run_id in before.next_runs and (open_past or (run.run_id, task.task_id) in told)


def _still_matters(world: World, run: Run, graph: Graph, place: int, upstream: Any) -> bool:
    above = world.db.tasks[TaskKey(run.run_id, upstream)]
    if above.state not in FINAL_TASK_STATES:
        return True
    heard = graph.downstream_of(upstream).index(place) < above.propagated
    return not heard and _is_owed(world, run, "downstream", above.propagated, upstream)


def _may_be_held(world: World, _run: Run, graph: Graph, task: TaskInstance) -> bool:
    patient = task.hold is not HoldReason.WINDOW or _is_patient(world, graph, task)
    return patient and is_held_truly(world.db, task)


def _may_be_queued(world: World, _run: Run, graph: Graph, task: TaskInstance) -> bool:
    return _is_patient(world, graph, task) and TimerKey(*task.key, "queued_deadline") in world.db.timers


def _is_patient(world: World, graph: Graph, task: TaskInstance) -> bool:
    """Its patience has a timer, or no end."""
    patience = graph.task(task.task_id).queued_timeout
    return patience is None or TimerKey(*task.key, "queued_timeout") in world.db.timers


def _may_run(world: World, _run: Run, _graph: Graph, task: TaskInstance) -> bool:
    """Its holder lives, or what its death means is on its way; a cancelled one is told to stop."""
    row = world.db.attempts[AttemptKey(*task.key, task.try_number)]
    assert row.worker is not None
    assert row.boot is not None
    if task.intent is Intent.CANCEL and not {TimerKey(*task.key, "stop"), TimerKey(*task.key, "unkillable")} <= (
        world.db.timers.keys()
    ):
        return False
    lives = world.db.workers[BootKey(row.worker, row.boot)].state is WorkerState.ONLINE
    return lives or any(isinstance(event, WorkerLost) and event.token == row.token for event in world.owed)


def _may_rest(world: World, _run: Run, _graph: Graph, task: TaskInstance) -> bool:
    return TimerKey(*task.key, "retry") in world.db.timers


def _may_rest_between_polls(world: World, _run: Run, graph: Graph, task: TaskInstance) -> bool:
    is_bounded = graph.task(task.task_id).poll_timeout is not None
    return TimerKey(*task.key, "poll") in world.db.timers and (
        not is_bounded or TimerKey(*task.key, "poll_timeout") in world.db.timers
    )


REASONS: Final[dict[TaskState, Callable[[World, Run, Graph, TaskInstance], bool]]] = {
    TaskState.WAITING: _may_wait,
    TaskState.SCHEDULED: _may_be_held,
    TaskState.QUEUED: _may_be_queued,
    TaskState.RUNNING: _may_run,
    TaskState.MAPPED: _may_stand_for_others,
    TaskState.UP_FOR_RETRY: _may_rest,
    TaskState.UP_FOR_RESCHEDULE: _may_rest_between_polls,
}


def _is_owed(world: World, run: Run, step: str, cursor: int, name: str | None = None) -> bool:
    wanted = (run.run_id, step, cursor, name)
    return any(
        isinstance(event, Continue) and (event.run_id, event.step, event.cursor, event.task_id) == wanted
        for event in world.owed
    )


def _graph(world: World, run: Run) -> Graph:
    return world.db.graph(VersionKey(run.dag_id, run.version))


def _tasks(world: World, run: Run) -> list[TaskInstance]:
    return [task for task in world.db.tasks.values() if task.run_id == run.run_id]
