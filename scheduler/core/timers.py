"""Stored timers of task instances and of runs: one of each kind, and the states in which a kind means something."""

from datetime import datetime, timedelta
from typing import Final

from headway.protocol.messages import RunTimerKind, TimerKind
from headway.protocol.names import UNMAPPED, TaskId
from headway.protocol.states import FINAL_TASK_STATES, TaskState

from .rows import Run, TaskInstance, Timer, TimerKey
from .snapshot import Draft

TIMER_STATES: Final[dict[TimerKind, tuple[TaskState, ...]]] = {
    "retry": (TaskState.UP_FOR_RETRY,),
    "poll": (TaskState.UP_FOR_RESCHEDULE,),
    "poll_timeout": (TaskState.UP_FOR_RESCHEDULE, TaskState.SCHEDULED, TaskState.QUEUED),
    "queued_deadline": (TaskState.QUEUED,),
    "republish": (TaskState.QUEUED,),
    "queued_timeout": (TaskState.SCHEDULED, TaskState.QUEUED),
    "stop": (TaskState.RUNNING,),
    "unkillable": (TaskState.RUNNING,),
    "deadline": tuple(state for state in TaskState if state not in FINAL_TASK_STATES),
}
"""The states in which each kind of timer means something; in any other it is dropped."""

NO_TASK: Final = TaskId("")
"""Where a timer is of a run."""


def set_timer(draft: Draft, task: TaskInstance, timer: TimerKind, due: datetime) -> None:
    """Let the task instance be looked at again at `due`; replaces a timer of the same kind."""
    key = TimerKey(task.run_id, task.task_id, task.map_index, timer)
    draft.changes.timers[key] = Timer(
        run_id=task.run_id, task_id=task.task_id, map_index=task.map_index, timer=timer, dag_id=task.dag_id, due=due
    )


def set_run_timer(draft: Draft, run: Run, timer: RunTimerKind, due: datetime) -> None:
    """Let a run be looked at again at `due`."""
    key = TimerKey(run.run_id, NO_TASK, UNMAPPED, timer)
    draft.changes.timers[key] = Timer(run_id=run.run_id, task_id=NO_TASK, timer=timer, dag_id=run.dag_id, due=due)


def clear_run_timers(draft: Draft, run: Run) -> None:
    """Forget the timers of a run that ends; most have none."""
    dag = draft.graph(run).dag
    of_dag: dict[RunTimerKind, float | None] = {"run_timeout": dag.run_timeout, "deadline": dag.deadline}
    for timer, seconds in of_dag.items():
        if seconds is not None:
            draft.changes.timers[TimerKey(run.run_id, NO_TASK, UNMAPPED, timer)] = None


def clear_timers(draft: Draft, task: TaskInstance, *timers: TimerKind) -> None:
    """Forget timers, whether they are set or not."""
    for timer in timers:
        draft.changes.timers[TimerKey(task.run_id, task.task_id, task.map_index, timer)] = None


def forget_timers(draft: Draft, task: TaskInstance) -> None:
    """Forget all timers that a task instance may have in the state that it is about to leave for good.

    One that runs has some only if it shall end, and few poll: what most tasks never have is not looked for. A deadline
    stays until the task has ended (changes.py).
    """
    if task.state is TaskState.RUNNING and task.intent is None:
        return
    polls = draft.graph(draft.run_of(task)).task(task.task_id).poll_timeout is not None
    stay: tuple[TimerKind, ...] = ("deadline",) if polls else ("deadline", "poll_timeout")
    found = (timer for timer, states in TIMER_STATES.items() if task.state in states and timer not in stay)
    clear_timers(draft, task, *found)


def after_seconds(draft: Draft, seconds: float) -> datetime:
    """Return the time so many seconds from now."""
    return draft.now + timedelta(seconds=seconds)
