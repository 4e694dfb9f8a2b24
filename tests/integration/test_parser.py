"""The parser, with real child processes: whatever a DAG file does, there is an answer with a line and a sentence."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

from headway.protocol.calls import digest_of
from headway.protocol.codec import decode_dag
from headway.protocol.dag import Code
from headway.protocol.errors import WrongSettings
from headway.protocol.limits import DAG_FILE_BYTES_MAX
from headway.scheduler.parser.folder import parse_files, refuse_doubles, scan
from headway.scheduler.parser.process import parse_file
from headway.scheduler.parser.report import FileProblem

HEAD = "from headway import DAG, argv, shell\n"
ONE = HEAD + "with DAG('one') as dag:\n    shell('a', 'true')\n"
MIB = 1024 * 1024


@pytest.fixture
def write(tmp_path):
    """Give a function that writes a file into the test's folder."""

    def write_file(text, name="dags.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        return path

    return write_file


def problems(path, **limits):
    """Return line and message of each problem of a file."""
    return [(problem.line, problem.message) for problem in parse_file(path, **limits).problems]


def processes_with(word):
    """Return the command lines of living processes in which `word` stands."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        found += [line] if word.encode() in line else []
    return found


def test_a_python_file_becomes_values(write):
    """The value, its encoded form and the digest of that."""
    path = write(
        HEAD
        + """
with DAG("sales", defaults={"retries": 2}) as dag:
    extract = shell("extract", "sales-extract", timeout="1h")
    extract >> argv("load", ["sales-load", "--rows", extract.output["rows"]])
"""
    )
    parsed = parse_file(path)
    (found,) = parsed.dags
    assert (parsed.file, parsed.problems) == (str(path), ())
    assert (found.dag.dag_id, found.task_count) == ("sales", 2)
    assert decode_dag(found.body) == found.dag
    assert found.digest == hashlib.sha256(found.body).hexdigest()


def test_python_json_and_yaml_give_the_same_digest(write):
    """And so do other lines and comments: only what is said counts."""
    files = [
        write(ONE),
        write("# new\n\n" + ONE, "moved.py"),
        write('{"dag_id": "one", "tasks": [{"task_id": "a", "shell": "true"}]}', "one.dag.json"),
        write("dag_id: one\ntasks:\n- task_id: a\n  shell: 'true'\n", "one.dag.yaml"),
        write("{dag_id: one, tasks: [{task_id: a, shell: 'true'}]}", "one.dag.yml"),
    ]
    assert len({parse_file(path).dags[0].digest for path in files}) == 1


def test_dags_are_found_by_names_lists_and_dicts(write):
    """In the order of the module's names, each once."""
    text = """
        from headway import DAG, shell
        def make(name):
            with DAG(name) as dag:
                shell("a", "true")
            return dag
        one = make("one")
        again = one
        several = [make("two"), make("three")]
        named = {"four": make("four"), "five": 5}
    """
    assert [found.dag.dag_id for found in parse_file(write(text)).dags] == ["one", "two", "three", "four"]


def test_modules_beside_the_file_can_be_imported(write, tmp_path):
    """And reading leaves no trace beside it."""
    write("NAME = 'from_beside'\n", "beside.py")
    parsed = parse_file(write("import beside\n" + ONE.replace("'one'", "beside.NAME")))
    assert [found.dag.dag_id for found in parsed.dags] == ["from_beside"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beside.py", "dags.py"]


def test_modules_of_the_current_folder_hide_nothing(write, tmp_path, monkeypatch):
    """A scheduler may be started anywhere."""
    write("raise SystemExit\n", "msgspec.py")
    path = write(ONE, "dags/one.py")
    monkeypatch.chdir(tmp_path)
    assert len(parse_file(Path("dags/one.py")).dags) == 1
    assert parse_file(path).problems == ()


def test_a_file_gets_no_password_of_ours_and_sets_in_one_order(write, monkeypatch):
    """Otherwise each reading of a file that loops over a set would be a new version."""
    monkeypatch.setenv("HEADWAY_BROKER_URL", "amqp://user:password@host")
    monkeypatch.setenv("HEADWAY_DATABASE_URL", "postgresql://user:password@host")
    text = HEAD + (
        "import os\n"
        "with DAG('one') as dag:\n"
        "    shell('a', str([k for k in os.environ if k.startswith('HEADWAY') and 'URL' in k]))\n"
        "    for name in {'b', 'c', 'd', 'e', 'f'}: shell(name, 'true')\n"
    )
    first, second = (parse_file(write(text)).dags[0] for _ in range(2))
    assert first.digest == second.digest
    assert first.dag.tasks[0].command.script == "[]"


def test_prints_go_nowhere(write, capfd):
    """A megabyte on both streams neither blocks the child nor reaches our own output."""
    text = "import sys, os\nprint('x' * 1_000_000)\nprint('x' * 1_000_000, file=sys.stderr)\nos.write(1, b'{}')\n" + ONE
    assert len(parse_file(write(text)).dags) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("import not_there\n", 1, "No module named 'not_there': install it for the Python of the scheduler, or put it"),
        ("from headway import dag\n", 1, "ImportError: cannot import name 'dag'"),
        (HEAD + "\ndef f(:\n", 3, "syntax error: "),
        (HEAD + "x = (\n", 2, "syntax error: '(' was never closed"),
        (b"x = '\xff'\n", 1, "syntax error: (unicode error) 'utf-8' codec can't decode byte 0xff"),
        ("\0", 1, "null bytes"),
        (HEAD + "\n\nimport sys\nsys.exit(0)\n", 5, "the file ends its own process here (sys.exit): remove the call"),
        (HEAD + "exit()\n", 2, "the file ends its own process here"),
        (HEAD + "def f():\n    return 1 / 0\nf()\n", 3, "ZeroDivisionError: division by zero"),
        (HEAD + "raise KeyboardInterrupt\n", 2, "KeyboardInterrupt"),
        (HEAD + "raise ValueError('x' * 10_000)\n", 2, " ..."),
        (HEAD + "class E(Exception):\n    __str__ = None\nraise E\n", 4, "E: (its text cannot be read)"),
        (HEAD + "def f(): f()\nf()\n", 2, "RecursionError: maximum recursion depth exceeded"),
        (HEAD + "shell('a', 'x')\n", 2, "task 'a' is in no DAG: make it inside `with DAG(...):`"),
        (HEAD + "with DAG('d') as dag:\n    shell('a', 'x', retrys=1)\n", 3, "there is no keyword 'retrys' (did you"),
        (HEAD + "import os\nos._exit(0)\n", 1, "ended its process with exit code 0, unread (os._exit?)"),
        (HEAD + "import os\nos.execv('/bin/true', ['true'])\n", 1, "ended its process with exit code 0, unread"),
        (HEAD + "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", 1, "ended its process by SIGSEGV: see"),
        (HEAD + "import os\nos.closerange(3, 100)\n" + ONE, 1, "ended its process with exit code 1, unread"),
        (HEAD, 1, "no DAG in it: keep one in a name of the module, or skip the file by a name that starts with '_'"),
        (HEAD + "dag = DAG('d')\n", 2, "DAG 'd' has no task: make one with shell(), argv() or python()"),
        (HEAD + "DAG('d')\n", 2, "DAG 'd' is made, but no name of the module leads to it in the end: keep all DAGs"),
        (HEAD + "dag = DAG('\\ud800')\nshell('a', 'x', dag=dag)\n", 2, "DAG id '\\ud800' is not a legal name"),
    ],
)
def test_a_fault_has_its_line_and_a_sentence(write, text, line, message):
    """And the file gives no DAG."""
    parsed = parse_file(write(text))
    assert parsed.dags == ()
    found = parsed.problems[0]
    assert found.line == line
    assert message in found.message
    assert len(found.message) < 1_200


