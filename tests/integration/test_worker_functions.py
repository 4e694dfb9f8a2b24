"""Functions as tasks, by a real worker on a real broker: called, refused, and gone with whoever started them."""

from pathlib import Path

import msgspec
import pytest

from director import Director, WorkerProcess
from headway.protocol.calls import digest_of
from headway.protocol.dag import Code, Python
from headway.protocol.messages import Finished, Refused

JOBS = """\
def report(day, *, rows):
    print("report of", day)
    return {"rows": len(rows), "day": day}
"""


@pytest.fixture
def director(fresh_vhost):
    """Give a scheduler without a mind, on a broker of its own."""
    director = Director(fresh_vhost)
    yield director
    director.close()


@pytest.fixture
def dags(tmp_path) -> Path:
    """Give a worker's folder of DAG files, with one file of code."""
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "jobs.py").write_text(JOBS)
    return folder


@pytest.fixture
def worker(fresh_vhost, tmp_path, dags):
    """Give a worker that has this folder."""
    worker = WorkerProcess(fresh_vhost, tmp_path, dags=str(dags))
    yield worker
    worker.kill()


def code_of(path: Path, *, kind: str = "file", ref: str = "jobs.py") -> Code:
    """Return code as a scheduler would name it."""
    return Code(kind=kind, ref=ref, digest=digest_of(path.read_bytes()))


@pytest.mark.usefixtures("worker")
def test_a_function_is_called_and_what_it_returns_is_the_output(director: Director, dags: Path):
    """By file or by module, with outputs of other tasks among its arguments; several times, so by template too."""
    rows = {"kind": "output", "task_id": "up", "path": ["rows"]}
    command = Python(function="report", args=("today",), kwargs={"rows": rows})
    inputs = {"up": msgspec.Raw(b'{"rows": [1, 2]}')}
    for number in range(4):
        by_module = {"kind": "module", "ref": "jobs"} if number % 2 else {}
        code = code_of(dags / "jobs.py", **by_module)
        director.hand_out(f"t{number}", command=command, code=code, inputs=inputs)
        director.grant(f"t{number}")
        result = director.expect(Finished, f"t{number}")
        assert (result.exit_code, result.tail) == (0, "report of today\n")
        assert msgspec.json.decode(result.output) == {"rows": 2, "day": "today"}


@pytest.mark.usefixtures("worker")
def test_other_code_is_refused(director: Director, dags: Path):
    """With a sentence that says which, and both digests; so is code that is not there."""
    code = code_of(dags / "jobs.py")
    (dags / "jobs.py").write_text(JOBS + "\n")
    director.hand_out("t1", command=Python(function="report"), code=code)
    assert director.expect(Refused, "t1").detail == (
        f"file jobs.py is not on this worker as the DAG version wants it: {dags}/jobs.py has digest "
        f"{code_of(dags / 'jobs.py').digest[7:19]}, wanted is {code.digest[7:19]}. Bring scheduler and worker to the "
        "same code, run `headway dags sync`, and start a new run"
    )
    director.hand_out("t2", command=Python(function="f"), code=Code(kind="module", ref="no.such", digest="sha256:0"))
    assert director.expect(Refused, "t2").detail.startswith("module no.such is not on this worker: install it for /")
