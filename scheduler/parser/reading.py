"""One DAG file, read in this very process: runs what its author wrote, so only `child.py` may call it.

A Python file's DAGs are those that its names lead to, directly or through a list, tuple or dict. One that the file made
and then let go is a problem, for an author who overwrites a name in a loop means all of them.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

import msgspec

from headway.protocol.authoring import DAG, DAGS_MADE, Place
from headway.protocol.dag import Dag
from headway.protocol.document import Document, read_document
from headway.protocol.names import TaskId
from headway.protocol.validation import Problem, validate
from headway.protocol.weights import apply_weights

from .code import locate_code
from .report import DOCUMENT_SUFFIXES, FIRST_LINE, YAML_SUFFIXES, FileProblem, Report

MODULE_NAME: Final = "headway_dag_file"
"""The name under which a DAG file runs: not its own, which might hide a module of the standard library."""


class _Found(msgspec.Struct, frozen=True):
    """A DAG, not judged yet, and where it and its tasks were made."""

    dag: Dag
    place: Place
    places: dict[TaskId, Place]


def read_file(file: str, folder: str) -> Report:
    """Read a DAG file, of a folder unless that is empty; raise whatever the file raises."""
    body = Path(file).read_bytes()
    read = _read_document if file.endswith(DOCUMENT_SUFFIXES) else _read_python
    return read(body, file, folder)


def _read_document(body: bytes, file: str, folder: str) -> Report:
    document = _read_yaml(body) if file.endswith(YAML_SUFFIXES) else read_document(body)
    if document.dag is None:
        return Report(problems=tuple(FileProblem(line=fault.line, message=fault.message) for fault in document.faults))
    places = {task_id: Place(file, line) for task_id, line in document.lines.items()}
    return _judge([_Found(document.dag, Place(file, FIRST_LINE), places)], file, folder)


def _read_yaml(body: bytes) -> Document:
    """Read a YAML document; what reads it costs 20 ms to import, and other files need not pay."""
    from headway.protocol.yaml_document import read_yaml_document  # noqa: PLC0415 - see above

    return read_yaml_document(body)


def _read_python(body: bytes, file: str, folder: str) -> Report:
    made: list[DAG] = []
    token = DAGS_MADE.set(made)
    try:
        kept = list(dict.fromkeys(_dags_in(_run(body, file))))
    finally:
        DAGS_MADE.reset(token)
    lost = tuple(_say_lost(dag) for dag in made if dag.place.file == file and dag not in kept)
    if not kept and not lost:
        text = "no DAG in it: keep one in a name of the module, or skip the file by a name that starts with '_'"
        return Report(problems=(FileProblem(message=text),))
    report = _judge([_built(dag) for dag in kept], file, folder)
    return Report(dags=report.dags, problems=(*report.problems, *lost))


def _run(body: bytes, file: str) -> dict[str, object]:
    """Run a Python file as a module, with the modules beside it within reach; return its names."""
    module = ModuleType(MODULE_NAME)
    module.__file__ = file
    sys.modules[MODULE_NAME] = module
    sys.path.insert(0, str(Path(file).parent))
    sys.argv = [file]
    sys.dont_write_bytecode = True  # reading a file leaves nothing beside it
    exec(compile(body, file, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - what this process is for
    return module.__dict__


def _dags_in(names: dict[str, object]) -> Iterator[DAG]:
    for value in names.values():
        match value:
            case list() | tuple():
                items: Iterable[object] = value
            case dict():
                items = value.values()
            case _:
                items = (value,)
        yield from (item for item in items if isinstance(item, DAG))


def _say_lost(dag: DAG) -> FileProblem:
    text = f"DAG {dag.dag_id!r} is made, but no name of the module leads to it in the end: keep all DAGs in a list"
    return FileProblem(line=dag.place.line, message=_clean(text), dag_id=_clean(dag.dag_id))


def _built(dag: DAG) -> _Found:
    value, places = dag.build()
    return _Found(value, dag.place, places)


def _judge(found: list[_Found], file: str, folder: str) -> Report:
    """Return the DAGs without a fault, and the faults of the others."""
    uses = Counter(one.dag.dag_id for one in found)
    dags: list[msgspec.Raw] = []
    problems: list[FileProblem] = []
    for one in found:
        located = locate_code(one.dag, file, folder)
        faults = list(_faults(one, located.problems, file))
        if uses[one.dag.dag_id] > 1:
            text = f"DAG id {one.dag.dag_id!r} is used {uses[one.dag.dag_id]} times in this file: give each DAG its own"
            faults.append(_problem(one, text, one.place, file))
        problems += faults
        dags += [] if faults else [msgspec.Raw(msgspec.json.encode(apply_weights(located.dag)))]
    return Report(dags=tuple(dags), problems=tuple(problems))


def _faults(one: _Found, of_code: tuple[Problem, ...], file: str) -> Iterator[FileProblem]:
    for problem in (*validate(one.dag), *of_code):
        place = one.place if problem.task_id is None else one.places.get(problem.task_id, one.place)
        yield _problem(one, problem.message, place, file)


def _problem(one: _Found, message: str, place: Place, file: str) -> FileProblem:
    line, elsewhere = place.line, ""
    if place.file != file:
        line, elsewhere = FIRST_LINE, f" (made in {place.file}, line {place.line})"
    return FileProblem(line=line, message=_clean(message + elsewhere), dag_id=_clean(one.dag.dag_id))


def _clean(text: str) -> str:
    """Return the text with whatever has no UTF-8 spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()
