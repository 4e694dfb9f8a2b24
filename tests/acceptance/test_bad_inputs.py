"""What a user does wrong ends in one sentence on stderr and an exit code, never in a traceback."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import HEADWAY, measured
from headway.scheduler.store.schema import upgrade_schema
from servers import PostgreSQL, RabbitMQ
from stage import Stage, dag, task

SECONDS_MAX = 60
CLOSED_PORT = 1  # nobody but root listens there, and nobody does


class User:
    """Somebody who types commands, with settings that are right until a test spoils one."""

    def __init__(self, home: Path, broker_url: str, database_url: str) -> None:
        self.env = {
            **measured(),
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "HEADWAY_HOME": str(home),
            "HEADWAY_BROKER_URL": broker_url,
            "HEADWAY_DATABASE_URL": database_url,
        }

    def types(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command with other settings."""
        return subprocess.run(
            [HEADWAY, *words],
            env=self.env | settings,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )

    def fails(self, *words: str, exit_code: int, **settings: str) -> str:
        """Run a command that must fail in one sentence, and return it."""
        done = self.types(*words, **settings)
        assert (done.returncode, done.stdout) == (exit_code, ""), done.stderr
        assert "Traceback" not in done.stderr
        *remarks, sentence = done.stderr.splitlines()
        assert all(" INFO " in remark for remark in remarks)  # of a service that had begun
        assert sentence.endswith((".", "`", "HEADWAY_BROKER_URL", "HEADWAY_DATABASE_URL")), sentence
        return sentence


@pytest.fixture(scope="module")
def database(postgresql: PostgreSQL) -> Iterator[str]:
    """Give a database with a schema and one run of a DAG, which nobody works on."""
    name = postgresql.create_database()
    url = postgresql.url(name)
    upgrade_schema(url)
    stage = Stage(url)
    stage.run(dag(task("a"), task("b", "a")))
    stage.engine.dispose()
    yield url
    postgresql.start()
    postgresql.drop_database(name)


@pytest.fixture(scope="module")
def vhost(rabbitmq: RabbitMQ) -> Iterator[str]:
    """Give a broker without a single queue."""
    name = rabbitmq.create_vhost()
    yield rabbitmq.url(name)
    rabbitmq.start()
    rabbitmq.delete_vhost(name)


@pytest.fixture
def user(tmp_path: Path, vhost: str, database: str) -> User:
    """Give a user."""
    return User(tmp_path, vhost, database)


@pytest.mark.parametrize("words", [("trigger", "d"), ("cancel", "r")], ids=" ".join)
def test_a_broker_that_is_away(user: User, rabbitmq: RabbitMQ, words: tuple[str, ...]):
    """The address is named, the password is not."""
    url = user.env["HEADWAY_BROKER_URL"].replace(f":{rabbitmq.port}/", f":{CLOSED_PORT}/")
    sentence = user.fails(*words, exit_code=1, HEADWAY_BROKER_URL=url)
    assert f"{rabbitmq.host}:{CLOSED_PORT}" in sentence
    assert "start RabbitMQ there, or set HEADWAY_BROKER_URL" in sentence
    assert rabbitmq.password not in sentence


@pytest.mark.parametrize(
    "words", [("trigger", "d"), ("scheduler",), ("worker", "--slots", "1"), ("logkeeper",)], ids=" ".join
)
def test_a_broker_that_refuses_us(user: User, rabbitmq: RabbitMQ, words: tuple[str, ...]):
    """Trying again mends nothing, so services end too."""
    url = rabbitmq.url(user="nobody", password="wrong-secret")
    sentence = user.fails(*words, exit_code=2, HEADWAY_BROKER_URL=url)
    assert "check user, password and virtual host in HEADWAY_BROKER_URL" in sentence
    assert "wrong-secret" not in sentence


def test_a_virtual_host_that_is_not_there(user: User, rabbitmq: RabbitMQ):
    """It is a setting that is wrong."""
    sentence = user.fails("trigger", "d", exit_code=2, HEADWAY_BROKER_URL=rabbitmq.url("no-such-vhost"))
    assert "check user, password and virtual host" in sentence


@pytest.mark.parametrize("url", ["amqp:/localhost", "nonsense", "http://localhost/"])
def test_a_broker_url_that_is_none(user: User, url: str):
    """The sentence shows how to write one."""
    assert "HEADWAY_BROKER_URL" in user.fails("trigger", "d", exit_code=2, HEADWAY_BROKER_URL=url)


