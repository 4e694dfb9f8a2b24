"""The style guide as a test: what a program can check of it, on every file and without an exception list."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("protocol", "broker", "scheduler", "worker", "notifier", "cli")
# The one file that reads the environment; every process is composed from what it returns.
SETTINGS = "cli/settings.py"

FUNCTION_LINES_MAX = 60  # what one screen shows
FILE_LINES_MAX = 400  # what a reader keeps in mind
VAGUE_NAMES = frozenset({"util", "common", "helper", "base", "manager", "handler", "misc"})
VAGUE_COMMENTS = re.compile(r"\b(probably|hack|should never happen)\b", re.IGNORECASE)
UNFINISHED = re.compile(r"\b(TO[D]O|FIX[M]E)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:work|root|home/\w+)/")
MOCKS = frozenset({"mock", "unittest.mock", "pytest_mock"})
CLOCKS = frozenset({"now", "utcnow", "today"})
TEXT_SUFFIXES = frozenset(
    {".cfg", ".conf", ".ini", ".json", ".md", ".mako", ".py", ".service", ".sh", ".toml", ".yaml", ""}
)


@dataclass(frozen=True, slots=True)
class Module:
    """A Python file of ours, read once."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """The path as a person would write it."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def room(self) -> str:
        """The top-level folder it stands in."""
        return self.path.relative_to(ROOT).parts[0]

    @property
    def is_pure(self) -> bool:
        """Whether it belongs to the protocol or to a core."""
        parts = Path(self.name).with_suffix("").parts
        return parts[0] == "protocol" or (self.room in ROOMS and parts[1] == "core")

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Every function and method, nested ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    def calls(self) -> Iterator[tuple[int, str]]:
        """Line and dotted name of every call whose name can be read off the source."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and (dotted := dotted_name(node.func)):
                yield node.lineno, dotted

    def prose(self) -> Iterator[tuple[int, str]]:
        """Every comment and docstring, with its line."""
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
        for node in [self.tree, *self.functions(), *(n for n in ast.walk(self.tree) if isinstance(n, ast.ClassDef))]:
            yield getattr(node, "lineno", 1), ast.get_docstring(node) or ""


def dotted_name(node: ast.expr) -> str:
    """`a.b.c` for a name or an attribute chain, else the empty string or what follows the last readable part."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{dotted_name(value)}.{attr}"
        case _:
            return ""


@cache
def modules() -> tuple[Module, ...]:
    """All Python files of the rooms, the tests and what stands beside them."""
    folders = [ROOT / name for name in (*ROOMS, "tests", "examples", "benchmarks", "docs")]
    paths = [ROOT / "src/headway/__init__.py", *(path for folder in folders for path in sorted(folder.rglob("*.py")))]
    return tuple(Module(path, text := path.read_text("utf-8"), ast.parse(text)) for path in paths)


def of_rooms() -> Iterator[Module]:
    """The modules that are installed."""
    return (module for module in modules() if module.room in ROOMS)


def of_tests() -> Iterator[Module]:
    """The modules that only a developer runs."""
    return (module for module in modules() if module.room == "tests")


def texts() -> Iterator[Path]:
    """Every text file of the project."""
    top = [path for path in ROOT.iterdir() if path.is_file()]
    folders = [ROOT / name for name in (*ROOMS, "tests", "examples", "benchmarks", "docs", "compose", "systemd", ".ci")]
    below = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return (p for p in [*top, *below] if p.suffix in TEXT_SUFFIXES and "__pycache__" not in p.parts)


def assert_none(faults: list[str]) -> None:
    """Fail with one fault a line."""
    assert not faults, "\n" + "\n".join(faults)


def test_functions_fit_a_screen():
    """No function is longer than its limit, docstring included."""
    sizes = ((m, f, (f.end_lineno or f.lineno) - f.lineno + 1) for m in modules() for f in m.functions())
    assert_none([f"{m.name}:{f.lineno} {f.name}: {n} lines" for m, f, n in sizes if n > FUNCTION_LINES_MAX])


def test_files_fit_the_head():
    """No file of code is longer than its limit; a suite of tests may be, for it is read one test at a time."""
    sizes = ((m.name, m.text.count("\n")) for m in modules() if m.room != "tests")
    assert_none([f"{name}: {lines} lines" for name, lines in sizes if lines > FILE_LINES_MAX])


def test_names_say_something():
    """No file, folder or class is called by a word that fits anything."""
    faults = []
    for module in modules():
        parts = Path(module.name).with_suffix("").parts
        words = {word for part in parts for word in part.lower().split("_")}
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                words |= {word.lower() for word in re.findall(r"[A-Z]+[a-z]*|[a-z]+", node.name)}
        vague = {word for word in words if word.removesuffix("s") in VAGUE_NAMES}
        faults += [f"{module.name}: {', '.join(sorted(vague))}"] if vague else []
    assert_none(faults)


def test_modules_open_with_a_sentence():
    """Every module says first what it is for."""
    docs = ((m.name, ast.get_docstring(m.tree) or "") for m in modules())
    assert_none([name for name, doc in docs if not re.match(r"\S.*?\w[.:?!)`]", doc, re.DOTALL)])