def test_all_problems_of_a_dag_are_told_with_their_lines(write):
    """In the order of the lines, and with the id of the DAG; another one in the file is not held up."""
    text = """\
        from headway import DAG, shell
        with DAG("bad") as bad:
            a = shell("a", "{{ ds }}")
            b = shell("b", "x", retries=-1)
            a >> b >> a
        with DAG("good") as good:
            shell("a", "x")
    """
    parsed = parse_file(write(text))
    assert [found.dag.dag_id for found in parsed.dags] == ["good"]
    assert [(found.line, found.dag_id) for found in parsed.problems] == [(3, "bad"), (4, "bad"), (4, "bad")]


def test_a_fault_beside_the_file_names_both_places(write):
    """The line is that of the file, and the sentence says where else to look."""
    write("def f():\n    return 1 / 0\n", "beside.py")
    write("\nx = (\n", "broken.py")
    write("from headway import shell\ndef add(dag):\n    shell('a', '', dag=dag)\n", "tasks.py")
    write("from headway import DAG\ndef make():\n    return DAG('d')\n", "making.py")
    assert problems(write(HEAD + "import beside\n\nbeside.f()\n")) == [
        (4, "ZeroDivisionError: division by zero (in beside.py, line 2)")
    ]
    assert problems(write(HEAD + "import broken\n")) == [
        (2, "syntax error: '(' was never closed (in broken.py, line 2)")
    ]
    assert problems(write(HEAD + "import tasks\ndag = DAG('d')\ntasks.add(dag)\n")) == [
        (4, "task 'a': its script is empty")
    ]
    ((line, message),) = problems(write(HEAD + "import making\ndag = making.make()\n"))
    assert line == 1
    assert message.endswith("making.py, line 3)")


