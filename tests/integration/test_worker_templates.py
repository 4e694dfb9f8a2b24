"""Functions as children: whether a process imported their code itself or is a template's copy makes no difference."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headway.worker.children import ChildBegun, ChildExit, ChildFault, SpawnerGone
from headway.worker.templates import TEMPLATES_MAX
from nursery import Nursery
from processes import assert_dead, wait_for_lines

CODE = """\
import os, random, resource, signal, subprocess, sys, threading

HOME = os.getpid()
IMPORTED = {"cwd": os.getcwd(), "environ": dict(os.environ)}


def home():
    return HOME


def look(*args, **kwargs):
    return {
        "args": args, "kwargs": kwargs, "environ": dict(os.environ), "cwd": os.getcwd(), "imported": IMPORTED,
        "stdin": sys.stdin.read(), "session": os.getsid(0), "group": os.getpgid(0), "pid": os.getpid(),
        "parent": os.getppid(), "files": sorted(map(int, os.listdir("/proc/self/fd"))),
        "shown": open("/proc/self/environ").read().split(chr(0)), "random": random.random(),
        "ignored": next(line for line in open("/proc/self/status") if line.startswith("SigIgn")),
    }


def speak():
    print("one")
    print("two", file=sys.stderr)
    subprocess.run(["echo", "three"])
    threading.Thread(target=print, args=("four",)).start()


def leave(code):
    sys.exit(code)


def give(text):
    return eval(text)


def fail():
    try:
        {}["key"]
    except KeyError as error:
        raise ValueError("no rows") from error


def take(number):
    pass


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def burn():
    held = bytearray(64 << 20)
    while sum(os.times()[:2]) < 0.4:
        pass


def family():
    own = subprocess.Popen(["sleep", "1000"])
    deaf = subprocess.Popen(["bash", "-c", "trap '' TERM HUP; sleep 1000 & wait"])
    print(own.pid, deaf.pid, os.getpid(), sep="\\n", flush=True)
    own.wait()


def let_go_of_the_guard():
    os.close(200)
    family()
"""

Ready = Callable[[], None]


@pytest.fixture
def nursery(tmp_path) -> Iterator[Nursery]:
    """Give a spawner that goes after the test, with all its children."""
    nursery = Nursery(tmp_path)
    yield nursery
    nursery.children.close()


@pytest.fixture
def code(tmp_path) -> Path:
    """Give a file of functions."""
    path = tmp_path / "jobs.py"
    path.write_text(CODE)
    return path


@pytest.fixture(params=["alone", "copy"])
def way(request, nursery, code) -> str:
    """Call in either way: the first call of some code is never a copy's, and after a warm-up every one is."""
    if request.param == "copy":
        nursery.warm_up(code)
        nursery.output.unlink()
    return request.param


@pytest.mark.usefixtures("way")
def test_a_function_finds_what_a_child_finds(nursery, code):
    """Arguments, environment, folder, input, session, group and files: all as the launch says, and nothing else."""
    nursery.call(code, "look", 1, "ü", [None], kwargs={"a": {"b": True}}, env={"A": "1"}, cwd="/usr")
    report = nursery.end()
    assert report.code == 0, nursery.output.read_text()
    found = nursery.returned()
    assert (found["args"], found["kwargs"]) == ([1, "ü", [None]], {"a": {"b": True}})
    assert found["environ"] == {"PATH": "/usr/bin:/bin", "A": "1"} | {
        "HEADWAY_OUTPUT": f"{nursery.folder}/t1.output", "MARK": str(nursery.folder)
    }  # fmt: skip
    assert (found["cwd"], found["stdin"]) == ("/usr", "")
    assert found["session"] == found["group"] == found["pid"] == report.pid
    assert found["parent"] == nursery.spawner
    assert set(found["files"]) - {3} == {0, 1, 2, 200}  # 3 is the folder that it lists
    assert f"HEADWAY_OUTPUT={nursery.folder}/t1.output" in found["shown"]
    of_the_c_library = 1 << 31 | 1 << 32
    assert int(found["ignored"].split()[1], 16) & ~of_the_c_library == 0x1001000  # SIGPIPE, SIGXFSZ: by Python itself
    assert found["imported"] == {"cwd": "/", "environ": {"PATH": "/usr/bin:/bin", "IMPORTED": "yes"}}


