"""The task message: everything that a worker must know, taken from the DAG version, the run and the attempt."""

from datetime import timedelta
from typing import Final

import msgspec

from headway.protocol.dag import OutputRef, Task, output_refs, output_sources
from headway.protocol.exit_codes import success_codes
from headway.protocol.limits import INPUT_BYTES_MAX
from headway.protocol.messages import RunContext
from headway.protocol.messages import Task as TaskMessage
from headway.protocol.names import QueueName, TaskId
from headway.protocol.params import defaults_of
from headway.protocol.schedule import day_of
from headway.protocol.topology import ANY_QUEUE

from .changes import clear_timers, set_timer
from .rows import Attempt, Run, TaskInstance
from .snapshot import Draft, PublishTask

QUEUED_GRACE: Final = timedelta(seconds=60)
"""A message that was neither taken nor handed back is lost when its queue's TTL and this are over (DESIGN 7)."""


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


def input_fault(draft: Draft, run: Run, spec: Task) -> str | None:
    """Say what is wrong with the outputs that a task takes in, or None."""
    size = 0
    for source in sorted(output_sources(spec)):
        output = draft.output(run.run_id, source)
        if output is None:
            return f"task {source!r} wrote no output to HEADWAY_OUTPUT, and this task takes it in"
        size += len(output.value.encode())
    if size > INPUT_BYTES_MAX:
        return f"the outputs that it takes in have {size} bytes, and {INPUT_BYTES_MAX} are allowed"
    for ref in output_refs(spec.command):
        if not _has_part(draft, run, ref):
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
    outputs = {source: draft.output(run.run_id, source) for source in sorted(output_sources(spec))}
    return {source: msgspec.Raw(output.value.encode()) for source, output in outputs.items() if output is not None}


def _has_part(draft: Draft, run: Run, ref: OutputRef) -> bool:
    output = draft.output(run.run_id, ref.task_id)
    value = msgspec.json.decode(output.value) if output is not None else None
    for part in ref.path:
        match value:
            case dict() if part in value:
                value = value[part]
            case list() if isinstance(part, int) and -len(value) <= part < len(value):
                value = value[part]
            case _:
                return False
    return True
