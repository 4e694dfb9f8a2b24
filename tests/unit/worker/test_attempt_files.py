"""The files of an attempt: written before it starts, read and removed when it has ended."""

import json
import signal
from pathlib import Path

import msgspec
import pytest

from headway.protocol.calls import digest_of
from headway.protocol.dag import Argv, Code, Python, Shell
from headway.protocol.states import EndReason
from headway.worker import attempt_files
from headway.worker.children import ChildExit, Launch
from headway.worker.core.values import ChildNotStarted
from shopfloor import Followed, make_files, task


@pytest.fixture
def followed():
    """Give what was said of logs."""
    return Followed()


@pytest.fixture
def files(tmp_path, followed):
    """Give the files of one worker."""
    (tmp_path / "secrets").mkdir()
    inherited = {"PATH": "/usr/bin:/bin", "HEADWAY_BROKER_URL": "secret"}
    return make_files(tmp_path, inherited, secrets=tmp_path / "secrets", shipper=followed)


def exited(code=0, **changed):
    """Return the end of a child."""
    fields = {"ran_seconds": 1.0, "cpu_seconds": 0.5, "memory_peak_bytes": 9, "oom": False, "lease_ended": False}
    return ChildExit(**{"token": "t1", "pid": 5, "code": code} | fields | changed)


def test_a_task_becomes_a_launch(files, tmp_path):
    """Program, arguments, environment, folder and log; the log's folder is there."""
    launch = files.prepare(task(cwd="/tmp", env={"A": "1"}))  # noqa: S108 - any folder
    assert isinstance(launch, Launch)
    assert (launch.token, launch.program, launch.cwd) == ("t1", "/bin/bash", "/tmp")  # noqa: S108
    assert launch.argv == ["/bin/bash", "-euo", "pipefail", "-c", "true"]
    assert launch.env["A"] == "1"
    assert "HEADWAY_BROKER_URL" not in launch.env
    assert launch.output == tmp_path / "logs/r/task-t1.1.log"
    assert launch.output.parent.is_dir()
    assert "HEADWAY_INPUTS" not in launch.env
    assert launch.marker == f"HEADWAY_OUTPUT={launch.env['HEADWAY_OUTPUT']}"


def test_inputs_are_a_file_while_the_child_runs(files):
    """JSON by task id."""
    launch = files.prepare(task(inputs={"up": msgspec.Raw(b"[1]")}))
    assert json.loads(Path(launch.env["HEADWAY_INPUTS"]).read_text()) == {"up": [1]}
    files.collect(exited())
    assert not any(files._folder.iterdir())  # noqa: SLF001 - what is left behind


def test_a_program_is_looked_up_in_the_childs_path(files, tmp_path):
    """As the task sets it; a path is taken as it is."""
    program = tmp_path / "tool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    named = task(command=Argv(args=("tool", "x")), env={"PATH": str(tmp_path)})
    assert files.prepare(named).program == str(program)
    assert files.prepare(task(command=Argv(args=("./tool",)))).program == "./tool"


def test_a_program_that_moved_is_looked_up_again(files, tmp_path, monkeypatch):
    """Its place is remembered for as long as it is there, and not for more programs than there are."""
    monkeypatch.setattr(attempt_files, "_PROGRAMS_MAX", 1)
    path = f"{tmp_path}/a:{tmp_path}/b"
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for name in ("tool", "other"):
            (tmp_path / folder / name).write_text("#!/bin/sh\n")
            (tmp_path / folder / name).chmod(0o755)
    for name in ("tool", "tool", "other", "tool"):
        launch = files.prepare(task(command=Argv(args=(name,)), env={"PATH": path}))
        assert launch.program == f"{tmp_path}/a/{name}"
    (tmp_path / "a/tool").unlink()
    assert files.prepare(task(command=Argv(args=("tool",)), env={"PATH": path})).program == f"{tmp_path}/b/tool"


def test_a_program_that_is_not_there_is_a_fault(files):
    """With the PATH that was searched."""
    fault = files.prepare(task(command=Argv(args=("no-such-tool",))))
    assert fault == ChildNotStarted(
        token="t1",
        reason=EndReason.NOT_STARTED,
        detail="there is no program 'no-such-tool' in PATH /usr/bin:/bin",
    )


def test_a_bad_input_is_the_tasks_fault(files):
    """Nothing is written for it."""
    fault = files.prepare(task(command=Argv(args=("x", "{{ no }}"))))
    assert fault.reason is EndReason.BAD_INPUT


def test_what_cannot_be_written_is_a_fault(tmp_path):
    """A disk that is full, or a file where the folder should be."""
    (tmp_path / "logs").write_text("")
    fault = make_files(tmp_path).prepare(task())
    assert fault.reason is EndReason.NOT_STARTED
    assert fault.detail.endswith("logs/r: Not a directory")


def test_the_end_is_told_with_what_the_child_wrote(files):
    """Its output and the tail of its log."""
    launch = files.prepare(task())
    launch.output.write_text("bye\n")
    Path(launch.env["HEADWAY_OUTPUT"]).write_text("[1]")
    ended = files.collect(exited(3))
    assert (ended.exit_code, ended.signal, ended.output, ended.tail) == (3, None, msgspec.Raw(b"[1]"), "bye\n")
    assert (ended.ran_seconds, ended.cpu_seconds, ended.memory_peak_bytes, ended.pid) == (1.0, 0.5, 9, 5)