def test_copies_do_not_share_their_chances(nursery, code):
    """Else all would draw the same numbers."""
    nursery.warm_up(code)
    drawn = set()
    for number in range(3):
        nursery.call(code, "look", token=f"t{number}")
        assert isinstance(nursery.next(), ChildBegun)
        assert isinstance(nursery.next(), ChildExit)
        drawn.add(nursery.returned(f"t{number}")["random"])
    assert len(drawn) == 3


@pytest.mark.usefixtures("way")
def test_what_is_printed_is_in_order(nursery, code):
    """Both streams, other programs and threads; the process waits for its threads."""
    nursery.call(code, "speak")
    assert nursery.end().code == 0
    assert nursery.output.read_text() == "one\ntwo\nthree\nfour\n"


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("left", "code_told", "said"),
    [(None, 0, ""), (0, 0, ""), (7, 7, ""), (256, 0, ""), (-1, 255, ""), ("no rows today", 1, "no rows today\n")],
)
def test_a_function_may_choose_its_exit_code(nursery, code, left, code_told, said):
    """As any Python program by sys.exit."""
    nursery.call(code, "leave", left)
    assert nursery.end().code == code_told
    assert nursery.output.read_text() == said


@pytest.mark.usefixtures("way")
def test_a_traceback_holds_the_authors_lines_alone(nursery, code):
    """The exception last, and nothing of ours or of what imports."""
    nursery.call(code, "fail")
    assert nursery.end().code == 1
    assert nursery.output.read_text() == (
        "Traceback (most recent call last):\n"
        f'  File "{code}", line {line_of("[")}, in fail\n'
        '    {}["key"]\n    ~~^^^^^^^\n'
        "KeyError: 'key'\n"
        "\nThe above exception was the direct cause of the following exception:\n\n"
        "Traceback (most recent call last):\n"
        f'  File "{code}", line {line_of("raise")}, in fail\n'
        '    raise ValueError("no rows") from error\n'
        "ValueError: no rows\n"
    )


def line_of(begin: str) -> int:
    """Return the line of `fail` that begins so."""
    lines = CODE.splitlines()
    wanted = '{}["key"]' if begin == "[" else "raise ValueError"
    return next(number for number, line in enumerate(lines, 1) if line.strip().startswith(wanted))


@pytest.mark.usefixtures("way")
def test_arguments_that_do_not_fit_are_a_sentence(nursery, code):
    """There is no line of the author's to show."""
    nursery.call(code, "take", 1, 2)
    assert nursery.end().code == 1
    assert nursery.output.read_text() == "TypeError: take() takes 1 positional argument but 2 were given\n"


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{1, 2}", "give() returned set, which is not JSON: return None, text, numbers,"),
        ("{'a': [object]}", "give() returned type in its dict, which is not JSON: return None,"),
        ("float('nan')", "give() returned float, which is not JSON: Out of range float values"),
        ("{(1, 2): 3}", "give() returned dict, which is not JSON: keys must be str"),
        ("chr(0xd800)", "give() returned str, which is not JSON: 'utf-8' codec can't encode"),
        ("'x' * 65535", "give() returned 65537 bytes of JSON, and may return 65536: put large results into a file"),
    ],
)
def test_what_is_no_output_is_a_sentence(nursery, code, text, said):
    """It names the function and the type."""
    nursery.call(code, "give", text)
    assert nursery.end().code == 1
    assert nursery.output.read_text().startswith(said)
    assert not (nursery.folder / "t1.output").exists()


@pytest.mark.usefixtures("way")
def test_an_output_that_cannot_be_written_whole_is_a_failure(nursery, code):
    """No room is left in the middle of it."""
    nursery.call(code, "give", "(resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)), 'x' * 10000)[1]")
    assert nursery.end().code == 1
    assert nursery.lines(1)[-1].endswith("File too large")


@pytest.mark.usefixtures("way")
def test_none_is_no_output(nursery, code):
    """And a function that is not there is a sentence."""
    nursery.call(code, "give", "None")
    assert nursery.end().code == 0
    assert not (nursery.folder / "t1.output").exists()
    nursery.call(code, "gvie")
    assert nursery.end().code == 1
    assert nursery.output.read_text() == f"{code} has no function 'gvie' at its top\n"