def test_one_id_for_two_dags_is_a_problem_of_both(write):
    """Neither wins by chance."""
    text = HEAD + "dags = []\nfor _ in range(2):\n    with DAG('d') as dag: shell('a', 'x')\n    dags.append(dag)\n"
    parsed = parse_file(write(text))
    assert parsed.dags == ()
    assert [problem.message for problem in parsed.problems] == [
        "DAG id 'd' is used 2 times in this file: give each DAG its own"
    ] * 2


@pytest.mark.parametrize(
    ("loop", "line"),
    [
        ("while True: pass\n", 2),
        ("import time\ntime.sleep(1000)\n", 3),
        ("while True:\n    try:\n        while True: pass\n    except BaseException: pass\n", 4),
        ("import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\nwhile True: pass\n", 1),
    ],
    ids=["busy", "asleep", "swallows", "blocks"],
)
def test_time_is_limited(write, loop, line):
    """A file that never ends says where it was, if it can be interrupted at all."""
    begin = time.monotonic()
    ((found, message),) = problems(write(HEAD + loop), timeout_seconds=0.5)
    assert message == "the file is not read after 500ms: let it describe tasks only, and do the work inside a task"
    assert found in {line, 3}
    assert time.monotonic() - begin < 30


def test_memory_is_limited(write):
    """The hog is told where it asked for more than there is."""
    text = HEAD + "hoard = []\nwhile True:\n    hoard.append(bytearray(50_000_000))\n"
    ((line, message),) = problems(write(text), memory_bytes=300 * MIB)
    assert line == 4
    assert message.startswith("the file needs more than the 300 MiB of memory that reading it may take: let it")


def test_what_a_file_has_started_ends_with_it(write, tmp_path):
    """Processes that it forked or started hold up nothing and stay nowhere."""
    mark = f"headway-parser-{tmp_path.name}-{os.getpid()}"
    text = (
        "import os, subprocess, sys, threading, time\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)', {mark!r}])\n"
        "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        "if os.fork() == 0:\n"
        "    time.sleep(1000)\n"
    )
    begin = time.monotonic()
    assert len(parse_file(write(text + ONE), timeout_seconds=20).dags) == 1
    assert time.monotonic() - begin < 20
    assert not processes_with(mark)


def test_dags_together_are_bounded(write):
    """More than a scheduler would want to wait for."""
    text = """
        from headway import DAG, shell
        dags = []
        for i in range(3):
            with DAG(f"d{i}", description="x" * 50_000_000) as dag:
                shell("a", "true")
            dags.append(dag)
    """
    assert problems(write(text)) == [(1, "its DAGs take more than 134217728 bytes together: split the file")]


def test_whoever_writes_into_the_pipe_gets_an_answer(write):
    """It is ours alone."""
    text = HEAD + "import os\nfor fd in range(3, 100):\n    try: os.write(fd, b'hello\\n')\n    except OSError: pass\n"
    ((line, message),) = problems(write(text))
    assert line == 1
    assert message.startswith("the file wrote into our pipe (")


