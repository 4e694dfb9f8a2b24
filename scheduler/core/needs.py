"""Which rows a decision will look at, found from the event and from what is loaded already.

`needs_of` is asked again until nothing is missing: a `finished` first needs its run, which names the DAG version, which
names the downstream tasks. At most four rounds are ever needed, whatever the size of a run.
"""

from collections.abc import Sequence
from datetime import UTC
from typing import assert_never

import msgspec

from headway.protocol.dag import OutputRef, output_sources
from headway.protocol.dag_events import (
    Backfill,
    BackfillStep,
    DagVersion,
    PastEnded,
    Pause,
    RunCapacity,
    RunDue,
    ScheduleTimer,
    Unpause,
)
from headway.protocol.kinds import Event
from headway.protocol.limits import INPUT_BYTES_MAX, ROWS_PER_DECISION_MAX
from headway.protocol.messages import (
    AttemptMessage,
    BootMessage,
    Cancel,
    Capacity,
    Continue,
    DeliveryLimit,
    Expired,
    Finished,
    LeaseTimer,
    Missing,
    NotHeld,
    Offline,
    Refused,
    Rejected,
    RunTimer,
    Started,
    TaskTimer,
    Trigger,
    Unroutable,
    WorkerLost,
)
from headway.protocol.names import UNMAPPED, DagId, QueueName, RunId, TaskId, WorkerName, scheduled_run_id
from headway.protocol.states import WorkerState

from .backfills import dates_of_step, ids_of_date
from .graph import Graph
from .mapping import over_key
from .rows import AttemptKey, BootKey, Mapped, Room, Run, TaskKey, TimerKey, VersionKey
from .snapshot import Envelope, Snapshot
from .timers import NO_TASK

RunEvent = AttemptMessage | TaskTimer | RunTimer | Capacity | RunCapacity | PastEnded | Continue | Cancel
"""What is about a run that exists already."""


class Needs(msgspec.Struct):
    """Keys of rows that are still to be loaded."""

    dags: set[DagId] = msgspec.field(default_factory=set)
    backfills: set[str] = msgspec.field(default_factory=set)
    digests: set[str] = msgspec.field(default_factory=set)
    messages: set[str] = msgspec.field(default_factory=set)
    runs: set[RunId] = msgspec.field(default_factory=set)
    versions: set[VersionKey] = msgspec.field(default_factory=set)
    tasks: set[TaskKey] = msgspec.field(default_factory=set)
    attempts: set[AttemptKey] = msgspec.field(default_factory=set)
    timers: set[TimerKey] = msgspec.field(default_factory=set)
    outputs: set[TaskKey] = msgspec.field(default_factory=set)
    gathered: set[TaskKey] = msgspec.field(default_factory=set)  # mapped tasks: the outputs of all their instances
    workers: set[WorkerName] = msgspec.field(default_factory=set)
    held: set[BootKey] = msgspec.field(default_factory=set)
    queues: set[QueueName] = msgspec.field(default_factory=set)
    rooms: set[Room] = msgspec.field(default_factory=set)

    def any(self) -> bool:
        """Say whether anything is missing."""
        return any(getattr(self, name) for name in self.__struct_fields__)


def needs_of(snapshot: Snapshot, envelopes: list[Envelope]) -> Needs:
    """Return what is still missing before these events can be decided."""
    wanted = Needs()
    for envelope in envelopes:
        if envelope.origin == "operator":
            wanted.messages.add(envelope.message_id)
        _add(wanted, snapshot, envelope.event)
    return missing(wanted, snapshot)


def _add(wanted: Needs, snapshot: Snapshot, event: Event) -> None:
    match event:
        case BootMessage() | Offline() | LeaseTimer():
            _add_worker(wanted, snapshot, event.worker)
        case DagVersion():
            wanted.dags.add(event.dag_id)
            wanted.digests.add(event.digest)
        case Pause() | Unpause() | ScheduleTimer():
            wanted.dags.add(event.dag_id)
        case Backfill():
            wanted.backfills.add(event.backfill_id)
            _add_newest(wanted, snapshot, event.dag_id)
        case BackfillStep():
            _add_step(wanted, snapshot, event)
        case Trigger() | RunDue():
            _add_trigger(wanted, snapshot, event)
        case _:
            _add_of_run(wanted, snapshot, event)


