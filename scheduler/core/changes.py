"""One constructor for each legal change of a stored thing.

Every change of state goes through `move_task`, `move_attempt` or `move_run`, which ask the tables of
protocol/states.py, keep the counters that depend on states, and note the transition for the record. `NoSuchChange`
says that the table has no row: the decision is dropped and the event ignored with that reason.
"""

import hashlib
from typing import assert_never

import msgspec

from headway.protocol.dag import Task, rule_of
from headway.protocol.errors import Corrupt
from headway.protocol.limits import ROWS_PER_DECISION_MAX
from headway.protocol.messages import Continue, Step
from headway.protocol.names import UNMAPPED, Token
from headway.protocol.states import (
    FINAL_RUN_STATES,
    FINAL_TASK_STATES,
    GOOD_ENDS,
    AttemptChange,
    AttemptState,
    EndReason,
    HoldReason,
    Intent,
    RunChange,
    RunState,
    TaskChange,
    TaskState,
    next_attempt_state,
    next_run_state,
    next_task_state,
)

from .backfills import end_in_backfill
from .branches import edges_from
from .graph import Graph
from .limits import count_in_rooms, first_room, hold_of_room
from .mapping import count_end, ending_of
from .past import may_begin, tell_next
from .rows import Attempt, AttemptKey, Mapped, Room, Run, TaskInstance, TaskKey
from .rules import Edge, Verdict, ends_of, explain_end, judge, move_counters
from .snapshot import Draft, FollowUp, Transition
from .timers import after_seconds, clear_run_timers, clear_timers, forget_timers, set_timer

_replace = msgspec.structs.replace


class NoSuchChange(Exception):
    """The tables have no such row."""


def add_task(draft: Draft, run: Run, graph: Graph, position: int, *, map_index: int = UNMAPPED) -> None:
    """Make a task instance, which waits."""
    spec = graph.tasks[position]
    task = TaskInstance(
        run_id=run.run_id,
        task_id=spec.task_id,
        map_index=map_index,
        position=position,
        dag_id=run.dag_id,
        state=TaskState.WAITING,
        since=draft.now,
        queue=spec.queue,
        priority=spec.priority,
    )
    draft.changes.tasks[task.key] = task
    if spec.deadline is not None and map_index == UNMAPPED:
        set_timer(draft, task, "deadline", run.deadline_after(spec.deadline))


def move_task(draft: Draft, task: TaskInstance, change: TaskChange, **fields: object) -> TaskInstance:
    """Move a task instance along one row of TASK_TRANSITIONS and return it; raise NoSuchChange."""
    after = next_task_state(task.state, change)
    if after is None:
        raise NoSuchChange(f"a task that is {task.state} cannot {change.replace('_', ' ')}")
    if after is not TaskState.SCHEDULED:
        fields = {"hold": None, "room": Room(""), "turn": 0, **fields}
    moved = _replace(task, state=after, since=draft.now, **fields)
    draft.changes.tasks[task.key] = moved
    _count_in_queue(draft, task, after)
    count_in_rooms(draft, task, moved)
    _note(draft, task, before=task.state, after=after, change=change)
    if after in FINAL_TASK_STATES:
        _count_in_run(draft, moved)
    return moved


def move_attempt(draft: Draft, attempt: Attempt, change: AttemptChange, **fields: object) -> Attempt:
    """Move an attempt along one row of ATTEMPT_TRANSITIONS and return it; raise NoSuchChange."""
    after = next_attempt_state(attempt.state, change)
    if after is None:
        raise NoSuchChange(f"an attempt that is {attempt.state} cannot {change}")
    moved = _replace(attempt, state=after, **fields)
    draft.changes.attempts[attempt.key] = moved
    draft.transitions.append(
        Transition(
            "attempt",
            attempt.task_id,
            attempt.map_index,
            attempt.try_number,
            attempt.state,
            after,
            change,
            moved.reason or "",
        )
    )
    return moved


