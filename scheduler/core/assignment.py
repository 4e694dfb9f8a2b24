"""The task message: everything that a worker must know, taken from the DAG version, the run and the attempt."""

from datetime import timedelta
from typing import Final

import msgspec

from headway.protocol.dag import Task, output_refs, output_sources
from headway.protocol.exit_codes import success_codes
from headway.protocol.limits import INPUT_BYTES_MAX
from headway.protocol.messages import RunContext
from headway.protocol.messages import Task as TaskMessage
from headway.protocol.names import QueueName, TaskId
from headway.protocol.params import defaults_of
from headway.protocol.schedule import day_of
from headway.protocol.topology import ANY_QUEUE

from .mapping import NULL, item_of, part_of, size_taken, value_taken
from .rows import Attempt, Run, TaskInstance
from .snapshot import Draft, PublishTask
from .timers import clear_timers, set_timer

QUEUED_GRACE: Final = timedelta(seconds=60)
"""A message that was neither taken nor handed back is lost when its queue's TTL and this are over (DESIGN 7)."""

_NO_ITEM: Final = msgspec.Raw(NULL.encode())


def publish(draft: Draft, run: Run, task: TaskInstance, attempt: Attempt) -> None:
    """Put the attempt's message into the outbox and set the time by which somebody must have taken it."""
    spec = draft.graph(run).task(task.task_id)
    message = TaskMessage(
        dag_id=run.dag_id,
        run_id=run.run_id,
        task_id=task.task_id,
        map_index=task.map_index,
        try_number=attempt.try_number,
        token=attempt.token,
        fence=attempt.try_number,
        queue=attempt.queue,
        command=spec.command,
        context=_context(draft, run),
        env=spec.env,
        cwd=spec.cwd,
        code=spec.code,
        timeout_seconds=spec.timeout,
        on_partition=spec.on_partition,
        inputs=_inputs(draft, run, spec),
        item=_NO_ITEM if spec.over is None else _item(draft, run, spec, task.map_index),
        secrets=spec.secrets,
        poll=attempt.polls,
        success_codes=success_codes(spec),
    )
    draft.effects.append(PublishTask(message, attempt.publications))
    set_timer(draft, task, "queued_deadline", draft.now + _ttl(draft, attempt.queue) + QUEUED_GRACE)


def publish_again(draft: Draft, run: Run, task: TaskInstance, attempt: Attempt) -> None:
    """Publish the same attempt once more: a double is harmless, for the grant decides."""
    again = msgspec.structs.replace(attempt, publications=attempt.publications + 1, published_at=draft.now)
    draft.changes.attempts[attempt.key] = again
    clear_timers(draft, task, "republish")
    publish(draft, run, task, again)


def input_fault(draft: Draft, run: Run, task: TaskInstance) -> str | None:
    """Say what is wrong with the item and the outputs that a task instance takes in, or None."""
    spec = draft.graph(run).task(task.task_id)
    if spec.over is None and not output_sources(spec):
        return None
    item = b"" if spec.over is None else _look_at_item(draft, run, spec, task.map_index)
    return item if isinstance(item, str) else _output_fault(draft, run, spec, len(item))


def _look_at_item(draft: Draft, run: Run, spec: Task, map_index: int) -> bytes | str:
    """Return the item of an instance, or what is wrong with it."""
    item = item_of(draft, run, spec, map_index)
    if not isinstance(item, str) and _holds_nul(bytes(item)):
        return "its item holds a NUL character, which no environment variable can"
    return item if isinstance(item, str) else bytes(item)


def _output_fault(draft: Draft, run: Run, spec: Task, size: int) -> str | None:
    """Say what is wrong with the outputs that a task takes in beside an item of this size."""
    for source in sorted(output_sources(spec)):
        taken = size_taken(draft, run, source)
        if taken is None:
            return f"task {source!r} wrote no output to HEADWAY_OUTPUT, and this task takes it in"
        size += taken
    if size > INPUT_BYTES_MAX:
        return (
            f"what it takes in has {size} bytes, and may have {INPUT_BYTES_MAX}: put large results into files and hand "
            "over their names"
        )
    for ref in output_refs(spec.command):
        value = value_taken(draft, run, ref.task_id)
        if value is None or part_of(value, ref.path) is None:
            path = "".join(f"[{part!r}]" for part in ref.path)
            return f"the output of task {ref.task_id!r} has no part {path}"
    return None


def _ttl(draft: Draft, queue: QueueName) -> timedelta:
    """Return the TTL of a queue; one of its own is recorded, for headway.toml may say another when an audit asks."""
    limits = draft.snapshot.limits
    if draft.snapshot.replayed is None and queue not in limits:
        return timedelta(seconds=ANY_QUEUE.ttl_seconds)
    milliseconds = draft.fact(f"ttl_ms {queue}", lambda: int(limits[queue].ttl_seconds * 1000))
    return timedelta(milliseconds=int(milliseconds or ANY_QUEUE.ttl_seconds * 1000))


def _context(draft: Draft, run: Run) -> RunContext:
    dag = draft.graph(run).dag
    params = {**defaults_of(dag.params), **run.params}
    return RunContext(
        ds=day_of(run.logical_date, dag.timezone),
        logical_date=run.logical_date,
        data_interval_start=run.data_interval_start,
        data_interval_end=run.data_interval_end,
        params=params,
    )


def _inputs(draft: Draft, run: Run, spec: Task) -> dict[TaskId, msgspec.Raw]:
    values = {source: value_taken(draft, run, source) for source in sorted(output_sources(spec))}
    return {source: msgspec.Raw(value.encode()) for source, value in values.items() if value is not None}


def _item(draft: Draft, run: Run, spec: Task, map_index: int) -> msgspec.Raw:
    """Return the item of an instance, which was there as it was admitted."""
    item = item_of(draft, run, spec, map_index)
    return _NO_ITEM if isinstance(item, str) else item


def _holds_nul(item: bytes) -> bool:
    return item.startswith(b'"') and rb"\u0000" in item and "\0" in msgspec.json.decode(item)
