"""How a run begins: an operator's trigger, a date of its DAG's schedule, or its turn once fewer runs go on.

A DAG has no more than `max_active_runs` runs at a time. One that comes beyond that is stored with a hold and nothing
else; whoever ends a run wakes the first that waits (`admit_runs`), in a `run_capacity` that is recorded with it.
"""

from collections.abc import Iterable
from datetime import UTC

import msgspec

from headway.protocol.dag_events import RunCapacity, RunDue
from headway.protocol.errors import InvalidName
from headway.protocol.messages import Trigger
from headway.protocol.names import DagId, RunId, check_name
from headway.protocol.params import given_faults
from headway.protocol.schedule import interval_before
from headway.protocol.states import RunHold, RunKind, RunState

from .backfills import begin_in_backfill, note_rerun
from .changes import change_run, count_run
from .graph import Graph
from .rows import DagRow, Run, VersionKey
from .runs import create_slice
from .snapshot import Decision, Draft, Snapshot, Transition
from .timers import set_run_timer


def decide_trigger(draft: Draft, event: Trigger) -> Decision:
    """An operator wants a run of the DAG's newest version."""
    try:
        check_name("run id", event.run_id)
    except InvalidName as error:
        return draft.ignored(str(error))
    graph = _graph_for(draft, event)
    if isinstance(graph, str):
        return draft.ignored(graph)
    fault = next(given_faults(graph.dag.params, event.params), None)
    if fault is not None:
        return draft.ignored(fault)
    date = event.logical_date.astimezone(UTC)
    start, end = interval_before(graph.dag.plan, date)
    run = Run(
        run_id=event.run_id,
        dag_id=event.dag_id,
        version=graph.version,
        state=RunState.QUEUED,
        logical_date=date,
        data_interval_start=start,
        data_interval_end=end,
        params=event.params,
        created_at=draft.now,
        unfinished=len(graph.tasks),
    )
    return _begin(draft, run, graph)


def decide_run_due(draft: Draft, event: RunDue) -> Decision:
    """A date of the DAG's schedule has come, or it is the turn of one in a backfill."""
    graph = _graph_for(draft, event)
    if event.backfill_id is not None:
        if not begin_in_backfill(draft, event.backfill_id, event.run_id, exists=isinstance(graph, str)):
            return draft.ignored(f"backfill {event.backfill_id} does not wait for this run")
        if isinstance(graph, str):
            return draft.applied(f"left out: {graph}")
    if isinstance(graph, str):
        return draft.ignored(graph)
    run = Run(
        run_id=event.run_id,
        dag_id=event.dag_id,
        version=graph.version,
        kind=RunKind.SCHEDULED if event.backfill_id is None else RunKind.BACKFILL,
        backfill_id=event.backfill_id,
        state=RunState.QUEUED,
        logical_date=event.logical_date.astimezone(UTC),
        data_interval_start=event.data_interval_start.astimezone(UTC),
        data_interval_end=event.data_interval_end.astimezone(UTC),
        params=event.params,
        created_at=draft.now,
        unfinished=len(graph.tasks),
    )
    if event.backfill_id is not None:
        note_rerun(draft, run)
    return _begin(draft, _with_past(draft, run, graph, event.previous), graph)


def decide_run_capacity(draft: Draft, event: RunCapacity) -> Decision:
    """A run that was held begins."""
    run = draft.run(event.run_id)
    if run is None or run.dag_id != event.dag_id or run.hold is None:
        return draft.ignored("the run does not wait for its turn any more")
    count_run(draft, run, -1)
    run = change_run(draft, run, hold=None)
    count_run(draft, run, 1)
    create_slice(draft, run, draft.graph(run))
    return draft.applied()


def admit_runs(snapshot: Snapshot, dag: DagRow, stored: Iterable[Run]) -> list[RunCapacity]:
    """Choose the held runs of a DAG that may begin, in the order of coming; `stored` are the next that are stored."""
    changed = snapshot.changes.runs
    held = [run for run in changed.values() if run.dag_id == dag.dag_id and run.hold is not None]
    held += [run for run in stored if run.run_id not in changed]
    held.sort(key=lambda run: (run.created_at, run.logical_date, run.run_id))
    return [RunCapacity(dag_id=dag.dag_id, run_id=run.run_id) for run in held[: free_runs(dag)]]


def free_runs(dag: DagRow) -> int:
    """Return how many of a DAG's held runs may begin."""
    return max(0, min(dag.waiting_runs, dag.max_active_runs - dag.active_runs))


def _graph_for(draft: Draft, event: Trigger | RunDue) -> Graph | str:
    """Return the DAG's newest version, or why there can be no such run of it."""
    if draft.run(event.run_id) is not None:
        return f"a run {event.run_id} exists already"
    version = draft.fact("version", lambda: _newest_version(draft, event.dag_id))
    if not isinstance(version, int):
        return f"DAG {event.dag_id} is not known"
    return draft.snapshot.graphs[VersionKey(event.dag_id, version)]


def _with_past(draft: Draft, run: Run, graph: Graph, previous: RunId | None) -> Run:
    """Return the run as one that knows the run before it, if that is there and matters, and let that know this one."""
    before = draft.run(previous) if previous is not None and graph.has_past else None
    known = draft.fact("previous", lambda: None if before is None else before.run_id)
    if before is not None:
        tells_all = before.tells_all or run.version != before.version
        change_run(draft, before, next_runs=(*before.next_runs, run.run_id), tells_all=tells_all)
    return msgspec.structs.replace(run, previous=known)


def _newest_version(draft: Draft, dag_id: DagId) -> int | None:
    dag = draft.dag(dag_id)
    return None if dag is None else dag.version


def _begin(draft: Draft, run: Run, graph: Graph) -> Decision:
    """Store the run, and make its task instances unless too many runs go on."""
    if run.backfill_id is None and not draft.fact("free", lambda: _has_room(draft, run.dag_id)):
        run = change_run(draft, run, hold=RunHold.MAX_ACTIVE_RUNS)
    if graph.dag.deadline is not None:
        run = change_run(draft, run, deadline=run.deadline_after(graph.dag.deadline))
        set_run_timer(draft, run, "deadline", run.deadline_after(graph.dag.deadline))
    draft.changes.runs[run.run_id] = run
    draft.transitions.append(Transition("run", "", 0, 0, "", RunState.QUEUED, "trigger", ""))
    count_run(draft, run, 1)
    if run.hold is not None:
        return draft.applied("it waits until fewer runs of the DAG go on")
    create_slice(draft, run, graph)
    return draft.applied()


def _has_room(draft: Draft, dag_id: DagId) -> int:
    dag = draft.dag(dag_id)
    return int(dag is None or (not dag.waiting_runs and dag.active_runs < dag.max_active_runs))
