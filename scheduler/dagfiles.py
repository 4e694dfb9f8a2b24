"""From DAG files to DAG versions: what the folder holds, against what the scheduler knows of it.

A DAG whose value or file is not the known one has its value stored under its digest, and `dag_version` is handed to
whoever publishes: the scheduler's scanner and `headway dags sync` alike. An event that gets lost is made again at the
next look, because what is known still differs. Files are named relative to the folder, so that it does not matter from
where, or by whom, they were read.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from headway.protocol.dag_events import DagVersion
from headway.protocol.names import DagId

from .parser.folder import parse_files, refuse_doubles, scan
from .parser.process import DEFAULT_LIMITS
from .parser.report import Limits, ParsedDag, ParsedFile

Stamp = tuple[int, int, int]
"""Time of change, size and inode of a file: where they are the same, so is what stands in it."""

Known = Mapping[DagId, tuple[str, str]]
"""Digest and file of each DAG's newest version, as the scheduler knows it."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A fault in a DAG file."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        """Write it as compilers do."""
        return f"{self.file}:{self.line}: {self.message}"


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at the folder found: every DAG, those that are not known as they are, and all faults."""

    found: tuple[DagVersion, ...]
    changed: tuple[DagVersion, ...]
    problems: tuple[Problem, ...]


class Values(Protocol):
    """Where DAG values are kept; the scheduler's store."""

    def add_dag_value(self, digest: str, encoded: bytes) -> None:
        """Store a value under its digest; doing it twice is harmless."""
        ...


class DagFolder:
    """A folder of DAG files that is looked at again and again; what has not changed in between is not read again."""

    def __init__(self, folder: Path, *, limits: Limits = DEFAULT_LIMITS) -> None:
        """Look at `folder`; nothing is read yet."""
        self._folder = folder
        self._limits = limits
        self._seen: dict[Path, tuple[Stamp | None, ParsedFile]] = {}
        self._modules: dict[Path, Stamp | None] = {}

    def look(self, values: Values, known: Known, publish: Callable[[DagVersion], None]) -> Look:
        """Read what changed, store each value that is not known, and publish its version.

        Raises WrongSettings where there is no such folder, Unavailable where the store is, and what `publish` raises;
        all of that is tried again by the next look.
        """
        files = refuse_doubles(self._read(values, known))
        found = [self._version(file, parsed) for file in files for parsed in file.dags]
        changed = [version for version in found if known.get(version.dag_id) != (version.digest, version.file)]
        for version in changed:
            publish(version)
        problems = (
            Problem(file=file.file, line=problem.line, message=problem.message)
            for file in files
            for problem in file.problems
        )
        return Look(found=tuple(found), changed=tuple(changed), problems=tuple(problems))

    def _read(self, values: Values, known: Known) -> list[ParsedFile]:
        paths = scan(self._folder)
        self._forget_what_imports_changed(frozenset(paths))
        stamps = {path: _stamp(path) for path in paths}  # before they are read: a later change is seen next time
        fresh = [path for path in paths if path not in self._seen or self._seen[path][0] != stamps[path]]
        for path, file in zip(fresh, parse_files(fresh, limits=self._limits, folder=self._folder), strict=True):
            self._store_values(values, known, file)
            self._seen[path] = (stamps[path], _without_values(file))
        self._seen = {path: self._seen[path] for path in paths}
        return [self._seen[path][1] for path in paths]

    def _forget_what_imports_changed(self, paths: Collection[Path]) -> None:
        """A module beside the DAG files may be imported, or called, by any of them, so all files are read again."""
        modules = {path: _stamp(path) for path in _python_files(self._folder) if path not in paths}
        if modules != self._modules:
            self._seen = {}
            self._modules = modules

    def _store_values(self, values: Values, known: Known, file: ParsedFile) -> None:
        for parsed in file.dags:
            if known.get(parsed.dag.dag_id, ("", ""))[0] != parsed.digest:
                values.add_dag_value(parsed.digest, parsed.body)

    def _version(self, file: ParsedFile, parsed: ParsedDag) -> DagVersion:
        name = Path(file.file).relative_to(self._folder).as_posix()
        dag = parsed.dag
        return DagVersion(
            dag_id=dag.dag_id,
            digest=parsed.digest,
            file=name,
            task_count=parsed.task_count,
            schedule=dag.plan,
            max_active_runs=dag.max_active_runs,
        )


def _without_values(file: ParsedFile) -> ParsedFile:
    """Keep of a file's DAGs what the next look asks for: a value may take megabytes, and is stored."""
    kept = (
        msgspec.structs.replace(parsed, dag=msgspec.structs.replace(parsed.dag, tasks=()), body=b"")
        for parsed in file.dags
    )
    return msgspec.structs.replace(file, dags=tuple(kept))


def _python_files(folder: Path) -> Iterator[Path]:
    """Yield every Python file that a DAG file may import; hidden folders hold environments and caches, not those."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in names if name.endswith(".py"))


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
