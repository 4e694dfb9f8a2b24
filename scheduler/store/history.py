"""The log of events, read back for an audit: records, the states that the database holds, and the DAG versions."""

from collections.abc import Iterator

import msgspec
from sqlalchemy import Connection, Engine, select

from headway.protocol.names import RunId, partition_label

from ..core.graph import Graph, compile_graph
from ..core.replay import Recorded, Subject
from ..core.rows import VersionKey
from ..core.snapshot import Transition
from . import tables as t
from .engine import translated
from .load import read_dag
from .reads import one_moment


class RunHistory(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an audit of one run looks at. `versions` are the decide versions that decided its events."""

    run_id: RunId
    records: list[Recorded]
    versions: set[int]
    states: dict[Subject, str]
    graph: Graph | None


def read_histories(engine: Engine, run_id: RunId | None) -> Iterator[RunHistory]:
    """Yield the history of one run, or of all, each read in one consistent transaction."""
    with translated(engine), engine.connect() as connection:
        statement = select(t.runs.c.run_id, t.runs.c.dag_id, t.runs.c.version).order_by(t.runs.c.created_at)
        if run_id is not None:
            statement = statement.where(t.runs.c.run_id == run_id)
        runs = connection.execute(statement).all()
    for one, dag_id, version in runs:
        with translated(engine), one_moment(engine) as connection:
            records, versions = _records(connection, one)
            dag = read_dag(connection, VersionKey(dag_id, version))
            yield RunHistory(
                run_id=one,
                records=records,
                versions=versions,
                states=_states(connection, one),
                graph=None if dag is None else compile_graph(dag, version),
            )


def _records(connection: Connection, run_id: RunId) -> tuple[list[Recorded], set[int]]:
    rows = connection.execute(select(t.events).where(t.events.c.run_id == run_id).order_by(t.events.c.seq)).all()
    records = [
        Recorded(
            partition=row.partition,
            seq=row.seq,
            ref=f"{partition_label(row.partition)}/{row.seq}",
            at=row.at,
            message_id=row.message_id,
            user_id=row.user_id,
            origin=row.origin,
            body=row.body.encode(),
            applied=row.verdict == "applied",
            reason=row.reason,
            facts=msgspec.json.decode(row.facts),
            transitions=msgspec.json.decode(row.transitions, type=tuple[Transition, ...]),
        )
        for row in rows
    ]
    return records, {row.decide_version for row in rows}


def _states(connection: Connection, run_id: RunId) -> dict[Subject, str]:
    run, task, attempt = t.runs.c, t.task_instances.c, t.attempts.c
    states: dict[Subject, str] = {
        ("run", "", 0, 0): connection.execute(select(run.state).where(run.run_id == run_id)).scalar_one()
    }
    tasks = connection.execute(select(task.task_id, task.map_index, task.state).where(task.run_id == run_id))
    states.update({("task", task_id, index, 0): state for task_id, index, state in tasks})
    attempts = connection.execute(
        select(attempt.task_id, attempt.map_index, attempt.try_number, attempt.state).where(attempt.run_id == run_id)
    )
    states.update({("attempt", task_id, index, number): state for task_id, index, number, state in attempts})
    return states