@pytest.mark.usefixtures("way")
def test_signals_are_told_and_reach_the_group(nursery, code):
    """TERM, KILL and, by Ctrl-C's own way, INT."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        nursery.call(code, "family")
        pids = nursery.lines(3)[-3:]
        nursery.children.signal("t1", number)
        assert nursery.end().code == -number
        assert_dead(*pids)
        nursery.output.unlink()
    nursery.call(code, "interrupt")
    assert nursery.end().code == -signal.SIGINT
    assert nursery.output.read_text().endswith("    os.kill(os.getpid(), signal.SIGINT)\nKeyboardInterrupt\n")


@pytest.mark.usefixtures("way")
def test_what_a_function_cost_is_told(nursery, code):
    """Seconds of CPU, peak memory and running time."""
    nursery.call(code, "burn")
    report = nursery.end()
    assert 0.4 <= report.cpu_seconds <= report.ran_seconds * (os.cpu_count() or 1)
    assert 64 << 20 <= report.memory_peak_bytes < 256 << 20
    assert not report.oom


@pytest.mark.usefixtures("way")
def test_functions_live_as_long_as_their_lease(nursery, code):
    """As all children."""
    nursery.call(code, "family")
    pids = nursery.lines(3)
    nursery.children.extend_lease(time.clock_gettime(time.CLOCK_BOOTTIME) + 0.05)
    report = nursery.end()
    assert (report.code, report.lease_ended) == (-signal.SIGKILL, True)
    assert_dead(*pids)


@pytest.mark.parametrize("function", ["family", "let_go_of_the_guard"])
def test_no_copy_outlives_the_spawner(nursery, code, function):
    """Nor does the template; one that closed the guard is found by its number and by its environment."""
    template = nursery.warm_up(code)
    nursery.output.unlink()
    nursery.call(code, function)
    pids = nursery.lines(3)
    os.kill(nursery.spawner, signal.SIGKILL)
    nursery.wait_for_the_spawners_end()
    assert_dead(*pids, template)


WORKER = """
import sys
from pathlib import Path
from nursery import Nursery
nursery = Nursery(Path(sys.argv[1]))
template = nursery.warm_up(Path(sys.argv[2]))
nursery.output.unlink()
nursery.call(Path(sys.argv[2]), "family")
nursery.lines(3)
print(nursery.spawner, template, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("victims", ["worker", "spawner", "both"])
def test_no_copy_outlives_the_worker_or_its_spawner(tmp_path, code, victims):
    """Kill either or both at once: nothing is left, of the group or of the template."""
    command = [sys.executable, "-c", WORKER, str(tmp_path), str(code)]
    tests = str(Path(__file__).parents[1])
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": tests}
    ) as worker:
        try:
            assert worker.stdout is not None
            spawner, template = map(int, worker.stdout.readline().split())
            pids = wait_for_lines(tmp_path / "output.log", 3)
            for victim in {"worker": [worker.pid], "spawner": [spawner], "both": [spawner, worker.pid]}[victims]:
                os.kill(victim, signal.SIGKILL)
            assert_dead(*pids, spawner, template)
        finally:
            worker.kill()


def test_copies_live_on_without_their_template(nursery, code):
    """Its end harms nobody: what runs goes on and is told, and the next call does without."""
    template = nursery.warm_up(code)
    nursery.output.unlink()
    nursery.call(code, "family")
    sleeper, *_ = nursery.lines(3)
    os.kill(template, signal.SIGKILL)
    assert_dead(template)
    nursery.call(code, "home", token="t2")
    while not isinstance(report := nursery.next(), ChildExit):
        pass
    assert (report.token, nursery.returned("t2")) == ("t2", report.pid)
    os.kill(int(sleeper), signal.SIGTERM)
    assert nursery.next().code == 0
    assert nursery.warm_up(code) != template


@pytest.mark.slow
def test_a_frozen_template_holds_up_nobody_for_long(nursery, code):
    """After some seconds the call does without it, and hears what was said to it meanwhile; a killed one never is."""
    template = nursery.warm_up(code)
    os.kill(template, signal.SIGSTOP)
    nursery.call(code, "family", token="t1")
    nursery.call(code, "home", token="t2")
    nursery.call(code, "family", token="t3")
    nursery.children.signal("t1", signal.SIGTERM)
    nursery.children.signal("t3", signal.SIGKILL)
    reports = {}
    while len(reports) < 3:
        report = nursery.next()
        if not isinstance(report, ChildBegun):
            reports[report.token] = report
    assert reports["t1"].code == -signal.SIGTERM
    assert (reports["t2"].code, nursery.returned("t2")) == (0, reports["t2"].pid)
    assert reports["t3"] == ChildFault(token="t3", detail="it was killed before it began")
    assert_dead(template)


