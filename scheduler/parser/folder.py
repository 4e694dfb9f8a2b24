"""The folder of DAG files: which files count, all of them read, and DAG ids that two of them claim."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from headway.protocol.errors import WrongSettings
from headway.protocol.limits import DAG_FILE_BYTES_MAX
from headway.protocol.names import DagId

from .process import DEFAULT_LIMITS, parse_file
from .report import DOCUMENT_SUFFIXES, FileProblem, Limits, ParsedFile

_SKIPPED: Final = ("_", ".")
"""First characters of files and folders that hold no DAG: helper modules, caches, what git and editors keep."""

_WORDS: Final = (b"headway", b"DAG")
"""A Python file without both is a helper module; it is known without being run."""


def scan(folder: Path) -> list[Path]:
    """Return the DAG files in a folder and below it, in a stable order; raise WrongSettings if there is no folder."""
    if not folder.is_dir():
        raise WrongSettings(name="HEADWAY_DAGS", value=str(folder), detail="no such folder, make it or name another")
    return sorted(path for path in _walk(folder) if _may_hold_dag(path))


def parse_files(
    paths: Sequence[Path], *, limits: Limits = DEFAULT_LIMITS, folder: Path | None = None
) -> list[ParsedFile]:
    """Read files, as many at a time as there are processors; ids that two of them claim are problems of both."""
    read = partial(parse_file, timeout_seconds=limits.timeout_seconds, memory_bytes=limits.memory_bytes, folder=folder)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return refuse_doubles(list(pool.map(read, paths)))


def refuse_doubles(files: Sequence[ParsedFile]) -> list[ParsedFile]:
    """Take each DAG that two files hold from both, with a problem that names the other: neither may win by chance."""
    homes: dict[DagId, list[str]] = {}
    for file in files:
        for parsed in file.dags:
            homes.setdefault(parsed.dag.dag_id, []).append(file.file)
    return [_without_doubles(file, homes) for file in files]


def _without_doubles(file: ParsedFile, homes: dict[DagId, list[str]]) -> ParsedFile:
    doubles = [parsed.dag.dag_id for parsed in file.dags if len(homes[parsed.dag.dag_id]) > 1]
    if not doubles:
        return file
    problems = [FileProblem(message=_say_double(dag_id, file.file, homes[dag_id]), dag_id=dag_id) for dag_id in doubles]
    kept = tuple(parsed for parsed in file.dags if parsed.dag.dag_id not in doubles)
    return msgspec.structs.replace(file, dags=kept, problems=(*file.problems, *problems))


def _say_double(dag_id: DagId, file: str, homes: list[str]) -> str:
    others = " and ".join(home for home in homes if home != file)
    return f"DAG id {dag_id!r} is used in {others} too: give each DAG its own, nothing changes until then"


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(_SKIPPED)]
        yield from (Path(parent, name) for name in names if not name.startswith(_SKIPPED))


def _may_hold_dag(path: Path) -> bool:
    if path.name.endswith(DOCUMENT_SUFFIXES):
        return True
    if path.suffix != ".py":
        return False
    try:
        with path.open("rb") as file:
            content = file.read(DAG_FILE_BYTES_MAX + 1)
    except OSError:
        return True  # whoever reads it will say why it cannot be read
    return len(content) > DAG_FILE_BYTES_MAX or all(word in content for word in _WORDS)