def test_polls_share_a_log_and_each_tells_its_own_end(tmp_path):
    """What is shipped, and what is shown as the last lines, begins behind the polls before it."""
    followed = Followed()
    files = make_files(tmp_path, shipper=followed)
    for number, wrote in enumerate(["not\n", "", "now\n"], start=1):
        launch = files.prepare(task(f"t{number}", task_id="a", poll=number))
        with launch.output.open("a") as log:
            log.write(wrote)
        assert files.collect(exited(75, token=f"t{number}")).tail == wrote
    assert launch.output.read_text() == "not\nnow\n"
    assert followed.begins == {"t1": 0, "t2": 4, "t3": 4}
    assert followed.wrote == {"t1": True, "t2": False, "t3": True}


def test_a_bad_output_is_told(files):
    """The core says what that means."""
    launch = files.prepare(task())
    Path(launch.env["HEADWAY_OUTPUT"]).write_text("{")
    ended = files.collect(exited())
    assert ended.output is None
    assert "no JSON" in ended.output_fault


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (35, "SIG35")])
def test_a_signal_is_told_by_name(files, number, name):
    """A real-time one has only a number."""
    files.prepare(task())
    ended = files.collect(exited(-number, oom=True, lease_ended=True))
    assert (ended.exit_code, ended.signal, ended.oom, ended.lease_ended) == (None, name, True, True)


def test_what_a_killed_worker_left_is_removed(tmp_path):
    """The tasks are not its any more."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "t1.inputs").write_text("")
    make_files(tmp_path)
    assert not any(folder.iterdir())


def test_a_shell_needs_no_path(tmp_path):
    """A worker without a PATH runs it all the same."""
    files = make_files(tmp_path)
    assert isinstance(files.prepare(task(command=Shell(script="true"))), Launch)


def test_a_secret_is_a_variable_of_the_child_and_hidden_in_its_tail(files, followed, tmp_path):
    """And of nobody else; what is shipped is masked alike."""
    (tmp_path / "secrets/db_password").write_text("hunter-twelve\n")
    message = task(secrets=("db_password",), env={"A": "1"})
    assert files.refusal(message) == ""
    launch = files.prepare(message)
    assert (launch.env["db_password"], launch.env["A"]) == ("hunter-twelve", "1")
    assert followed.masks["t1"].hide(b"is hunter-twelve!") == b"is ***!"
    launch.output.write_text("password hunter-twelve\n")
    assert files.collect(exited()).tail == "password ***\n"


def test_a_secret_overrides_nothing(files, tmp_path):
    """The scheduler checks that; a worker believes nobody."""
    for name in ("HEADWAY_TRY", "PATH"):
        (tmp_path / "secrets" / name).write_text("nonsense")
    launch = files.prepare(task(secrets=("HEADWAY_TRY", "PATH")))
    assert (launch.env["HEADWAY_TRY"], launch.env["PATH"]) == ("1", "/usr/bin:/bin")


def test_a_secret_that_is_missing_is_a_refusal_before_and_a_fault_after_the_grant(files, tmp_path):
    """With its name and the folder; nothing of it is followed."""
    message = task(secrets=("gone",))
    assert files.refusal(message) == (
        f"the secret 'gone' cannot be read from {tmp_path}/secrets/gone: No such file or directory"
    )
    assert files.prepare(message) == ChildNotStarted(
        token="t1", reason=EndReason.NOT_STARTED, detail=files.refusal(message)
    )


def test_an_end_says_whether_there_is_something_to_ship(files, followed, tmp_path):
    """An empty log is nothing, and so is a child that never was; a log that ends with a long secret is something."""
    (tmp_path / "secrets/long").write_text("key" * 2000)
    for token, text in (("t1", ""), ("t2", "x" + "key" * 2000)):
        files.prepare(task(token, secrets=("long",))).output.write_text(text)
        files.collect(exited(token=token))
    files.prepare(task("t3"))
    files.forget("t3")
    assert followed.wrote == {"t1": False, "t2": True, "t3": False}


def test_a_function_becomes_a_launch_of_its_code(files, tmp_path):
    """What a template must know is one argument, the call is a file while the child runs."""
    jobs = tmp_path / "jobs.py"
    jobs.write_text("def f(): ...")
    code = Code(kind="file", ref=str(jobs), digest=digest_of(jobs.read_bytes()))
    launch = files.prepare(task(command=Python(function="f", args=(1,)), code=code))
    assert isinstance(launch, Launch)
    assert launch.kind == "function"
    *_, about, call = launch.argv
    assert json.loads(Path(call).read_text()) == {"function": "f", "args": [1], "kwargs": {}}
    told = json.loads(about)
    assert (told["kind"], told["path"], told["digest"]) == ("file", str(jobs), code.digest)
    assert told["env"] == {"PATH": "/usr/bin:/bin"}
    files.collect(exited())
    assert not any(files._folder.iterdir())  # noqa: SLF001 - what is left behind


def test_a_function_that_cannot_be_called_has_no_launch(files, tmp_path):
    """Its code has changed since the worker asked, or what it takes in is not there."""
    jobs = tmp_path / "jobs.py"
    jobs.write_text("")
    code = Code(kind="file", ref=str(jobs), digest=digest_of(b""))
    ref = {"kind": "output", "task_id": "up", "path": []}
    fault = files.prepare(task(command=Python(function="f", args=(ref,)), code=code))
    assert fault.reason is EndReason.BAD_INPUT
    jobs.write_text("pass")
    fault = files.prepare(task(command=Python(function="f"), code=code))
    assert fault.reason is EndReason.NOT_STARTED
    assert "is not on this worker as the DAG version wants it" in fault.detail
