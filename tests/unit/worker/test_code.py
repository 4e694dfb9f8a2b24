"""Which code a worker has: found as its Python would import it, without importing it, and compared by digest."""

import json
import re
import sys
from pathlib import Path

import pytest

from headway.protocol.calls import digest_of
from headway.protocol.dag import Code, Python, Shell
from headway.worker import code as module
from headway.worker.code import CodeFault, CodeStore
from shopfloor import task

BODY = b"raise SystemExit('imported')\n"


@pytest.fixture
def dags(tmp_path) -> Path:
    """Give a folder with a file, a package in a package, and a namespace in a namespace."""
    for name in ("jobs.py", "shop/__init__.py", "shop/night/__init__.py", "shop/night/jobs.py", "open/space/jobs.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BODY)
    return tmp_path


def code(kind: str, ref: str, body: bytes = BODY) -> Code:
    """Return code as a task names it."""
    return Code(kind=kind, ref=ref, digest=digest_of(body))


@pytest.mark.parametrize(
    ("kind", "ref", "place"),
    [
        ("file", "jobs.py", "jobs.py"),
        ("file", "shop/night/jobs.py", "shop/night/jobs.py"),
        ("module", "jobs", "jobs.py"),
        ("module", "shop", "shop/__init__.py"),
        ("module", "shop.night.jobs", "shop/night/jobs.py"),
    ],
)
def test_code_is_found_below_the_folder(dags, kind, ref, place):
    """None of it is imported for that; what was found once is found again."""
    store = CodeStore(dags)
    assert store.find(code(kind, ref)) == store.find(code(kind, ref)) == dags / place
    assert store.fault(task(command=Python(function="f"), code=code(kind, ref))) == ""
    assert not {"jobs", "shop"} & set(sys.modules)


def test_code_is_found_where_its_absolute_path_says(dags):
    """A worker without a folder finds that, and whatever is installed."""
    store = CodeStore(None)
    assert store.find(code("file", str(dags / "jobs.py"))) == dags / "jobs.py"
    source = Path(json.__file__)
    assert store.find(code("module", "json", source.read_bytes())) == source


@pytest.mark.parametrize(
    ("kind", "ref", "why"),
    [
        ("file", "no.py", r"file no.py is not on this worker \(.*/no.py: No such file or directory\): bring it there"),
        ("module", "no", "module no is not on this worker: install it for /.*python"),
        ("module", "no.such", "module no.such is not on this worker"),
        ("module", "jobs.such", "module jobs.such is not on this worker"),
        ("module", "open", "module open is not on this worker"),
        ("module", "open.space.jobs", "module open.space.jobs is not on this worker"),
        ("module", "sys", r"module sys is not on this worker \(built-in: No such file"),
        ("python", "m:f", "this worker runs no code of kind 'python'"),
    ],
)
def test_code_that_is_not_here_is_a_sentence(dags, kind, ref, why):
    """With what to do."""
    fault = CodeStore(dags).fault(task(code=code(kind, ref)))
    assert re.match(why, fault), fault


def test_a_file_needs_a_folder_to_be_in():
    """A worker without one says so."""
    assert CodeStore(None).find(code("file", "jobs.py")) == CodeFault(
        "file jobs.py of the folder of DAG files is wanted, and this worker has none: set HEADWAY_DAGS"
    )


def test_a_function_without_code_is_a_fault_and_a_command_without_is_none():
    """A task message says where its function stands."""
    store = CodeStore(None)
    assert store.fault(task(command=Python(function="f"))) == "its function is in no code"
    assert store.fault(task(command=Shell(script="x"))) == ""


def test_a_file_that_changed_is_read_again(dags, monkeypatch):
    """Both digests are said; not more files are remembered than there may be."""
    monkeypatch.setattr(module, "_FILES_MAX", 1)
    store = CodeStore(dags)
    assert store.find(code("module", "jobs")) == dags / "jobs.py"
    assert store.find(code("module", "shop")) == dags / "shop/__init__.py"
    (dags / "jobs.py").write_bytes(b"pass\n")
    found, wanted = digest_of(b"pass\n")[7:19], digest_of(BODY)[7:19]
    fault = store.find(code("module", "jobs"))
    assert isinstance(fault, CodeFault)
    assert fault.detail == (
        f"module jobs is not on this worker as the DAG version wants it: {dags}/jobs.py has digest {found}, wanted is "
        f"{wanted}. Bring scheduler and worker to the same code, run `headway dags sync`, and start a new run"
    )
    assert store.find(code("module", "jobs", b"pass\n")) == dags / "jobs.py"


def test_a_module_that_moved_is_looked_up_again(dags):
    """Its place is remembered for as long as it is there."""
    store = CodeStore(dags)
    assert store.find(code("module", "jobs")) == dags / "jobs.py"
    (dags / "jobs.py").unlink()
    (dags / "jobs").mkdir()
    (dags / "jobs/__init__.py").write_bytes(BODY)
    assert store.find(code("module", "jobs")) == dags / "jobs/__init__.py"