def test_comments_are_sure():
    """A comment that doubts is a fault that was seen and left."""
    assert_none(
        [f"{m.name}:{line} {text}" for m in modules() for line, text in m.prose() if VAGUE_COMMENTS.search(text)]
    )


def test_nothing_is_left_for_later():
    """What is not finished stands in the issue tracker, not in a file."""
    assert_none(
        [str(path.relative_to(ROOT)) for path in texts() if UNFINISHED.search(path.read_text("utf-8", "replace"))]
    )


def test_no_file_knows_the_machine_it_was_written_on():
    """No absolute path of a developer's folders."""
    assert_none(
        [str(path.relative_to(ROOT)) for path in texts() if MACHINE_PATHS.search(path.read_text("utf-8", "replace"))]
    )


def test_the_environment_is_read_in_one_place():
    """Only the settings module reads os.environ."""
    reads = re.compile(r"\bos\.(environ|getenv)\b|\bfrom os import .*\b(environ|getenv)\b")
    assert_none([m.name for m in of_rooms() if reads.search(m.text) and m.name != SETTINGS])


def test_tests_wait_for_signals():
    """No test sleeps: it waits for what it expects."""
    naps = ((m.name, line, name) for m in of_tests() for line, name in m.calls() if name.split(".")[-1] == "sleep")
    assert_none([f"{file}:{line} {name}" for file, line, name in naps])


def test_tests_use_the_real_part():
    """No test imports a mocking library."""
    faults = []
    for module in of_tests():
        for node in ast.walk(module.tree):
            match node:
                case ast.Import(names=names):
                    imported = {alias.name for alias in names}
                case ast.ImportFrom(module=str(source), names=names):
                    imported = {source, *(f"{source}.{alias.name}" for alias in names)}
                case _:
                    continue
            faults += [f"{module.name}:{node.lineno} {name}" for name in sorted(imported & MOCKS)]
    assert_none(faults)


def test_pure_code_reads_no_clock():
    """The types of datetime are welcome in a core; its clocks are not."""
    faults = []
    for module in of_rooms():
        for line, name in module.calls() if module.is_pure else ():
            *owner, last = name.split(".")
            if (owner and owner[-1] in {"datetime", "date"} and last in CLOCKS) or name in {"open", "print", "input"}:
                faults.append(f"{module.name}:{line} {name}()")
    assert_none(faults)


def test_imports_follow_the_house():
    """Relative inside a room, absolute across rooms: otherwise a type checker sees each class twice."""
    faults = []
    for module in of_rooms():
        depth = len(Path(module.name).parts) - 1
        for node in ast.walk(module.tree):
            match node:
                case ast.ImportFrom(level=level) if level > depth:
                    faults.append(f"{module.name}:{node.lineno} a relative import leaves the room")
                case ast.ImportFrom(level=0, module=str(target)) if target.startswith(f"headway.{module.room}"):
                    faults.append(f"{module.name}:{node.lineno} an absolute import inside the room: {target}")
                case ast.Import(names=names) if any(n.name.startswith(f"headway.{module.room}") for n in names):
                    faults.append(f"{module.name}:{node.lineno} an absolute import inside the room")
                case _:
                    pass
    assert_none(faults)


def test_the_store_and_the_core_know_no_shell():
    """In the scheduler the store may import the core, and neither anything beside them."""
    faults = []
    for module in of_rooms():
        parts = Path(module.name).with_suffix("").parts
        if parts[0] != "scheduler" or parts[1] not in {"store", "core"}:
            continue
        allowed = {"core", "store"} if parts[1] == "store" else {"core"}
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and node.level == len(parts) - 1:
                targets = {(node.module or alias.name).split(".")[0] for alias in node.names}
                faults += [f"{module.name}:{node.lineno} imports {name}" for name in sorted(targets - allowed)]
    assert_none(faults)


def test_four_plain_names_stay_free(tmp_path):
    """Importing all of Headway leaves no module that is called just `scheduler` or `worker`, and prints nothing."""
    script = (
        "import importlib, pkgutil, sys, headway\n"
        "for found in pkgutil.walk_packages(headway.__path__, 'headway.'):\n"
        "    if not found.name.endswith('.__main__') and '.migrations' not in found.name:\n"
        "        importlib.import_module(found.name)\n"
        f"sys.exit(', '.join(name for name in {ROOMS!r} if name in sys.modules) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_room_is_linked_listed_and_covered():
    """A room is reachable as headway.<room>, packed by MANIFEST.in and counted by coverage."""
    manifest, config = (ROOT / "MANIFEST.in").read_text("utf-8"), (ROOT / "setup.cfg").read_text("utf-8")
    for room in (name for name in ROOMS if (ROOT / name).is_dir()):
        assert (ROOT / "src/headway" / room).readlink() == Path("../..") / room
        assert f"graft {room}\n" in manifest
        assert f"\n    {room}\n" in config
