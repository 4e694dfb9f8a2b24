"""Tasks that depend on the past: each waits until it ended well in the run before.

Runs that have such tasks know the run before them, and that one knows them: the end of a task there is told here in an
event of its own, `past_ended`. What was found in the other run is recorded as a fact. A task that is new, or whose run
before never was, has no past to wait for; one that failed there is waited for until somebody clears or marks it.
"""

from typing import Final

from headway.protocol.dag_events import PastEnded
from headway.protocol.names import RunId
from headway.protocol.states import GOOD_ENDS, RunState

from .graph import Graph
from .rows import Run, TaskInstance, TaskKey
from .snapshot import Draft, FollowUp

_NO_PAST: Final = "none"


def may_begin(draft: Draft, run: Run, task: TaskInstance) -> bool:
    """Say whether nothing of the past is in the way of a task."""
    if run.previous is None or not draft.graph(run).task(task.task_id).depends_on_past:
        return True
    previous = run.previous
    found = draft.fact(f"past {task.task_id}", lambda: _state_in(draft, previous, task))
    return found == _NO_PAST or found in GOOD_ENDS


def tell_next(draft: Draft, run: Run, graph: Graph, task: TaskInstance) -> None:
    """Tell the next runs (a backfill may make more than one) of a task's good end, unless nobody depends on it."""
    if task.state not in GOOD_ENDS or not (graph.task(task.task_id).depends_on_past or run.tells_all):
        return
    for run_id in run.next_runs:
        ended = PastEnded(dag_id=run.dag_id, run_id=run_id, task_id=task.task_id, map_index=task.map_index)
        draft.effects.append(FollowUp(ended))


def _state_in(draft: Draft, run_id: RunId, task: TaskInstance) -> str:
    before = draft.run(run_id)
    if before is None:
        return _NO_PAST
    same = draft.task(TaskKey(before.run_id, task.task_id, task.map_index))
    if same is not None:
        return same.state
    return before.state if before.state is RunState.QUEUED else _NO_PAST  # while it is queued, some are not made yet
