"""Children of a worker: what they are given, how their end is told, and that none outlives whoever started it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headway.worker import children as module
from headway.worker.children import (
    ChildExit,
    kill_processes_with,
)
from nursery import Nursery
from processes import assert_dead, wait_for_lines
from shopfloor import make_files

GUARD = 200


@pytest.fixture
def nursery(tmp_path) -> Iterator[Nursery]:
    """Give a spawner that goes after the test, with all its children."""
    nursery = Nursery(tmp_path)
    yield nursery
    nursery.children.close()


def test_a_child_gets_what_it_is_given_and_nothing_else(nursery):
    """Arguments, environment and folder are those of the launch; its input is empty."""
    script = (
        "import json, os, sys; "
        "print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd(), sys.stdin.read()]), file=sys.stderr)"
    )
    env = {"A": "1", "B": "two = 2\nlines", "UMLAUT": "ü"}
    nursery.start(sys.executable, "-ISc", script, "x y", "", env=env, cwd=str(nursery.folder))
    assert nursery.end().code == 0
    argv, environ, cwd, stdin = json.loads(nursery.output.read_text())
    assert argv == ["x y", ""]
    assert {name: value for name, value in environ.items() if name != "LC_CTYPE"} == env  # which Python sets itself
    assert (cwd, stdin) == (str(nursery.folder), "")


def test_a_child_begins_in_the_workers_folder(nursery):
    """Unless told otherwise, and also after one that was told otherwise."""
    nursery.bash("pwd", cwd="/usr")
    nursery.end()
    nursery.bash("pwd")
    nursery.end()
    assert nursery.output.read_text().splitlines() == ["/usr", str(Path.cwd())]


def test_a_child_leads_a_session_and_has_no_files_of_ours(nursery):
    """Session and group are its own; beside its three streams it has the guard's pipe, and that is all."""
    nursery.bash("ps -o sid=,pgid= -p $$; ls /proc/self/fd; readlink /proc/self/fd/0")
    report = nursery.end()
    session, *files, stdin = nursery.output.read_text().splitlines()
    assert session.split() == [str(report.pid), str(report.pid)]
    assert set(map(int, files)) - {0, 1, 2, 3} == {GUARD}  # 3 is the folder that ls lists
    assert stdin == "/dev/null"


def test_a_child_has_the_default_signals(tmp_path):
    """None is ignored and none is blocked, whatever the worker itself was started with."""
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        nursery = Nursery(tmp_path)
    finally:
        signal.signal(signal.SIGHUP, old)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    nursery.start("/bin/grep", "-E", "Sig(Blk|Ign)", "/proc/self/status")
    nursery.end()
    nursery.children.close()
    blocked, ignored = (int(line.split()[1], 16) for line in nursery.output.read_text().splitlines())
    of_the_c_library = 1 << 31 | 1 << 32  # nobody else can set them
    assert (blocked, ignored & ~of_the_c_library) == (0, 0)


def test_output_is_appended(nursery):
    """Both streams, in the order in which they were written, behind what was there."""
    nursery.output.write_text("before\n")
    nursery.bash("echo out; echo err >&2; echo out")
    nursery.end()
    assert nursery.output.read_text() == "before\nout\nerr\nout\n"


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("exit 127", 127), ("kill -SEGV $$", -11)])
def test_the_exit_is_told(nursery, script, code):
    """An exit code as it is, a signal as a negative number."""
    nursery.bash(script)
    assert nursery.end().code == code


def test_what_a_child_cost_is_told(nursery):
    """Seconds of CPU, peak memory and running time, of what it waited for too."""
    code = "x = bytearray(64 << 20); import time\nwhile time.process_time() < 0.4: pass"
    nursery.bash(f"{sys.executable} -ISc '{code}'")
    report = nursery.end()
    assert 0.4 <= report.cpu_seconds <= report.ran_seconds * (os.cpu_count() or 1)
    assert 64 << 20 <= report.memory_peak_bytes < 256 << 20
    assert not report.oom


@pytest.mark.parametrize(
    ("argv", "changed", "said"),
    [
        (("/no/such",), {}, "cannot run /no/such: No such file or directory"),
        (("/etc/passwd",), {}, "cannot run /etc/passwd: Permission denied"),
        (("/bin/true",), {"cwd": "/no/folder"}, "cannot enter the folder /no/folder: No such file or directory"),
        (("/bin/true",), {"output": Path("/proc/no")}, "cannot write to /proc/no: No such file or directory"),
        (("/bin/true", "a\0b"), {}, "its command or environment holds a NUL character"),
        (("/bin/true", "x" * (1 << 20)), {}, "cannot run /bin/true: Argument list too long"),
    ],
)
def test_a_child_that_cannot_start_says_why(nursery, argv, changed, said):
    """In a sentence with the file and the system's word for it; the next child starts."""
    nursery.start(*argv, **changed)
    assert nursery.fault() == said
    nursery.start("/bin/true")
    assert nursery.end().code == 0