def _add_worker(wanted: Needs, snapshot: Snapshot, worker: WorkerName) -> None:
    """Add the boots of a name, and what those hold that may hold anything: of an ended one all is reported."""
    wanted.workers.add(worker)
    for key in snapshot.boots.get(worker, ()):
        boot = snapshot.workers.rows.get(key)
        if boot is not None and boot.state is not WorkerState.ENDED:
            wanted.held.add(key)


def _add_trigger(wanted: Needs, snapshot: Snapshot, event: Trigger | RunDue) -> None:
    wanted.runs.add(event.run_id)
    if isinstance(event, RunDue):
        if event.previous is not None:
            wanted.runs.add(event.previous)
        if event.backfill_id is not None:
            wanted.backfills.add(event.backfill_id)
            wanted.runs.add(scheduled_run_id(event.dag_id, event.logical_date.astimezone(UTC)))
    _add_newest(wanted, snapshot, event.dag_id)


def _add_newest(wanted: Needs, snapshot: Snapshot, dag_id: DagId) -> None:
    wanted.dags.add(dag_id)
    dag = snapshot.dags.rows.get(dag_id)
    if dag is not None:
        wanted.versions.add(VersionKey(dag.dag_id, dag.version))


def _add_step(wanted: Needs, snapshot: Snapshot, event: BackfillStep) -> None:
    wanted.backfills.add(event.backfill_id)
    row = snapshot.backfills.rows.get(event.backfill_id)
    if row is not None and row.next_date is not None:
        for date in dates_of_step(row, event.cursor):
            first, again = ids_of_date(row, date)
            known = snapshot.runs.rows.get(first)
            newest = {known.rerun} if known is not None and known.rerun is not None else set()
            wanted.runs |= {first, again, *newest}


def _add_of_run(wanted: Needs, snapshot: Snapshot, event: RunEvent) -> None:
    wanted.runs.add(event.run_id)
    _add_named(wanted, snapshot, event)
    run = snapshot.runs.rows.get(event.run_id)
    if run is None:
        return
    wanted.dags.add(run.dag_id)  # should the run end, or begin, its DAG counts it
    version = VersionKey(run.dag_id, run.version)
    wanted.versions.add(version)
    if run.previous is not None:
        wanted.runs.add(run.previous)
        if isinstance(event, PastEnded):
            wanted.tasks.add(TaskKey(run.previous, event.task_id, event.map_index))
    if run.backfill_id is not None:
        wanted.backfills.add(run.backfill_id)
    graph = snapshot.graphs.get(version)
    if graph is not None:
        _add_with_graph(wanted, snapshot, event, run, graph)


def _add_named(wanted: Needs, snapshot: Snapshot, event: RunEvent) -> None:
    """Add what the event itself names: it is looked at even where there is no such run."""
    match event:
        case AttemptMessage():
            key = TaskKey(event.run_id, event.task_id, event.map_index)
            _add_task(wanted, key)
            wanted.attempts.add(AttemptKey(*key, event.try_number))
            _add_of_kind(wanted, snapshot, event, key)
        case PastEnded():
            wanted.tasks.add(TaskKey(event.run_id, event.task_id, event.map_index))
        case RunTimer():
            wanted.timers.add(TimerKey(event.run_id, NO_TASK, UNMAPPED, event.timer))
        case TaskTimer():
            _add_timer(wanted, snapshot, event)
        case Continue() if event.task_id is not None:
            wanted.tasks.add(TaskKey(event.run_id, event.task_id))
        case Cancel() if event.task_id is not None:
            _add_current(wanted, snapshot, TaskKey(event.run_id, event.task_id, event.map_index))
        case _:
            pass


def _add_task(wanted: Needs, key: TaskKey) -> None:
    """Add a task instance, and of a mapped task its node, which counts how the instance ends."""
    wanted.tasks.add(key)
    if key.map_index != UNMAPPED:
        wanted.tasks.add(key._replace(map_index=UNMAPPED))


def _add_of_kind(wanted: Needs, snapshot: Snapshot, event: AttemptMessage, key: TaskKey) -> None:
    match event:
        case Started():
            wanted.workers.add(event.worker)
        case Finished():
            _add_current(wanted, snapshot, key)
        case Expired() | DeliveryLimit() | Unroutable() | Missing():
            wanted.timers.add(TimerKey(*key, "republish"))
        case Refused() | Rejected():
            wanted.timers.add(TimerKey(*key, "republish"))
            task = snapshot.tasks.rows.get(key)
            if task is not None:
                wanted.queues.add(task.queue)
        case _:
            pass


