"""The code that this worker has for `python` tasks, and whether it is what a task wants. Nothing of it is run here.

A file stands below HEADWAY_DAGS, or where its absolute path says; a module where the worker's Python would import it
from, HEADWAY_DAGS before all else. What was read once is read again when the file has changed.
"""

import importlib
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Final

import msgspec

from headway.protocol.calls import digest_of, show_digest
from headway.protocol.dag import Code, Python
from headway.protocol.messages import Task

_FILES_MAX: Final = 1_000
"""Files that are remembered, with their digests: more than any worker runs the code of."""

_Stamp = tuple[int, int, int]


class CodeFault(msgspec.Struct, frozen=True):
    """Why this worker cannot run some code."""

    detail: str


class CodeStore:
    """What a worker has of its authors' code. `dags` is the folder of DAG files, if it has one."""

    def __init__(self, dags: Path | None) -> None:
        self._dags = dags
        self._digests: dict[Path, tuple[_Stamp, str]] = {}
        self._modules: dict[str, Path] = {}
        self.search = [str(path) for path in (dags, *sys.path) if path and Path(path).is_absolute()]

    def fault(self, task: Task) -> str:
        """Say why a task cannot run with the code that is here, if that is so."""
        found = self.find(task.code) if task.code is not None or isinstance(task.command, Python) else None
        return found.detail if isinstance(found, CodeFault) else ""

    def find(self, code: Code | None) -> Path | CodeFault:
        """Return the file of some code, if it is here and as it should be."""
        if code is None:
            return CodeFault("its function is in no code")
        find = _FINDERS.get(code.kind)
        if find is None:
            return CodeFault(f"this worker runs no code of kind {code.kind!r}")
        path = find(self, code.ref)
        if isinstance(path, CodeFault):
            return path
        try:
            digest = self._digest(path)
        except OSError as error:
            return CodeFault(f"{code.kind} {code.ref} is not on this worker ({path}: {error.strerror}): bring it there")
        if digest != code.digest:
            return CodeFault(
                f"{code.kind} {code.ref} is not on this worker as the DAG version wants it: {path} has digest "
                f"{show_digest(digest)}, wanted is {show_digest(code.digest)}. Bring scheduler and worker to the same "
                "code, run `headway dags sync`, and start a new run"
            )
        return path

    def _find_file(self, ref: str) -> Path | CodeFault:
        if self._dags is None and not Path(ref).is_absolute():
            return CodeFault(
                f"file {ref} of the folder of DAG files is wanted, and this worker has none: set HEADWAY_DAGS"
            )
        return Path(self._dags or "/", ref)

    def _find_module(self, name: str) -> Path | CodeFault:
        path = self._modules.get(name)
        if path is None or not path.exists():
            importlib.invalidate_caches()
            spec = _find_spec(name, [str(self._dags)] if self._dags else [])
            if spec is None or spec.origin is None:
                return CodeFault(f"module {name} is not on this worker: install it for {sys.executable}")
            path = self._modules[name] = Path(spec.origin)
        return path

    def _digest(self, path: Path) -> str:
        found = path.stat()
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        known, digest = self._digests.get(path, (None, ""))
        if known != stamp:
            digest = digest_of(path.read_bytes())
            self._digests.pop(path, None)
            self._digests[path] = (stamp, digest)
            if len(self._digests) > _FILES_MAX:
                del self._digests[next(iter(self._digests))]
        return digest


_FINDERS: Final[dict[str, Callable[[CodeStore, str], Path | CodeFault]]] = {
    "file": CodeStore._find_file,  # noqa: SLF001 - a table of its methods
    "module": CodeStore._find_module,  # noqa: SLF001
}


def _find_spec(name: str, first: list[str]) -> ModuleSpec | None:
    """Find a module as an import would, but without importing the packages that it is in."""
    parent, _, _ = name.rpartition(".")
    if not parent:
        return PathFinder.find_spec(name, first) or _ask_finders(name, None)
    package = _find_spec(parent, first)
    if package is None or package.submodule_search_locations is None:
        return None
    try:
        return _ask_finders(name, [*package.submodule_search_locations])
    except KeyError:
        return None  # a namespace in a namespace, which nobody knows before the outer one is imported


def _ask_finders(name: str, path: list[str] | None) -> ModuleSpec | None:
    specs = (finder.find_spec(name, path) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)