def test_a_script_without_an_interpreter_cannot_start(nursery):
    """The kernel does not know what to do with it."""
    script = nursery.folder / "script"
    script.write_text("echo hello\n")
    script.chmod(0o755)
    nursery.start(str(script))
    assert nursery.fault().endswith("Exec format error")


def test_a_signal_reaches_the_whole_group(nursery):
    """TERM and KILL alike; one for a child that has ended reaches nobody."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        nursery.bash("sleep 1000 & echo $!; echo $$; wait")
        *_, sleeper, leader = nursery.lines(2 if number == signal.SIGTERM else 4)
        nursery.children.signal("t1", number)
        assert nursery.end().code == -number
        assert_dead(sleeper, leader)
        nursery.children.signal("t1", number)


def test_nothing_of_a_group_outlives_its_leader(nursery):
    """What a task left in the background is killed when it ends."""
    nursery.bash("sleep 1000 & echo $!; nohup sleep 1000 & echo $!")
    assert nursery.end().code == 0
    assert_dead(*nursery.lines(2))


def test_a_killed_child_is_no_evidence_of_lack_of_memory(nursery):
    """Somebody killed it, and the kernel's count did not rise."""
    nursery.bash("kill -KILL $$")
    report = nursery.end()
    assert (report.code, report.oom) == (-signal.SIGKILL, False)


def test_the_kernels_kill_is_told(nursery):
    """A child in a group with too little memory dies of it, and the count rises."""
    group = Path(f"/sys/fs/cgroup/memory/headway-test-{os.getpid()}")
    limit = group / "memory.limit_in_bytes"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no memory group can be made here: {error}")
    try:
        limit.write_text(str(32 << 20))
        swap = group / "memory.memsw.limit_in_bytes"
        if swap.exists():
            swap.write_text(str(32 << 20))
        nursery.bash(f"echo $$ > {group}/tasks; exec {sys.executable} -ISc 'bytearray(256 << 20)'")
        report = nursery.end()
        assert (report.code, report.oom) == (-signal.SIGKILL, True)
    finally:
        group.rmdir()


def test_hundreds_of_children_end_one_by_one(nursery):
    """Each start has one end, whatever else goes on."""
    for number in range(300):
        nursery.start("/bin/true", token=f"t{number}")
    ended = set()
    while len(ended) < 300:
        report = nursery.next()
        if isinstance(report, ChildExit):
            assert report.code == 0
            assert report.token not in ended
            ended.add(report.token)


def test_a_child_that_is_to_be_kept_outlives_the_lease(nursery):
    """It is not told from others in anything else: its neighbour is killed, and a signal ends it."""
    nursery.bash("sleep 1000", token="t1", is_kept=True)
    nursery.bash("sleep 1000", token="t2")
    assert {nursery.next().token, nursery.next().token} == {"t1", "t2"}
    nursery.children.extend_lease(time.clock_gettime(time.CLOCK_BOOTTIME) + 0.05)
    report = nursery.next()
    assert (report.token, report.lease_ended) == ("t2", True)
    nursery.children.signal("t1", signal.SIGTERM)
    report = nursery.next()
    assert (report.token, report.code, report.lease_ended) == ("t1", -signal.SIGTERM, False)


def test_children_live_as_long_as_their_lease(nursery):
    """When it is not extended they are killed, and their end says so; the next lease is for the next ones."""
    nursery.bash("echo up; sleep 1000")
    nursery.lines(1)
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    nursery.children.extend_lease(now + 1000)
    nursery.children.extend_lease(now + 0.05)
    report = nursery.end()
    assert (report.code, report.lease_ended, report.oom) == (-signal.SIGKILL, True, False)
    nursery.children.extend_lease(now + 1000)
    nursery.start("/bin/true")
    assert not nursery.end().lease_ended


def test_no_child_begins_after_the_lease(nursery):
    """A worker that was frozen between its decision and this must not run what has been given to others meanwhile."""
    nursery.bash("echo up; sleep 1000")
    nursery.lines(1)
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    nursery.children.extend_lease(now + 0.05)
    assert nursery.end().lease_ended
    nursery.start("/bin/true")
    assert nursery.fault() == "its worker's lease was over before it could begin"
    nursery.children.extend_lease(now)
    nursery.start("/bin/true")
    assert nursery.fault() == "its worker's lease was over before it could begin"