def move_run(draft: Draft, run: Run, change: RunChange, **fields: object) -> Run:
    """Move a run along one row of RUN_TRANSITIONS and return it; raise NoSuchChange."""
    after = next_run_state(run.state, change)
    if after is None:
        raise NoSuchChange(f"a run that is {run.state} cannot {change}")
    moved = _replace(run, state=after, **fields)
    draft.changes.runs[run.run_id] = moved
    draft.transitions.append(Transition("run", "", 0, 0, run.state, after, change, ""))
    if after in FINAL_RUN_STATES:
        count_run(draft, run, -1)
        if run.backfill_id is not None:
            end_in_backfill(draft, run.backfill_id, failed=after is not RunState.SUCCESS)
        clear_run_timers(draft, run)
    return moved


def count_run(draft: Draft, run: Run, sign: int) -> None:
    """Count a run among those of its DAG that go on or, while it is held, that wait."""
    dag = draft.dag(run.dag_id)
    if dag is None or run.backfill_id is not None:
        return
    name = "active_runs" if run.hold is None else "waiting_runs"
    draft.changes.dags[dag.dag_id] = _replace(dag, **{name: getattr(dag, name) + sign})


def change_run(draft: Draft, run: Run, **fields: object) -> Run:
    """Change what is not a run's state."""
    changed = _replace(run, **fields)
    draft.changes.runs[run.run_id] = changed
    return changed


def change_task(draft: Draft, task: TaskInstance, **fields: object) -> TaskInstance:
    """Change what is not a task instance's state."""
    changed = _replace(task, **fields)
    draft.changes.tasks[task.key] = changed
    return changed


def current_attempt(draft: Draft, task: TaskInstance) -> Attempt:
    """Return the attempt of a task instance that is queued or running; raise Corrupt where there is none."""
    attempt = draft.attempt(AttemptKey(task.run_id, task.task_id, task.map_index, task.try_number))
    if attempt is None:
        raise Corrupt(detail=f"task {task.task_id} of run {task.run_id} is {task.state} without an attempt")
    return attempt


def resting_attempt(draft: Draft, task: TaskInstance) -> Attempt | None:
    """Return the attempt of a task instance if it rests between two polls: nobody holds it, and it goes on."""
    if task.state not in (TaskState.UP_FOR_RESCHEDULE, TaskState.SCHEDULED) or not task.try_number:
        return None
    if _spec_of(draft, task).poll_every is None:
        return None
    attempt = current_attempt(draft, task)
    return attempt if attempt.state is AttemptState.POLLING else None


def withdraw(draft: Draft, attempt: Attempt, reason: EndReason, detail: str = "") -> None:
    """End an attempt that is queued: whoever asks for it is told to drop it."""
    move_attempt(
        draft,
        attempt,
        AttemptChange.WITHDRAW,
        reason=reason,
        detail=detail,
        finished_at=draft.now,
        decided_by=draft.envelope.ref,
    )


def token_for(seed: str, task: TaskInstance, try_number: int, poll: int = 1) -> Token:
    """Make the token of an attempt: unguessable without the seed, and the same when it is decided again."""
    text = f"{seed}/{task.run_id}/{task.task_id}/{task.map_index}/{try_number}{f'/{poll}' if poll > 1 else ''}"
    return Token(hashlib.blake2b(text.encode(), digest_size=16).hexdigest())


def spread_end(draft: Draft, run: Run, task: TaskInstance, cursor: int = 0) -> None:
    """Tell the downstream tasks, from `cursor` on, how an upstream task ended; a longer rest goes on by `continue`.

    A run that is to end ends all its tasks by itself: nothing is spread there.
    """
    if run.intent is not None:
        return
    graph = draft.graph(run)
    downstream = graph.downstream_of(task.task_id)
    end = min(cursor + ROWS_PER_DECISION_MAX, len(downstream))
    edges = edges_from(draft, graph, task, downstream[cursor:end])
    for position, edge in zip(downstream[cursor:end], edges, strict=True):
        _hear_end(draft, graph, position, edge, task)
    change_task(draft, draft.task(task.key) or task, propagated=end)
    if end < len(downstream):
        follow_downstream(draft, task, end)