def test_a_broker_without_a_scheduler(user: User):
    """No queue takes an operator's event there."""
    assert "is a scheduler running with this broker?" in user.fails("trigger", "d", exit_code=1)


LOOKING = [("runs",), ("dags",), ("why", "r", "a"), ("workers",), ("audit",), ("trigger", "d"), ("scheduler",)]
LOOKING += [("logs", "r", "a"), ("logkeeper",)]


@pytest.mark.parametrize("words", LOOKING, ids=" ".join)
def test_a_database_that_is_away(user: User, postgresql: PostgreSQL, words: tuple[str, ...]):
    """Every command that needs it says so."""
    url = user.env["HEADWAY_DATABASE_URL"].replace(f":{postgresql.port}/", f":{CLOSED_PORT}/")
    sentence = user.fails(*words, exit_code=1, HEADWAY_DATABASE_URL=url)
    assert "cannot be reached" in sentence
    assert "set HEADWAY_DATABASE_URL" in sentence


@pytest.mark.parametrize(
    ("old", "new"),
    [("://headway:", "://nobody:"), ("://headway:", "://headway:not-"), ("/test_", "/no_such_database_")],
    ids=["user", "password", "database"],
)
@pytest.mark.parametrize("words", [("runs",), ("db", "upgrade")], ids=" ".join)
def test_a_database_that_refuses_us(user: User, words: tuple[str, ...], old: str, new: str):
    """The password stays out of the sentence."""
    url = user.env["HEADWAY_DATABASE_URL"]
    if old not in url:
        pytest.skip("the given server has another user or database")
    sentence = user.fails(*words, exit_code=2, HEADWAY_DATABASE_URL=url.replace(old, new, 1))
    assert "check user, password and database in HEADWAY_DATABASE_URL" in sentence
    assert url.split(":")[2].split("@")[0] not in sentence


@pytest.mark.parametrize("words", LOOKING, ids=" ".join)
def test_a_database_without_a_schema(user: User, tmp_path: Path, words: tuple[str, ...]):
    """Nothing is created by looking."""
    url = f"sqlite:///{tmp_path}/new/headway.db"
    assert "run `headway db upgrade`" in user.fails(*words, exit_code=2, HEADWAY_DATABASE_URL=url)
    assert not (tmp_path / "new").exists()


def test_a_database_of_another_kind(user: User):
    """The two that will do are named."""
    sentence = user.fails("runs", exit_code=2, HEADWAY_DATABASE_URL="mysql://root:secret@localhost/x")
    assert "mysql is not supported" in sentence
    assert "secret" not in sentence


