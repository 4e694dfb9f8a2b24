"""Everything in one process: `headway run` and `headway standalone`, with nothing installed but Headway."""

import contextlib
import json
import os
import pty
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import HEADWAY, Cluster

EXAMPLES = Path(__file__).parents[2] / "examples"
TRACES = Path(os.environ.get("HEADWAY_WFINSTANCES", Path(__file__).parents[3] / "shared" / "wfinstances"))
MONTAGE = TRACES / "montage-chameleon-dss-075d-001.json"
HIDE_CURSOR, SHOW_CURSOR = b"\x1b[?25l", b"\x1b[?25h"
NOTE = 'echo "$HEADWAY_TASK_ID $HEADWAY_TRY" >> "$NOTES"; sleep 0.1'


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Cluster]:
    """Give a home without servers."""
    with Cluster(tmp_path) as cluster:
        yield cluster


def write(home: Cluster, name: str, *tasks: dict[str, object]) -> str:
    """Write a DAG file and return its path."""
    file = home.home / f"{name}.dag.json"
    file.write_text(json.dumps({"dag_id": name, "tasks": tasks}))
    return str(file)


def test_a_run_needs_nothing_but_its_file(home: Cluster) -> None:
    """Lines for each end, exit code 0; afterwards the home knows the run."""
    printed = home.headway("run", str(EXAMPLES / "hello.dag.yaml"), "--param", "name=Ada")
    run_id = printed.split()[1]
    assert [line.split()[1:3] for line in printed.splitlines()[1:-1]] == [["greet", "success"], ["count", "success"]]
    assert printed.splitlines()[-1].startswith("success in ")
    assert home.json("runs", "show", run_id)["state"] == "success"
    assert home.headway("logs", run_id, "count") == "that makes 2 words\n"
    assert home.headway("audit", run_id)


def test_a_function_of_a_package_beside_the_file_is_found(home: Cluster) -> None:
    """By the worker that `run` brings."""
    package = home.home / "files/sales"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "jobs.py").write_text("def double(number):\n    return 2 * number\n")
    file = package.parent / "nightly.py"
    file.write_text(
        "from headway import DAG, argv, python\n"
        "with DAG('nightly') as dag:\n"
        "    doubled = python('double', 'sales.jobs:double', args=[21])\n"
        "    argv('say', ['echo', doubled.output])\n"
    )
    printed = home.headway("run", str(file))
    assert home.headway("logs", printed.split()[1], "say") == "42\n"


def test_a_run_that_fails_shows_why_and_exits_1(home: Cluster) -> None:
    """With --json the document is all there is on stdout."""
    printed = home.headway("run", str(EXAMPLES / "flaky.py"), exit_code=1)
    assert "✘ convert  failed" in printed
    assert "exit code 3" in printed
    assert "│ this format is not known" in printed
    run = json.loads(home.headway("run", str(EXAMPLES / "flaky.py"), "--json", exit_code=1))
    states = {task["task_id"]: (task["state"], len(task["attempts"])) for task in run["tasks"]}
    assert states == {
        "download": ("success", 3),
        "count": ("success", 1),
        "convert": ("failed", 1),
        "report": ("upstream_failed", 0),
    }


@pytest.mark.skipif(not MONTAGE.exists(), reason=f"no trace {MONTAGE}: set HEADWAY_WFINSTANCES")
def test_a_production_trace_runs_embedded(home: Cluster) -> None:
    """178 tasks of a montage workflow, each once, audited."""
    file = str(home.home / "montage.dag.json")
    home.headway("import", "wfformat", str(MONTAGE), "--runtime", "0", "-o", file)
    run = json.loads(home.headway("run", file, "--json"))
    assert (run["state"], len(run["tasks"])) == ("success", 178)
    assert all(len(task["attempts"]) == 1 for task in run["tasks"])
    home.headway("audit")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_cancels_the_run(home: Cluster, number: signal.Signals) -> None:
    """Ctrl-C, `timeout`, a closed terminal: what runs is told to stop, and the command exits 1 with the run's end."""
    file = write(home, "slow", {"task_id": "a", "shell": f"touch {home.home}/begun; sleep 60"})
    command = subprocess.Popen([HEADWAY, "run", file, "--json"], env=home.env, stdout=subprocess.PIPE, text=True)
    home.wait_for((home.home / "begun").exists)
    command.send_signal(number)
    printed, _ = command.communicate(timeout=60)
    assert (command.returncode, json.loads(printed)["state"]) == (1, "cancelled")


