"""The systemd units and what belongs to them: judged by systemd's own tools where these are installed, else as text."""

import re
import shutil
import subprocess
import sys
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
FOLDER = ROOT / "systemd"
PAGE = (ROOT / "docs/operating/install.md").read_text("utf-8")
EXPOSURE_MAX = {"headway-scheduler.service": 12, "headway-logkeeper.service": 12, "headway-worker@.service": 41}
"""Ten times what the page says: a scheduler is as closed as Debian's redis; a worker's bounds are its jobs' too."""

UNITS = tuple(EXPOSURE_MAX)
COMMAND = "/opt/headway/bin/headway"
OF_THE_UNIT = {"QUEUES", "SLOTS"}
"""Variables that the worker's unit reads itself."""

each_unit = pytest.mark.parametrize("unit", UNITS)


def directives(unit: str) -> dict[str, str]:
    """Return the last value of each directive of a unit."""
    text = (FOLDER / unit).read_text("utf-8")
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


def variables(file: str, *, prefix: str = "") -> dict[str, str]:
    """Return what an environment file sets; with the prefix "#", what it would set."""
    found = re.findall(rf"^{prefix}(\w+)=(.*)$", (FOLDER / file).read_text("utf-8"), re.MULTILINE)
    return {name: value.strip("'") for name, value in found}


def tool(name: str) -> str:
    """Return the path of one of systemd's tools; skip the test without it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} here")
    return found


def judge(*words: str) -> None:
    """Run one of systemd's tools, and fail with all it says if it finds a fault or remarks on anything."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


@pytest.fixture
def instance(unit: str, tmp_path: Path) -> str:
    """Give a copy of a unit that has an instance's name, and a program that is here."""
    path = tmp_path / unit.replace("@.", "@w1.")
    path.write_text((FOLDER / unit).read_text("utf-8").replace(COMMAND, sys.executable))
    return str(path)


@each_unit
def test_systemd_understands_a_unit(instance: str):
    """No directive is unknown, misspelt or in the wrong section."""
    judge(tool("systemd-analyze"), "verify", "--man=no", instance)


@each_unit
def test_a_unit_is_as_closed_as_the_page_says(unit: str, instance: str):
    """As systemd itself counts what a service could do."""
    limit = EXPOSURE_MAX[unit]
    assert f"{limit / 10:g}" in PAGE
    judge(tool("systemd-analyze"), "security", "--no-pager", "--offline=true", f"--threshold={limit}", instance)


def test_the_users_can_be_made():
    """And each unit's user is one of them."""
    text = (FOLDER / "headway.sysusers").read_text("utf-8")
    assert {directives(unit)["User"] for unit in UNITS} == set(re.findall(r"^u +(\S+)", text, re.MULTILINE))
    done = subprocess.run(
        [tool("systemd-sysusers"), "--dry-run", str(FOLDER / "headway.sysusers")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@each_unit
def test_a_unit_runs_a_command_that_exists(unit: str):
    """With all of its options."""
    words = directives(unit)["ExecStart"].split()
    assert words[0] == COMMAND
    values = [re.sub(r"%i|\$\{\w+\}", "1", word) for word in words[1:]]
    assert CliRunner().invoke(headway, [*values, "--help"]).exit_code == 0


@each_unit
def test_a_unit_keeps_its_state_where_headway_looks(unit: str):
    """HEADWAY_HOME is the one folder that systemd makes for it."""
    folder = directives(unit)["StateDirectory"]
    home = dict(re.findall(r"(\w+)=(\S+)", directives(unit)["Environment"]))["HEADWAY_HOME"]
    assert home == f"%S/{folder}"
    assert f" /var/lib/{folder}\n" in (FOLDER / "headway.sysusers").read_text("utf-8")


@each_unit
def test_a_unit_waits_for_servers_without_requiring_them(unit: str):
    """They may be elsewhere, and away for a while; a service that fails is started again for ever."""
    found = directives(unit)
    assert "rabbitmq-server.service" in found["After"]
    assert not found.keys() & {"Requires", "BindsTo", "Requisite", "RestartPreventExitStatus"}
    assert (found["Restart"], found["StartLimitIntervalSec"]) == ("on-failure", "0")


def test_a_drain_is_over_before_systemd_kills():
    """The time for tasks, between their TERM and KILL, and to report them fit into the time to stop."""
    found = directives("headway-worker@.service")
    drain = parse_duration(re.findall(r"HEADWAY_WORKER_DRAIN=(\w+)", found["Environment"])[0])
    limit = parse_duration(found["TimeoutStopSec"].removesuffix("in"))
    assert drain + STOP_GRACE_SECONDS + FLUSH_SECONDS + SHIP_SECONDS + CLOSE_SECONDS <= limit


@pytest.mark.parametrize("file", ["headway.env", "scheduler.env", "worker.env"])
def test_an_example_of_settings_can_be_used(file: str):
    """All that it sets, and all that it would set, is read by somebody and is legal."""
    given = variables(file) | variables(file, prefix="#")
    assert given.keys() <= SETTINGS.keys() | OF_THE_UNIT
    read_settings({**given, "HEADWAY_HOME": "/"})
    assert f"systemd/{file} " in PAGE


def test_a_worker_is_told_of_the_broker_and_of_nothing_else():
    """Neither the database nor the DAG files."""
    assert variables("worker.env").keys() == {"HEADWAY_BROKER_URL", *OF_THE_UNIT}


def test_the_page_installs_every_file():
    """A file that the page does not name would not be there."""
    assert [path.name for path in FOLDER.iterdir() if f"systemd/{path.name}" not in PAGE] == []


def test_the_page_gives_the_permissions_of_the_protocol():
    """Which are tested on a broker."""
    protocol = (ROOT / "docs/protocol.md").read_text("utf-8")
    commands = re.findall(r"^rabbitmqctl set_.*$", PAGE, re.MULTILINE)
    assert len(commands) == 4
    assert all(f"{command}\n" in protocol for command in commands)


def test_the_command_for_root_is_a_shell_script():
    """One that the smallest shell can read."""
    judge("sh", "-n", str(FOLDER / "headway.sh"))