def test_a_file_that_is_no_database(user: User, tmp_path: Path):
    """It is corrupt, and kept."""
    (tmp_path / "notes.db").write_text("these are notes, not tables\n" * 100)
    sentence = user.fails("runs", exit_code=1, HEADWAY_DATABASE_URL=f"sqlite:///{tmp_path}/notes.db")
    assert "not a database" in sentence


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("trigger", "no"), "DAG 'no' is not known here: put its file into HEADWAY_DAGS and run `headway dags sync`."),
        (("dags", "show", "no"), "DAG 'no' is not known here"),
        (("runs", "list", "--dag", "no"), "DAG 'no' is not known here"),
        (("runs", "show", "no"), "Run 'no' is not known here: `headway runs` lists the runs."),
        (("cancel", "no"), "Run 'no' is not known here"),
        (("events", "no"), "Run 'no' is not known here"),
        (("audit", "no"), "Run 'no' is not known here"),
        (("why", "no", "a"), "Run 'no' is not known here"),
        (("logs", "no", "a"), "Run 'no' is not known here"),
        (("why", "r", "no"), "Run 'r' has no task 'no': `headway runs show r` lists its tasks."),
        (("cancel", "r", "no"), "Run 'r' has no task 'no'"),
        (("logs", "r", "no"), "Run 'r' has no task 'no'"),
        (("logs", "r", "b"), "Task b is waiting and was never tried"),
        (("logs", "r", "a", "--try", "7"), "Task a has 1 attempts, and none of number 7."),
        (("trigger", "d", "--param", "x=1"), "DAG 'd' has no parameter 'x'."),
        (("trigger", "d", "--date", "soon"), "'soon' is not a date"),
        (("trigger", "d", "--run-id", "no/way"), "run id 'no/way' is not a legal name"),
        (("worker", "-q", "Not.Legal"), "queue 'Not.Legal' is not a legal name"),
        (("worker", "--slots", "99999"), "99999 slots are too many"),
        (("worker", "--slots", "0"), "Invalid value for '--slots'"),
        (("check", "no.py"), "There is no file no.py"),
        (("import", "wfformat", "no.json"), "File no.json cannot be read: No such file or directory."),
        (("dags", "sync"), "Setting HEADWAY_DAGS = '' is not usable: set it to the folder of your DAG files."),
        (("runs", "list", "--state", "odd"), "Invalid value for '--state'"),
        (("runs", "--wrong"), "No such option '--wrong'"),
        (("runs", "show"), "Missing argument 'RUN'"),
        (("frobnicate",), "No such command 'frobnicate'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_words_that_are_wrong(user: User, words: tuple[str, ...], sentence: str):
    """What is not there is named, with where to look."""
    assert sentence in user.fails(*words, exit_code=2)


@pytest.mark.parametrize(
    ("name", "value"),
    [("HEADWAY_WORKER_LEASE", "long"), ("HEADWAY_LOG_LEVEL", "loud"), ("HEADWAY_DAGS_MEMORY", "-1")],
)
def test_a_setting_that_makes_no_sense(user: User, name: str, value: str):
    """The variable and its value are named, whatever the command."""
    assert f"{name} = '{value}'" in user.fails("runs", exit_code=2, **{name: value})


def test_a_folder_of_dag_files_that_is_not_there(user: User, tmp_path: Path):
    """It is the setting that is wrong."""
    sentence = user.fails("dags", "sync", exit_code=2, HEADWAY_DAGS=f"{tmp_path}/no")
    assert "no such folder" in sentence


def test_dag_files_with_faults(user: User, tmp_path: Path):
    """Each fault is a line of its own, with file and line, and the exit code is 1."""
    (tmp_path / "good.py").write_text(
        "from headway import DAG, shell\nwith DAG('good') as dag:\n    shell('a', 'true')\n"
    )
    (tmp_path / "bad.py").write_text("from headway import DAG, shell\nwith DAG('bad') as dag:\n    shell('a', '')\n")
    done = user.types("check", f"{tmp_path}/good.py", f"{tmp_path}/bad.py")
    assert (done.returncode, done.stderr) == (1, "")
    good, bad = done.stdout.splitlines()
    assert good == f"{tmp_path}/good.py: DAG good, 1 task, no fault"
    assert bad == f"{tmp_path}/bad.py:3: task 'a': its script is empty"


def test_a_workflow_that_is_none(user: User, tmp_path: Path):
    """The file is named."""
    (tmp_path / "x.json").write_text("{}")
    assert f"{tmp_path}/x.json: not a workflow" in user.fails("import", "wfformat", f"{tmp_path}/x.json", exit_code=2)


def test_queues_without_a_broker(user: User, rabbitmq: RabbitMQ):
    """The database's side is shown all the same, with a sentence about the other."""
    url = user.env["HEADWAY_BROKER_URL"].replace(f":{rabbitmq.port}/", f":{CLOSED_PORT}/")
    done = user.types("queues", "--json", HEADWAY_BROKER_URL=url)
    assert done.returncode == 0
    assert '"ready": null' in done.stdout
    assert '"queued": 1' in done.stdout
    assert done.stderr.count("\n") == 1
    assert "Only the database's side is shown." in done.stderr


def test_no_command_shows_the_help(user: User):
    """On stderr, as it was not asked for."""
    done = user.types()
    assert (done.returncode, done.stdout) == (2, "")
    assert "Services:" in done.stderr


def test_ctrl_c_is_quiet(user: User):
    """Exit 130, and not a word but the line's end."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(SECONDS_MAX)
        process = subprocess.Popen(
            [HEADWAY, "trigger", "d"],
            env=user.env | {"HEADWAY_BROKER_URL": f"amqp://nobody@127.0.0.1:{silent.getsockname()[1]}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        visitor, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS_MAX)
        visitor.close()
    assert (process.returncode, out, err.strip()) == (130, "", "")


def test_a_reader_that_goes_away_is_no_fault_of_ours(user: User):
    """`headway runs | head` says nothing of the pipe that broke."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as broken:
        done = subprocess.run(
            [HEADWAY, "runs", "--json"], env=user.env, stdout=broken, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"")