def follow_downstream(draft: Draft, task: TaskInstance, cursor: int = 0) -> None:
    """Let the downstream tasks of a task hear of its end in a decision of their own."""
    go_on_with(draft, task, "downstream", cursor)


def go_on_with(draft: Draft, task: TaskInstance, step: Step, cursor: int = 0) -> None:
    """Let a slice of what a task entails be decided next."""
    event = Continue(dag_id=task.dag_id, run_id=task.run_id, step=step, cursor=cursor, task_id=task.task_id)
    draft.effects.append(FollowUp(event))


def release(draft: Draft, task: TaskInstance) -> None:
    """Let a task whose rule holds begin, unless its past is in the way; a mapped one by making its instances."""
    run = draft.run_of(task)
    if not may_begin(draft, run, task):
        return
    if draft.graph(run).task(task.task_id).over is None:
        hold(draft, task, TaskChange.RELEASE)
    else:
        go_on_with(draft, move_task(draft, task, TaskChange.EXPAND, mapped=Mapped()), "expand")


def hold(draft: Draft, task: TaskInstance, change: TaskChange, **fields: object) -> TaskInstance:
    """Move a task instance to `scheduled`: into the line before its limits, or else into the room of its queue."""
    room = first_room(draft, task)
    held_by = hold_of_room(room)
    moved = move_task(draft, task, change, hold=held_by, room=room, turn=0, **fields)
    if held_by is HoldReason.WINDOW:
        begin_patience(draft, moved)
    return moved


def begin_patience(draft: Draft, task: TaskInstance) -> None:
    """Only its queue keeps a task instance waiting from now on: its queued_timeout begins."""
    patience = _spec_of(draft, task).queued_timeout
    if patience is not None:
        set_timer(draft, task, "queued_timeout", after_seconds(draft, patience))


def is_ready(graph: Graph, task: TaskInstance) -> bool:
    """Say whether all that a task waits for in its run has ended as it must."""
    spec = graph.task(task.task_id)
    setups = graph.setups.get(graph.position[task.task_id], 0)
    return judge(rule_of(spec), ends_of(task), len(spec.upstream), setups) is Verdict.READY


def reason_of_cancel(run: Run) -> EndReason:
    """Return why a task of a run is cancelled."""
    return EndReason.RUN_TIMEOUT if run.intent is Intent.FAIL else EndReason.CANCELLED


def end_task(
    draft: Draft, task: TaskInstance, change: TaskChange, *, reason: EndReason | None = None, detail: str = ""
) -> None:
    """Move a task instance to a final state, tell its downstreams, and end the run if it was the last."""
    forget_timers(draft, task)
    end_rest(draft, task, change, reason=reason, detail=detail)
    moved = move_task(draft, task, change, reason=reason, detail=detail)
    if moved.map_index == UNMAPPED:
        spread_end(draft, draft.run_of(moved), moved)
        end_run_if_done(draft, draft.run_of(moved))


def end_apart(
    draft: Draft, task: TaskInstance, change: TaskChange, *, reason: EndReason | None = None, detail: str = ""
) -> None:
    """End a task instance, and tell its downstreams in a decision of their own: there may be many such."""
    forget_timers(draft, task)
    end_rest(draft, task, change, reason=reason, detail=detail)
    moved = move_task(draft, task, change, reason=reason, detail=detail)
    if moved.map_index != UNMAPPED:
        return
    if draft.graph(draft.run_of(moved)).downstream_of(moved.task_id):
        follow_downstream(draft, moved)
    end_run_if_done(draft, draft.run_of(moved))


def end_node_if_done(draft: Draft, node: TaskInstance) -> None:
    """End a mapped task once none of its instances is under way."""
    ending = None if node.mapped is None else ending_of(node, node.mapped)
    if ending is not None:
        change, reason, detail = ending
        end_apart(draft, node, change, reason=reason, detail=detail)