def test_documents_have_lines_too(write):
    """What cannot be read, and what makes no sense."""
    assert problems(write('{"dag_id": "d",\n"tasks": [}', "a.dag.json")) == [
        (2, "not JSON: Expecting value (column 11)")
    ]
    text = '{"dag_id": "d", "tasks": [\n{"task_id": "a", "shell": "x", "upstream": ["b"]}]}'
    assert problems(write(text, "a.dag.json")) == [(2, "task 'a': it waits for 'b', which is no task of this DAG")]
    assert problems(write("dag_id: d\n\tasks: []", "a.dag.yaml"))[0][0] == 2
    text = "dag_id: d\ntasks:\n\n- {task_id: a, shell: x, upstream: [b]}\n"
    assert problems(write(text, "a.dag.yml")) == [(4, "task 'a': it waits for 'b', which is no task of this DAG")]


def test_the_limits_hold_for_documents(write):
    """A large one takes more memory than it may."""
    tasks = "".join(f"- {{task_id: t{number}, shell: {'x' * 500}}}\n" for number in range(100_000))
    ((_, message),) = problems(write(f"dag_id: d\ntasks:\n{tasks}", "a.dag.yaml"), memory_bytes=200 * MIB)
    assert message.startswith("the file needs more than the 200 MiB of memory that reading it may take")


def test_what_is_no_file_is_not_read(write, tmp_path):
    """No process is started for it."""
    (tmp_path / "folder.py").mkdir()
    huge = write("", "huge.py")
    os.truncate(huge, DAG_FILE_BYTES_MAX + 1)
    assert problems(tmp_path / "absent.py") == [(1, "cannot be opened: No such file or directory")]
    assert problems(tmp_path / "folder.py") == [(1, "is no file: name a DAG file, not a folder or a device")]
    assert problems(tmp_path / "dags.txt") == [
        (1, "not a DAG file by its name: call it *.py, *.dag.json or *.dag.yaml")
    ]
    assert problems(huge) == [
        (1, f"has {DAG_FILE_BYTES_MAX + 1} bytes, and a DAG file may have {DAG_FILE_BYTES_MAX}: split it")
    ]