def test_closing_ends_children_and_a_frozen_spawner(tmp_path, monkeypatch):
    """Nobody waits for it for ever, and the kernel kills the groups."""
    monkeypatch.setattr(module, "_CLOSE_SECONDS", 0.1)
    nursery = Nursery(tmp_path)
    nursery.bash(FAMILY)
    pids = nursery.lines(3)
    os.kill(nursery.spawner, signal.SIGSTOP)
    nursery.children.close()
    assert_dead(*pids)


FAMILY = "sleep 1000 & echo $!; (trap '' TERM HUP; sleep 1000) & echo $!; echo $$; wait"
"""A leader and what it starts; it writes all their numbers."""


def test_the_end_of_the_spawner_is_told_and_ends_all_children(nursery):
    """The kernel kills the groups, leaders or not."""
    nursery.bash(FAMILY)
    pids = nursery.lines(3)
    os.kill(nursery.spawner, signal.SIGKILL)
    nursery.wait_for_the_spawners_end()
    assert_dead(*pids)
    nursery.start("/bin/true")  # into the void, and no error


def test_a_child_that_let_go_of_the_guard_is_killed_by_the_worker(nursery):
    """Some programs close what they do not know."""
    nursery.bash(f"exec {GUARD}<&-; {FAMILY}")
    pids = nursery.lines(3)
    os.kill(nursery.spawner, signal.SIGKILL)
    nursery.wait_for_the_spawners_end()
    assert_dead(*pids)


def test_whatever_a_child_started_is_found_by_its_environment(tmp_path):
    """In a group of its own or not; a process that merely looks like it is left alone."""
    output = tmp_path / "output.log"
    marker = f"HEADWAY_OUTPUT={tmp_path}/t1.output"
    script = "setsid sleep 1000 & echo $!; sleep 1000 & echo $!; echo $$; wait"
    command = ["/bin/bash", "-c", f"exec > {output}; {script}"]
    alike = {"X": marker, "HEADWAY_OUTPUT": f"{tmp_path}/t2.output"}
    with (
        subprocess.Popen(command, env={"A": "1", "HEADWAY_OUTPUT": f"{tmp_path}/t1.output"}) as found,
        subprocess.Popen(["/bin/sleep", "1000"], env=alike) as other,
    ):
        try:
            pids = wait_for_lines(output, 3)
            assert set(kill_processes_with([marker])) == {found.pid, *map(int, pids)}
            assert_dead(*pids)
            assert other.poll() is None
        finally:
            found.kill()
            other.kill()


def test_what_an_earlier_boot_left_running_is_killed(tmp_path, caplog):
    """Before `online` says that it is gone."""
    tasks = tmp_path / "tasks"
    with subprocess.Popen(["/bin/sleep", "1000"], env={"HEADWAY_OUTPUT": f"{tasks}/t1.output"}) as left:
        wait_for_lines(Path(f"/proc/{left.pid}/environ"), 1)  # there is none before it has become `sleep`
        make_files(tmp_path)
        assert left.wait() == -signal.SIGKILL
    assert f"Process {left.pid} of an earlier boot was still running" in caplog.text


def test_a_child_that_left_its_group_dies_with_the_spawner(nursery):
    """The worker looks for it by its environment."""
    nursery.bash("setsid sleep 1000 & echo $!; wait")
    pids = nursery.lines(1)
    os.kill(nursery.spawner, signal.SIGKILL)
    nursery.wait_for_the_spawners_end()
    assert_dead(*pids)


WORKER = """
import queue, sys
from pathlib import Path
from headway.worker.children import Children, Launch
inbox = queue.SimpleQueue()
children = Children(inbox.put)
script, output = sys.argv[1:]
children.start(Launch(token="t1", program="/bin/bash", argv=["bash", "-c", script], env={"PATH": "/usr/bin:/bin"},
                      marker="MARK=", cwd=None, output=Path(output)))
inbox.get()
print(children._process.pid, flush=True)
inbox.get()
"""


@pytest.mark.parametrize("victims", ["worker", "spawner", "both"])
def test_no_child_outlives_the_worker_or_its_spawner(tmp_path, victims):
    """Kill either or both at once: nothing of the group is left."""
    output = tmp_path / "output.log"
    command = [sys.executable, "-c", WORKER, FAMILY, str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0) as worker:
        try:
            assert worker.stdout is not None
            spawner = int(worker.stdout.readline())
            pids = wait_for_lines(output, 3)
            for victim in {"worker": [worker.pid], "spawner": [spawner], "both": [spawner, worker.pid]}[victims]:
                os.kill(victim, signal.SIGKILL)
            assert_dead(*pids, spawner)
        finally:
            worker.kill()
