"""The containers' description, read as text: what it names exists, and its times fit together. Nothing is started."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from headway.cli.app import headway
from headway.cli.settings import SETTINGS, read_settings
from headway.protocol.durations import parse_duration
from headway.worker.core.endings import STOP_GRACE_SECONDS
from headway.worker.core.machine import FLUSH_SECONDS
from headway.worker.service import CLOSE_SECONDS, SHIP_SECONDS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "compose"
COMPOSE = (FOLDER / "compose.yaml").read_text("utf-8")
SERVERS = {"rabbitmq": "rabbitmq:3-management", "postgres": "postgres:15"}
WORKERS = ("worker-1", "worker-2")


def services() -> dict[str, str]:
    """Return each service's lines by its name."""
    body = re.search(r"^services:\n(.*?)^\w", COMPOSE, re.MULTILINE | re.DOTALL)
    assert body
    found = re.split(r"^  ([\w-]+):\n", body[1], flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def command_of(service: str) -> list[str]:
    """Return the words that a service runs `headway` with."""
    found = re.search(r"command: \[(.*)\]", services()[service])
    assert found
    return [word.strip(' "') for word in found[1].split(",")]


def is_command(words: list[str]) -> bool:
    """Say whether `headway` knows this command and each of its options."""
    return CliRunner().invoke(headway, [*words, "--help"]).exit_code == 0


def test_compose_accepts_the_file():
    """Whichever compose there is reads it: the plugin as well as docker-compose 1.29."""
    commands = [["docker", "compose"], ["docker-compose"]]
    found = [words for words in commands if shutil.which(words[0]) and not run(*words, "version").returncode]
    if not found:
        pytest.skip("there is neither `docker compose` nor docker-compose")
    for words in found:
        done = run(*words, "--file", str(FOLDER / "compose.yaml"), "config", "--quiet")
        assert (done.returncode, done.stderr) == (0, "")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it said."""
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_the_services_are_those_of_the_page():
    """Broker, database, schema, a scheduler, a logkeeper and two workers."""
    assert list(services()) == ["rabbitmq", "postgres", "migrate", "scheduler", "logkeeper", *WORKERS]
    for name, image in SERVERS.items():
        assert f"    image: {image}\n" in services()[name]
        assert "healthcheck:" in services()[name]


def test_every_setting_exists():
    """A variable of ours that nobody reads would be a setting that nobody gets."""
    text = COMPOSE + (FOLDER / "Dockerfile").read_text("utf-8")
    assert set(re.findall(r"\bHEADWAY_[A-Z_]+", text)) <= SETTINGS.keys()
    given = {**dict(re.findall(r"^ +(HEADWAY_[A-Z_]+): (\w+)$", COMPOSE, re.MULTILINE)), "HEADWAY_HOME": "/"}
    assert read_settings(given).worker_drain


@pytest.mark.parametrize("service", ["migrate", "scheduler", "logkeeper", *WORKERS])
def test_every_command_exists(service: str):
    """With all of its options."""
    assert is_command(command_of(service))


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_has_a_name_and_a_home_of_its_own(worker: str):
    """The name is the service's, so that `headway workers` and `docker compose ps` speak of the same."""
    words = command_of(worker)
    assert words[words.index("--name") + 1] == worker
    assert f"- {worker}-home:/var/lib/headway" in services()[worker]
    assert f"\n  {worker}-home:" in COMPOSE


def test_workers_know_the_broker_and_nothing_else():
    """Neither the database nor the DAG files."""
    shared = re.findall(r"^x-worker\S*:.*?\n\n", COMPOSE, re.MULTILINE | re.DOTALL)
    assert shared
    for text in [*shared, *(services()[worker] for worker in WORKERS)]:
        assert not re.search("database|HEADWAY_DAGS|postgres|/dags", text)


def test_a_drain_is_over_before_docker_kills():
    """The time for tasks, the time between their TERM and KILL, and the time to report them fit into the grace."""
    drain, grace = (
        parse_duration(re.findall(rf"{name}: (\w+)", COMPOSE)[0])
        for name in ("HEADWAY_WORKER_DRAIN", "stop_grace_period")
    )
    assert drain + STOP_GRACE_SECONDS + FLUSH_SECONDS + SHIP_SECONDS + CLOSE_SECONDS <= grace


def test_the_example_has_no_fault():
    """And it is what the page triggers."""
    checked = CliRunner().invoke(headway, ["check", str(FOLDER / "dags/hello.py")])
    assert "DAG hello" in checked.output
    assert checked.exit_code == 0


def test_the_page_names_commands_that_exist():
    """Every `headway` that a container is to run."""
    page = (FOLDER / "README.md").read_text("utf-8")
    commands = [shlex.split(line) for line in re.findall(r"exec scheduler headway ([^`\n]+)", page)]
    assert commands
    assert all(is_command(words) for words in commands)


def test_the_image_gets_every_room():
    """What is installed from src/ is let into the build, and nothing is let in that does not exist."""
    let_in = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE))
    rooms = {path.name for path in (ROOT / "src/headway").iterdir() if path.is_symlink()}
    assert rooms | {"src", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"} <= let_in