def end_rest(draft: Draft, task: TaskInstance, change: TaskChange, *, reason: EndReason | None, detail: str) -> None:
    """End the attempt of a task instance that is about to end between two polls."""
    resting = resting_attempt(draft, task)
    if resting is not None:
        move_attempt(
            draft,
            resting,
            AttemptChange.FAIL if change is TaskChange.FAIL else AttemptChange.CANCEL,
            reason=reason,
            detail=detail,
            finished_at=draft.now,
            decided_by=draft.envelope.ref,
        )


def end_run_if_done(draft: Draft, run: Run) -> None:
    """End the run once none of its task instances is left."""
    if run.unfinished or run.state is not RunState.RUNNING:
        return
    if run.intent is Intent.CANCEL:
        change = RunChange.CANCEL
    else:
        change = RunChange.FAIL if run.failed_leaves or run.intent is Intent.FAIL else RunChange.SUCCEED
    move_run(draft, run, change, finished_at=draft.now)


def _hear_end(draft: Draft, graph: Graph, position: int, edge: Edge, above: TaskInstance) -> None:
    spec = graph.tasks[position]
    task = draft.task(TaskKey(above.run_id, spec.task_id))
    if task is None:
        return
    task = change_task(draft, task, **move_counters(task, edge, new=above.state))
    if task.state is not TaskState.WAITING:
        return
    rule = rule_of(spec)
    match judge(rule, ends_of(task), len(spec.upstream), graph.setups.get(position, 0)):
        case Verdict.WAIT:
            return
        case Verdict.READY:
            release(draft, task)
            return
        case Verdict.UPSTREAM_FAILED:
            change, reason = TaskChange.INHERIT_FAILURE, EndReason.UPSTREAM_FAILED
        case Verdict.SKIP:
            change = TaskChange.SKIP
            reason = EndReason.NOT_CHOSEN if task.up_unchosen else EndReason.SKIPPED_BY_RULE
        case verdict:
            assert_never(verdict)
    move_task(draft, task, change, reason=reason, detail=explain_end(rule, edge, above))
    if graph.downstream[position]:
        follow_downstream(draft, task)


def _spec_of(draft: Draft, task: TaskInstance) -> Task:
    return draft.graph(draft.run_of(task)).task(task.task_id)


def _count_in_queue(draft: Draft, task: TaskInstance, after: TaskState) -> None:
    delta = draft.queue(task.queue)
    delta.waiting += (after is TaskState.SCHEDULED) - (task.state is TaskState.SCHEDULED)
    delta.queued += (after is TaskState.QUEUED) - (task.state is TaskState.QUEUED)


def _count_in_node(draft: Draft, task: TaskInstance) -> None:
    node = draft.task(TaskKey(task.run_id, task.task_id))
    if node is None or node.mapped is None:
        raise Corrupt(detail=f"instance {task.map_index} of task {task.task_id} belongs to no mapped task")
    mapped = count_end(node.mapped, task.state, draft.changes.outputs.get(task.key))
    end_node_if_done(draft, change_task(draft, node, mapped=mapped))


def _count_in_run(draft: Draft, task: TaskInstance) -> None:
    if task.map_index != UNMAPPED:
        _count_in_node(draft, task)
        return
    run = draft.run_of(task)
    graph = draft.graph(run)
    if graph.task(task.task_id).deadline is not None:
        clear_timers(draft, task, "deadline")
    tell_next(draft, run, graph, task)
    failed = task.position in graph.deciders and task.state not in GOOD_ENDS
    change_run(draft, run, unfinished=run.unfinished - 1, failed_leaves=run.failed_leaves + failed)


def _note(draft: Draft, task: TaskInstance, *, before: TaskState, after: TaskState, change: TaskChange) -> None:
    reason = draft.changes.tasks[task.key].reason if after in FINAL_TASK_STATES else None
    draft.transitions.append(
        Transition("task", task.task_id, task.map_index, task.try_number, before, after, change, reason or "")
    )