def test_an_interrupted_parser_leaves_no_child(write, tmp_path):
    """Ctrl-C while a file is read ends the child with whoever asked."""
    loop = write(
        HEAD + "import time\nopen(__file__ + '.began', 'w').close()\ntime.sleep(1000)\n", f"{tmp_path.name}.py"
    )
    script = (
        "import sys\nfrom pathlib import Path\nfrom headway.scheduler.parser.process import parse_file\n"
        "parse_file(Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", script, str(loop)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as parent:
        while not Path(f"{loop}.began").exists():
            assert parent.poll() is None
        parent.send_signal(signal.SIGINT)
        parent.wait(20)
    assert not processes_with(str(loop))


def test_a_folder_is_scanned_for_files_that_may_hold_dags(write, tmp_path):
    """Sorted; without helpers, hidden files and what is no DAG file by its name."""
    for name in (
        "b.py",
        "a.dag.json",
        "e.dag.yaml",
        "f.dag.yml",
        "g.yaml",
        "below/c.py",
        "_skipped.py",
        ".hidden.py",
        "_below/d.py",
        "notes.txt",
    ):
        write(ONE, name)
    write("def helper(): pass\n", "helper.py")
    write("import headway\n", "other.py")
    (tmp_path / "dangling.py").symlink_to("nowhere")
    found = [str(path.relative_to(tmp_path)) for path in scan(tmp_path)]
    assert found == ["a.dag.json", "b.py", "below/c.py", "dangling.py", "e.dag.yaml", "f.dag.yml"]


def test_a_folder_must_be_there(tmp_path):
    """Its setting is named."""
    with pytest.raises(WrongSettings, match=r"Setting HEADWAY_DAGS = '.*absent' is not usable: no such folder"):
        scan(tmp_path / "absent")


def test_one_id_in_two_files_is_a_problem_of_both(write):
    """The other DAGs of both stay."""
    first = write(ONE + HEAD + "with DAG('two') as two: shell('a', 'x')\n", "first.py")
    second = write(ONE, "second.py")
    third = write(ONE.replace("'one'", "'three'"), "third.py")
    files = parse_files([first, second, third])
    assert [[found.dag.dag_id for found in file.dags] for file in files] == [["two"], [], ["three"]]
    assert [file.problems for file in files] == [(said_of("one", second),), (said_of("one", first),), ()]
    assert refuse_doubles([]) == []


def said_of(dag_id, other):
    """Return the problem of a DAG that another file has too."""
    text = f"DAG id {dag_id!r} is used in {other} too: give each DAG its own, nothing changes until then"
    return FileProblem(message=text, dag_id=dag_id)


CALLS = """\
from headway import DAG, python
import beside
from shop import jobs

def report(day, rows=0):
    return day

with DAG("calls") as dag:
    python("own", report, args=["today"])
    python("beside", beside.work)
    python("package", jobs.sell)
    python("named", "shop.jobs:pid")
    python("file", "deep/more.py:dig")
    python("installed", "json:dumps", args=[1])
    python("made_up", "beside:anything")
"""


def test_the_code_of_functions_is_found_and_hashed(write, tmp_path):
    """By its path from the folder or, without one, its absolute path; a module in a package by its name."""
    bodies = {
        "beside.py": "def work(): ...\ndef __getattr__(name): ...\n",
        "shop/__init__.py": "",
        "shop/jobs.py": "def sell(): ...\nif True:\n    from os import getpid as pid\n",
        "deep/more.py": "dig = lambda: 1\n",
        "dags.py": CALLS,
    }
    paths = {name: write(text, name) for name, text in bodies.items()}
    for folder in (tmp_path, None):
        parsed = parse_file(paths["dags.py"], folder=folder)
        assert parsed.problems == ()
        found = {task.task_id: task.code for task in parsed.dags[0].dag.tasks}

        def of(name, folder=folder):
            """Return a file as code."""
            ref = name if folder else str(paths[name])
            return Code(kind="file", ref=ref, digest=digest_of(bodies[name].encode()))

        shop = Code(kind="module", ref="shop.jobs", digest=digest_of(bodies["shop/jobs.py"].encode()))
        installed = found.pop("installed")
        assert (installed.kind, installed.ref) == ("module", "json")
        assert found == {
            "own": of("dags.py"),
            "beside": of("beside.py"),
            "package": shop,
            "named": shop,
            "file": of("deep/more.py"),
            "made_up": of("beside.py"),
        }


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("jobs.py:reprot", "task 't': jobs.py has no 'reprot' at its top (did you mean 'report'?)"),
        ("jobs.py:inner", "task 't': jobs.py has no 'inner' at its top"),
        ("no.py:f", "task 't': its code {folder}/no.py cannot be read: No such file or directory"),
        ("bad.py:f", "task 't': its code {folder}/bad.py is no Python: invalid syntax (bad.py, line 1)"),
        ("no.such:f", "task 't': module 'no.such' is not found: ModuleNotFoundError: No module named 'no'"),
        ("nosuch:f", "task 't': module 'nosuch' is not found: install it for the Python of the scheduler"),
        ("sys:exit", "task 't': module 'sys' has no file whose digest a worker could compare"),
        ("shop.jobs:f", "task 't': module 'shop.jobs' is at sub/shop/jobs.py of the DAG folder, where no worker looks"),
    ],
)
def test_a_function_that_cannot_be_found_is_a_problem(write, tmp_path, call, said):
    """With its line, and what to do."""
    write("def report():\n    def inner(): ...\n    key = lambda inner: inner\nclass Report: ...\n", "sub/jobs.py")
    write("f = = 1\n", "sub/bad.py")
    (tmp_path / "sub/shop").mkdir()
    write("def f(): ...\n", "sub/shop/jobs.py")
    path = write(f"from headway import DAG, python\nwith DAG('d') as dag:\n    python('t', {call!r})\n", "sub/d.py")
    (problem,) = parse_file(path, folder=tmp_path).problems
    assert problem.line == 3
    assert problem.message.startswith(said.format(folder=tmp_path / "sub"))


def test_a_document_names_functions_too(write, tmp_path):
    """By the path from its own folder."""
    write("def f(): ...\n", "sub/jobs.py")
    path = write('{"dag_id": "d", "tasks": [{"task_id": "a", "python": "jobs.py:f"}]}', "sub/d.dag.json")
    (parsed,) = parse_file(path, folder=tmp_path).dags
    assert parsed.dag.tasks[0].code.ref == "sub/jobs.py"