def test_a_second_ctrl_c_ends_it_at_once(home: Cluster) -> None:
    """With the children, however they cling to life; the home is free for the next."""
    script = f"trap '' TERM; touch {home.home}/begun; echo $$ >{home.home}/pid; sleep 60; sleep 60"
    file = write(home, "stubborn", {"task_id": "a", "shell": script})
    command = subprocess.Popen([HEADWAY, "run", file], env=home.env, stdout=subprocess.PIPE, text=True)
    home.wait_for(lambda: (home.home / "pid").exists() and (home.home / "pid").read_text().strip() != "")
    command.send_signal(signal.SIGINT)
    assert command.stdout is not None
    while "Ctrl-C again" not in command.stdout.readline():
        pass
    command.send_signal(signal.SIGINT)
    assert command.wait(timeout=60) == 130
    command.stdout.close()
    child = int((home.home / "pid").read_text())
    home.wait_for(lambda: not Path(f"/proc/{child}").exists())
    home.headway("run", str(EXAMPLES / "hello.dag.yaml"))


def test_a_run_goes_on_with_those_that_were_killed(home: Cluster) -> None:
    """It says that it waits for their tasks, and Ctrl-C ends those."""
    script = f'echo "try $HEADWAY_TRY" >>{home.home}/begun; sleep 60'
    killed = subprocess.Popen([HEADWAY, "run", write(home, "slow", {"task_id": "a", "shell": script})], env=home.env)
    home.wait_for((home.home / "begun").exists)
    killed.kill()
    killed.wait()
    words = [HEADWAY, "run", str(EXAMPLES / "hello.dag.yaml")]
    with subprocess.Popen(words, env=home.env, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        while "Tasks of earlier runs go on here" not in command.stdout.readline():
            pass
        assert (home.home / "begun").read_text() == "try 1\ntry 2\n"
        command.send_signal(signal.SIGINT)
        assert command.wait(timeout=60) == 0
    assert {run["dag_id"]: run["state"] for run in home.json("runs")}["hello"] == "success"


def test_a_terminal_has_its_cursor_back(home: Cluster) -> None:
    """After a second Ctrl-C, right behind the first, too; and the cancelling is recorded."""
    terminal, inside = pty.openpty()
    file = write(home, "slow", {"task_id": "a", "shell": f"trap '' TERM; touch {home.home}/begun; sleep 60"})
    env = home.env | {"TERM": "xterm"}
    with subprocess.Popen([HEADWAY, "run", file], env=env, stdin=inside, stdout=inside, stderr=inside) as command:
        os.close(inside)
        home.wait_for((home.home / "begun").exists)
        command.send_signal(signal.SIGINT)
        shown = read_until(terminal, b"Ctrl-C again")
        command.send_signal(signal.SIGINT)
        shown += read_until(terminal, b"")
        assert command.wait(timeout=60) == 130
    os.close(terminal)
    assert shown.rfind(SHOW_CURSOR) > shown.rfind(HIDE_CURSOR) > 0
    (run,) = home.json("runs")
    home.headway("run", str(EXAMPLES / "hello.dag.yaml"))
    assert home.json("runs", "show", run["run_id"])["state"] == "cancelled"


def read_until(terminal: int, mark: bytes) -> bytes:
    """Read what is shown until a mark, or until the other end is closed."""
    shown = b""
    with contextlib.suppress(OSError):  # EIO: it is closed
        while not mark or mark not in shown:
            data = os.read(terminal, 4096)
            if not data:
                break
            shown += data
    return shown


def test_standalone_takes_commands_of_other_shells(home: Cluster) -> None:
    """Sync, trigger, cancel, queues: as with a scheduler of one's own."""
    standalone = home.start_standalone()
    home.sync(("slow.dag.json", json.dumps({"dag_id": "slow", "tasks": [{"task_id": "a", "shell": "sleep 60"}]})))
    run_id = home.headway("trigger", "slow").splitlines()[0]
    home.wait_for(lambda: home.json("runs", "show", run_id)["tasks"][0]["state"] == "running")
    (queue,) = home.json("queues")
    assert (queue["queue"], queue["ready"]) == ("default", 0)
    home.headway("cancel", run_id)
    assert home.wait_for_run(run_id)["state"] == "cancelled"
    assert sentence(home, "trigger", "unknown").startswith("DAG 'unknown' is not known here")
    assert standalone.terminate() == 0
    home.headway("audit")


def test_a_killed_standalone_goes_on_where_it_was(home: Cluster) -> None:
    """Kill -9 in the middle of a run and a new start the run ends in success, and no attempt ran twice."""
    notes = home.home / "notes"
    layers = [[f"l{layer}_{place}" for place in range(6)] for layer in range(4)]
    each = {"shell": NOTE, "env": {"NOTES": str(notes)}, "infra_retries": 3}
    tasks = [
        {"task_id": task_id, **each, "upstream": layers[layer - 1] if layer else []}
        for layer, ids in enumerate(layers)
        for task_id in ids
    ]
    standalone = home.start_standalone()
    home.sync(("layers.dag.json", json.dumps({"dag_id": "layers", "tasks": tasks})))
    run_id = home.headway("trigger", "layers").splitlines()[0]
    for enough in (3, 10, 17):
        home.wait_for(lambda enough=enough: notes.exists() and len(notes.read_text().splitlines()) >= enough)
        standalone.kill()
        standalone.start()
    run = home.wait_for_run(run_id)
    assert run["state"] == "success"
    ran = Counter(notes.read_text().splitlines())
    assert set(ran.values()) == {1}
    assert {line.split()[0] for line in ran} == {task["task_id"] for task in run["tasks"]}
    home.headway("audit")


# --- bad input --------------------------------------------------------------------------------------------------------


def sentence(home: Cluster, *words: str, exit_code: int = 2) -> str:
    """Type a command that must fail, and return the one sentence that it says."""
    done = subprocess.run([HEADWAY, *words], env=home.env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == exit_code, done.stderr
    *remarks, said = done.stderr.splitlines()
    assert all(" INFO " in remark for remark in remarks), done.stderr
    return said


@pytest.mark.parametrize("url", ["memory://", "memory:", "Memory:///"])
@pytest.mark.parametrize("service", ["scheduler", "worker", "logkeeper"])
def test_a_service_of_its_own_needs_a_broker_of_its_own(home: Cluster, service: str, url: str) -> None:
    """memory:// is within one process, however it is written."""
    home.env["HEADWAY_BROKER_URL"] = url
    assert "joins the services of one process: run `headway standalone`" in sentence(home, service)


def test_a_home_serves_one_at_a_time(home: Cluster) -> None:
    """The second one says who is there, and changes nothing."""
    standalone = home.start_standalone()
    for command in (("standalone",), ("run", str(EXAMPLES / "hello.dag.yaml"))):
        said = sentence(home, *command)
        assert f"is in use by `headway standalone` (process {standalone.pid})" in said
    assert standalone.terminate() == 0


def test_commands_say_that_nothing_runs(home: Cluster) -> None:
    """Where the broker is within a process, and there is none, nor perhaps a database."""
    said = f"Nothing runs in {home.home}: start `headway standalone`"
    for command in (("trigger", "hello"), ("runs",), ("audit",)):
        assert sentence(home, *command).startswith(said)
    home.headway("run", str(EXAMPLES / "hello.dag.yaml"))
    assert sentence(home, "trigger", "hello").startswith(said)


@pytest.mark.tampers
def test_a_corrupt_database_is_said_and_kept(home: Cluster) -> None:
    """Nothing is written over it."""
    file = home.home / "headway.db"
    file.write_bytes(b"not a database at all" * 1000)
    for command in (("standalone",), ("run", str(EXAMPLES / "hello.dag.yaml")), ("audit",)):
        said = sentence(home, *command, exit_code=1)
        assert str(file) in said
        assert said.endswith("put a backup back, or move it away and start anew.")
    assert file.read_bytes() == b"not a database at all" * 1000


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("x = 1\n", [], "or skip the file by a name that starts with '_'"),
        ("from headway import DAG, shell\n1 / 0\n", [], "file.py:2: ZeroDivisionError: division by zero"),
        (
            "from headway import *\na, b = DAG('a'), DAG('b')\nfor dag in (a, b):\n    shell('t', 'true', dag=dag)\n",
            [],
            "holds several DAGs: say which one with --dag, of a, b.",
        ),
        (
            "from headway import DAG, shell\nwith DAG('a') as dag:\n    shell('t', 'true')\n",
            ["--dag", "c"],
            "holds no DAG 'c', but a.",
        ),
    ],
)
def test_a_file_that_cannot_be_run_is_said(home: Cluster, text: str, options: list[str], said: str) -> None:
    """With its place, before anything is started."""
    file = home.home / "file.py"
    file.write_text(text)
    assert sentence(home, "run", str(file), *options).endswith(said)