def _add_with_graph(wanted: Needs, snapshot: Snapshot, event: RunEvent, run: Run, graph: Graph) -> None:
    match event:
        case Expired() | Missing() | TaskTimer(timer="queued_deadline" | "republish"):
            key = TaskKey(run.run_id, event.task_id, event.map_index)
            _add_inputs(wanted, snapshot, graph, key)
        case Finished() | WorkerLost() | NotHeld() | Refused() | Rejected() | DeliveryLimit():
            _add_hearing(wanted, run, graph, event)
        case TaskTimer(timer="queued_timeout" | "unkillable" | "poll_timeout"):
            _add_hearing(wanted, run, graph, event)
        case RunTimer(timer="run_timeout"):
            _add_slice_of_all(wanted, snapshot, run, graph)
        case AttemptMessage() | TaskTimer() | RunTimer() | RunCapacity() | PastEnded():
            pass
        case Capacity():
            _add_admitted(wanted, snapshot, event, run, graph)
        case Cancel():
            _add_cancelled(wanted, snapshot, event, run, graph)
        case Continue():
            _add_slice(wanted, snapshot, event, run, graph)
        case _:
            assert_never(event)


def _add_timer(wanted: Needs, snapshot: Snapshot, event: TaskTimer) -> None:
    key = TaskKey(event.run_id, event.task_id, event.map_index)
    wanted.timers.add(TimerKey(*key, event.timer))
    if event.timer == "queued_timeout":
        wanted.timers.add(TimerKey(*key, "republish"))
    _add_current(wanted, snapshot, key)
    task = snapshot.tasks.rows.get(key)
    if task is not None:
        wanted.queues.add(task.queue)


def _add_inputs(wanted: Needs, snapshot: Snapshot, graph: Graph, key: TaskKey) -> None:
    """Add what the task instance takes in: whoever publishes it, or publishes it again, puts that in."""
    if key.task_id not in graph.position:
        return
    spec = graph.task(key.task_id)
    for source in output_sources(spec):
        source_key = TaskKey(key.run_id, source)
        if graph.task(source).over is None:
            wanted.outputs.add(source_key)
            continue
        mapped = _add_node(wanted, snapshot, source_key)
        if mapped is not None and mapped.output_bytes <= INPUT_BYTES_MAX:  # what is longer is not looked at
            wanted.gathered.add(source_key)
    if isinstance(spec.over, OutputRef) and key.map_index != UNMAPPED:
        wanted.outputs.add(over_key(graph, key.run_id, spec.over, key.map_index))


def _add_node(wanted: Needs, snapshot: Snapshot, key: TaskKey) -> Mapped | None:
    """Add the node of a mapped task, and return what it knows of its instances, once it is loaded."""
    wanted.tasks.add(key)
    node = snapshot.tasks.rows.get(key)
    return None if node is None else node.mapped


def _add_hearing(wanted: Needs, run: Run, graph: Graph, event: AttemptMessage | TaskTimer) -> None:
    """Add who hears of the end of a task; of an instance only its node does."""
    if event.map_index == UNMAPPED:
        _add_downstream(wanted, run, graph, event.task_id, 0)
        if isinstance(event, Finished):
            _add_choice(wanted, run.run_id, graph, event.task_id)


def _add_downstream(wanted: Needs, run: Run, graph: Graph, task_id: TaskId, cursor: int) -> None:
    if task_id in graph.position:
        positions = graph.downstream_of(task_id)[cursor : cursor + ROWS_PER_DECISION_MAX]
        _add_tasks(wanted, run, graph, positions)


def _add_tasks(wanted: Needs, run: Run, graph: Graph, positions: Sequence[int]) -> None:
    """Add tasks that may begin, and the same ones of the run before of those that depend on the past."""
    for position in positions:
        spec = graph.tasks[position]
        wanted.tasks.add(TaskKey(run.run_id, spec.task_id))
        if spec.depends_on_past and run.previous is not None:
            wanted.tasks.add(TaskKey(run.previous, spec.task_id))


def _add_choice(wanted: Needs, run_id: RunId, graph: Graph, task_id: TaskId) -> None:
    """Add the output of a branch, which says who is followed: whoever lets its downstreams hear of its end asks."""
    if task_id in graph.position and graph.task(task_id).branch:
        wanted.outputs.add(TaskKey(run_id, task_id))


def _add_current(wanted: Needs, snapshot: Snapshot, key: TaskKey) -> None:
    _add_task(wanted, key)
    task = snapshot.tasks.rows.get(key)
    if task is not None:
        wanted.attempts.add(AttemptKey(*key, task.try_number))


