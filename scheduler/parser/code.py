"""Where the functions of `python` tasks stand, and the digests of those files: what a worker must have to run them.

Runs in the parser's child. A file is named by its path from the folder of DAG files, below which a worker looks for it
too; one that lies elsewhere, or was read without such a folder, by its absolute path. A module is named by its name.
One beside a DAG file goes as a file: a worker does not know where to look for the name.
"""

import ast
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from headway.protocol.calls import digest_of
from headway.protocol.dag import Code, Dag, Python, Task
from headway.protocol.keywords import did_you_mean
from headway.protocol.validation import Problem


class Located(NamedTuple):
    """A DAG whose code has digests, and what is wrong with some of it."""

    dag: Dag
    problems: tuple[Problem, ...]


class _Source(NamedTuple):
    """Code with its digest, and the names at its top, unless only running it would tell; or why there is none."""

    code: Code | None
    names: frozenset[str] | None = None
    fault: str = ""


def locate_code(dag: Dag, file: str, folder: str) -> Located:
    """Find the code of every `python` task of a DAG that `file` holds; `folder` is empty if it was read on its own."""
    sources: dict[tuple[str, str], _Source] = {}
    tasks: list[Task] = []
    problems: list[Problem] = []
    for task in dag.tasks:
        tasks.append(task)
        if not isinstance(task.command, Python) or task.code is None:
            continue
        key = (task.code.kind, task.code.ref)
        if key not in sources:
            sources[key] = (_find_file if task.code.kind == "file" else _find_module)(task.code.ref, file, folder)
        source = sources[key]
        fault = source.fault or _name_fault(task.code.ref, task.command.function, source.names)
        problems += [Problem(f"task {task.task_id!r}: {fault}", task.task_id)] if fault else []
        tasks[-1] = msgspec.structs.replace(task, code=source.code or task.code)
    return Located(msgspec.structs.replace(dag, tasks=tuple(tasks)), tuple(problems))


def _find_file(ref: str, file: str, folder: str) -> _Source:
    path = os.path.normpath(Path(file).parent / ref)
    below = Path(path).relative_to(folder).as_posix() if folder and Path(path).is_relative_to(folder) else path
    return _read(Code(kind="file", ref=below), path)


def _find_module(name: str, file: str, folder: str) -> _Source:
    try:
        spec = importlib.util.find_spec(name)
    except Exception as error:  # noqa: BLE001 - a package may raise anything when it is imported
        return _Source(None, fault=f"module {name!r} is not found: {type(error).__name__}: {error}")
    if spec is None:
        return _Source(None, fault=f"module {name!r} is not found: install it for the Python of the scheduler")
    if not spec.has_location or spec.origin is None:
        return _Source(None, fault=f"module {name!r} has no file whose digest a worker could compare")
    home = folder or str(Path(file).parent)
    if Path(spec.origin).is_relative_to(home):
        inside = Path(spec.origin).relative_to(home)
        if "." not in name and spec.submodule_search_locations is None:
            return _find_file(spec.origin, file, folder)
        if ".".join(inside.parent.parts if inside.stem == "__init__" else inside.with_suffix("").parts) != name:
            text = f"module {name!r} is at {inside} of the DAG folder, where no worker looks for it by that name"
            return _Source(None, fault=f"{text}: put its package at the top of the folder, or install it")
    return _read(Code(kind="module", ref=name), spec.origin)


def _read(code: Code, path: str) -> _Source:
    try:
        body = Path(path).read_bytes()
    except OSError as error:
        return _Source(None, fault=f"its code {path} cannot be read: {error.strerror}")
    try:
        names = _names_at_top(ast.parse(body, Path(path).name)) if path.endswith(".py") else None
    except (SyntaxError, ValueError) as error:
        return _Source(None, fault=f"its code {path} is no Python: {error}")
    return _Source(msgspec.structs.replace(code, digest=digest_of(body)), names)


def _names_at_top(tree: ast.Module) -> frozenset[str] | None:
    """Return the names that a module binds, or None if it also takes all of another's or makes them up."""
    names = frozenset(_bound([*tree.body]))
    return None if names & {"*", "__getattr__"} else names


def _bound(nodes: list[ast.AST]) -> Iterator[str]:
    """Yield the names that statements bind where they stand, in branches too and not within functions."""
    while nodes:
        node = nodes.pop()
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                yield from (alias.asname or alias.name.partition(".")[0] for alias in aliases)
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Lambda():
                pass
            case _:
                nodes += ast.iter_child_nodes(node)


def _name_fault(ref: str, function: str, names: frozenset[str] | None) -> str:
    if names is None or function in names:
        return ""
    return f"{ref} has no {function!r} at its top{did_you_mean(function, sorted(names))}"
