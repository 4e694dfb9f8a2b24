"""`headway check`: what is wrong with DAG files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..helping import Command
from ..printing import json_option, plain, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headway.scheduler.parser.report import ParsedFile

    from ..settings import Settings


@click.command(
    cls=Command,
    examples=("headway check nightly.py", "headway check dags/", "headway check dags/*.dag.yaml --json"),
    exits={0: "no file has a fault", 1: "one has"},
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@json_option
def check(files: tuple[Path, ...], *, as_json: bool) -> int:
    """Validate DAG files, without any effect.

    A folder stands for the DAG files in it. Each fault is one line, `file:line: message`.
    Where headway.toml has a table of queues, those of a DAG that do not stand there are warned of. Where there is a
    headway.toml, a pool that does not stand there, or has fewer slots than a task takes, is a fault.
    """
    from headway.scheduler.parser.folder import parse_files

    from ..composing import limits_of
    from ..settings import read_settings

    settings = read_settings()
    parsed = [_refuse_pools(file, settings) for file in parse_files(_readable(files), limits=limits_of(settings))]
    if as_json:
        print_json([entry for file in parsed for entry in _entries(file)])
    else:
        for file in parsed:
            _print(file)
    for remark in (*settings.remarks, *_strange_queues(parsed, settings)):
        click.echo(remark, err=True)
    return int(any(file.problems for file in parsed))


def _readable(paths: tuple[Path, ...]) -> list[Path]:
    """Return the files, those of folders too; what cannot be read is a mistake of the caller, not of a DAG."""
    from headway.protocol.errors import UserError
    from headway.scheduler.parser.folder import scan

    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += scan(path)
        elif not path.exists():
            raise UserError(detail=f"There is no file {path}: name a DAG file, or a folder of them.")
        elif not os.access(path, os.R_OK):
            raise UserError(detail=f"File {path} cannot be read: you may not.")
        else:
            files.append(path)
    return files


def _strange_queues(files: "list[ParsedFile]", settings: "Settings") -> "Iterator[str]":
    """Yield a warning for each queue of a DAG that headway.toml, which speaks of queues, does not speak of."""
    from headway.protocol.keywords import did_you_mean

    if settings.queues is None:
        return
    known = {"default", *settings.queues}
    for file in files:
        for parsed in file.dags:
            queues = {task.queue: task.task_id for task in reversed(parsed.dag.tasks) if task.queue not in known}
            for queue, task_id in queues.items():
                where = f"{file.file}: DAG {parsed.dag.dag_id}, task {task_id}: queue {queue!r}"
                near = did_you_mean(queue, sorted(known))
                yield f"{where} is not in {settings.config}{near}; it will be made when it is first used."


def _refuse_pools(file: "ParsedFile", settings: "Settings") -> "ParsedFile":
    """Return the file without the DAGs that ask for a pool which headway.toml, if there is one, does not have."""
    from headway.scheduler.core.limits import Limit, pool_fault, pool_room
    from headway.scheduler.core.rows import RoomRow
    from headway.scheduler.parser.report import FileProblem, ParsedFile

    if settings.config is None:
        return file
    faults: list[FileProblem] = []
    for parsed in file.dags:
        for task in parsed.dag.tasks:
            limit = Limit(pool_room(task.pool or ""), task.pool_slots)
            row = RoomRow(room=limit.room, slots=settings.pools.get(task.pool or ""))
            if task.pool is not None and (fault := pool_fault(limit, row)):
                message = f"task {task.task_id!r}: {fault}"
                faults.append(FileProblem(message=message, dag_id=parsed.dag.dag_id))
    faulty = {fault.dag_id for fault in faults}
    legal = tuple(parsed for parsed in file.dags if parsed.dag.dag_id not in faulty)
    return ParsedFile(file=file.file, dags=legal, problems=(*file.problems, *faults))


def _entries(file: "ParsedFile") -> list[dict[str, Any]]:
    """Return one entry for each DAG of a file, and one without DAG for faults that belong to none."""
    legal: list[dict[str, Any]] = [
        {"dag_id": parsed.dag.dag_id, "file": file.file, "tasks": parsed.task_count, "errors": []}
        for parsed in file.dags
    ]
    faulty: dict[str | None, list[dict[str, Any]]] = {}
    for problem in file.problems:
        faulty.setdefault(problem.dag_id, []).append({"line": problem.line, "message": problem.message})
    return legal + [
        {"dag_id": dag_id, "file": file.file, "tasks": None, "errors": errors} for dag_id, errors in faulty.items()
    ]


def _print(file: "ParsedFile") -> None:
    for problem in file.problems:
        click.echo(f"{file.file}:{problem.line}: {plain(problem.message)}")
    for parsed in file.dags:
        tasks = "1 task" if parsed.task_count == 1 else f"{parsed.task_count} tasks"
        click.echo(f"{file.file}: DAG {parsed.dag.dag_id}, {tasks}, no fault")
    if not file.dags and not file.problems:
        click.echo(f"{file.file}: no DAG in it")