def _add_admitted(wanted: Needs, snapshot: Snapshot, event: Capacity, run: Run, graph: Graph) -> None:
    for instance in event.instances:
        key = TaskKey(run.run_id, instance.task_id, instance.map_index)
        if instance.task_id in graph.position and graph.task(instance.task_id).poll_every is not None:
            _add_current(wanted, snapshot, key)
        _add_task(wanted, key)
        _add_inputs(wanted, snapshot, graph, key)


def _add_cancelled(wanted: Needs, snapshot: Snapshot, event: Cancel, run: Run, graph: Graph) -> None:
    if event.task_id is None:
        _add_slice_of_all(wanted, snapshot, run, graph)
    elif event.map_index == UNMAPPED:
        _add_downstream(wanted, run, graph, event.task_id, 0)


def _add_slice_of_all(wanted: Needs, snapshot: Snapshot, run: Run, graph: Graph) -> None:
    _add_positions(wanted, snapshot, run, graph, range(min(ROWS_PER_DECISION_MAX, len(graph.tasks))))


def _add_slice(wanted: Needs, snapshot: Snapshot, event: Continue, run: Run, graph: Graph) -> None:
    end = event.cursor + ROWS_PER_DECISION_MAX
    if event.task_id is not None:
        _add_slice_of_task(wanted, snapshot, event, run, graph)
    elif event.step == "release":
        _add_tasks(wanted, run, graph, graph.roots[event.cursor : end])
    elif event.step == "cancel":
        _add_positions(wanted, snapshot, run, graph, range(event.cursor, min(end, len(graph.tasks))))


def _add_slice_of_task(wanted: Needs, snapshot: Snapshot, event: Continue, run: Run, graph: Graph) -> None:
    key = TaskKey(event.run_id, TaskId(event.task_id or ""))
    mapped = _add_node(wanted, snapshot, key)
    match event.step:
        case "downstream":
            _add_downstream(wanted, run, graph, key.task_id, event.cursor)
            _add_choice(wanted, event.run_id, graph, key.task_id)
        case "expand":
            _add_mapped_over(wanted, snapshot, graph, key)
        case "expand_release" | "expand_cancel":
            end = event.cursor + ROWS_PER_DECISION_MAX
            for index in range(event.cursor, min(end, 0 if mapped is None else mapped.created)):
                _add_current(wanted, snapshot, key._replace(map_index=index))
        case _:
            pass


def _add_mapped_over(wanted: Needs, snapshot: Snapshot, graph: Graph, key: TaskKey) -> None:
    """Add what a task is mapped over: an output, or how many instances wrote one each."""
    over = graph.task(key.task_id).over if key.task_id in graph.position else None
    if isinstance(over, OutputRef):
        _add_node(wanted, snapshot, TaskKey(key.run_id, over.task_id))
        wanted.outputs.add(over_key(graph, key.run_id, over, UNMAPPED))


def _add_positions(wanted: Needs, snapshot: Snapshot, run: Run, graph: Graph, positions: range) -> None:
    for task_id in graph.ids(positions):
        _add_current(wanted, snapshot, TaskKey(run.run_id, task_id))


def missing(wanted: Needs, snapshot: Snapshot) -> Needs:
    """Return what of this is not in the snapshot."""
    return Needs(
        dags={key for key in wanted.dags if snapshot.dags.lacks(key)},
        backfills={key for key in wanted.backfills if snapshot.backfills.lacks(key)},
        digests=wanted.digests - snapshot.digests.keys(),
        messages=wanted.messages - snapshot.messages.keys(),
        runs={key for key in wanted.runs if snapshot.runs.lacks(key)},
        versions=wanted.versions - snapshot.graphs.keys(),
        tasks={key for key in wanted.tasks if snapshot.tasks.lacks(key)},
        attempts={key for key in wanted.attempts if snapshot.attempts.lacks(key)},
        timers={key for key in wanted.timers if snapshot.timers.lacks(key)},
        outputs={key for key in wanted.outputs if snapshot.outputs.lacks(key)},
        gathered=wanted.gathered - snapshot.gathered,
        workers=wanted.workers - snapshot.boots.keys(),
        held=wanted.held - snapshot.held.keys(),
        queues=wanted.queues - snapshot.queues.keys(),
        rooms=wanted.rooms - snapshot.rooms.keys(),
    )