def test_a_template_notices_that_a_module_changed(nursery, code):
    """Not only the file whose digest is known, but whatever that imported."""
    beside = nursery.folder / "beside.py"
    beside.write_text("VALUE = 1\n")
    code.write_text(CODE + "\nimport beside\n\ndef value():\n    return beside.VALUE\n")
    template = nursery.warm_up(code)
    beside.write_text("VALUE = 20\n")
    nursery.call(code, "value")
    assert nursery.end().code == 0
    assert nursery.returned() == 20
    assert_dead(template)
    assert nursery.warm_up(code) != template


def test_code_that_cannot_be_imported_says_so_in_each_attempt(nursery, code):
    """With its author's lines; the fourth call too, when a template has tried."""
    code.write_text("import os\n\ndef load():\n    return os.nothing\n\nload()\n")
    for number in range(4):
        nursery.call(code, "load", token=f"t{number}")
        assert nursery.end().code == 1
        said = nursery.output.read_text()
        assert said.startswith(
            f'Traceback (most recent call last):\n  File "{code}", line 6, in <module>\n    load()\n'
        )
        assert said.endswith("AttributeError: module 'os' has no attribute 'nothing'\n")
        assert "template.py" not in said
        nursery.output.unlink()


def test_code_that_changed_in_between_is_not_run(nursery, code):
    """The worker has looked a moment ago; whoever changed it then is told."""
    nursery.call(code, "home", about={"digest": "sha256:0"})
    assert nursery.end().code == 1
    assert nursery.output.read_text() == f"{code} was changed while this attempt was started\n"


def test_code_that_starts_threads_is_never_copied(nursery, code):
    """What a thread held locked would stay so in the copy."""
    code.write_text(CODE + "\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n")
    for number in range(6):
        nursery.call(code, "home", token=f"t{number}")
        assert nursery.end().code == 0
        assert nursery.returned(f"t{number}") != nursery.spawner
    assert children_of(nursery.spawner) == []


def test_templates_are_few(nursery, code):
    """The one that was used least recently goes."""
    first = nursery.warm_up(code)
    for number in range(TEMPLATES_MAX):
        other = nursery.folder / f"other{number}.py"
        other.write_text(CODE)
        nursery.warm_up(other)
    assert_dead(first)
    assert len(children_of(nursery.spawner)) == TEMPLATES_MAX


def test_a_flood_of_calls_ends_one_by_one(nursery, code):
    """Each call has one begin and one end, whoever made its process."""
    for number in range(200):
        nursery.call(code, "home", token=f"t{number}")
    begun, ended = set(), set()
    while len(ended) < 200:
        report = nursery.next()
        seen = begun if isinstance(report, ChildBegun) else ended
        assert report.token not in seen
        seen.add(report.token)
        assert isinstance(report, ChildBegun) or report.code == 0
    assert begun == ended
    assert len({nursery.returned(f"t{number}") for number in range(200)}) < 150  # most had a template


def test_modules_are_imported_by_name(nursery):
    """With relative imports, from where the worker would find them."""
    package = nursery.folder / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "prices.py").write_text("VAT = 21\n")
    (package / "jobs.py").write_text("from .prices import VAT\n\ndef vat():\n    return [VAT, __name__]\n")
    about = {"kind": "module", "ref": "shop.jobs", "search": [str(nursery.folder), *sys.path]}
    nursery.call(package / "jobs.py", "vat", about=about)
    assert nursery.end().code == 0, nursery.output.read_text()
    assert nursery.returned() == [21, "shop.jobs"]


def test_the_spawner_says_when_it_is_gone_in_the_middle(nursery, code):
    """A call into the void is no error."""
    nursery.warm_up(code)
    os.kill(nursery.spawner, signal.SIGKILL)
    nursery.call(code, "home")
    while nursery.next() != SpawnerGone():
        pass


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started and not reaped."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_both_ends_of_a_link_agree():
    """The template is a script that imports nothing of ours, so some numbers stand twice."""
    from headway.protocol.limits import OUTPUT_BYTES_MAX  # noqa: PLC0415
    from headway.scheduler.parser.reading import MODULE_NAME  # noqa: PLC0415
    from headway.worker import spawner, template, templates  # noqa: PLC0415

    assert vars(template)["_LINK"] == templates.LINK
    assert vars(template)["_GUARD"] == vars(spawner)["_GUARD"]
    assert vars(template)["_MODULE_NAME"] == MODULE_NAME
    assert template.RETURN_BYTES_MAX == OUTPUT_BYTES_MAX
    assert json.dumps(template.MARK.decode() + "=") == json.dumps(vars(spawner)["_MARK"].decode())
