"""Shell completion as a shell asks for it: our words at once, ids from the database in time, and never an error."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster import HEADWAY
from stage import Stage, dag, task

BASH = """\
source <({headway} completion bash)
COMP_WORDS=({words})
COMP_CWORD=$(({count} - 1))
_headway_completion {headway}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
SECONDS_MAX = 10
"""A busy machine's share included; without a bound it would be as long as the database is silent."""


@pytest.fixture
def env(migrated_sqlite: Path, tmp_path: Path) -> dict[str, str]:
    """Give the environment of a user whose database knows a DAG and a run."""
    url = f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path)}"
    stage = Stage(url)
    stage.run(dag(task("a"), name="sales"), "sales-1")
    stage.learn(dag(task("a"), name="purchases"))
    stage.engine.dispose()
    path = os.pathsep.join((str(Path(HEADWAY).parent), os.environ["PATH"]))
    return {"PATH": path, "HOME": str(tmp_path), "HEADWAY_CONFIG": "/dev/null", "HEADWAY_DATABASE_URL": url}


def complete(env: dict[str, str], *words: str) -> list[str]:
    """Return what is offered for the last of these words; nothing else is written and nothing fails."""
    asking = env | {"_HEADWAY_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words)}
    asking["COMP_CWORD"] = str(len(words) - 1)
    done = subprocess.run([HEADWAY], env=asking, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("headway", "tr"), ["trigger"]),
        (("headway", "w"), ["worker", "why", "workers"]),
        (("headway", "dags", "s"), ["show", "sync"]),
        (("headway", "trigger", "--ru"), ["--run-id"]),
        (("headway", "runs", "list", "--state", "s"), ["success"]),
        (("headway", "trigger", "s"), ["sales"]),
        (("headway", "dags", "show", ""), ["purchases", "sales"]),
        (("headway", "runs", "list", "--dag", "pu"), ["purchases"]),
        (("headway", "why", "sa"), ["sales-1"]),
        (("headway", "cancel", "x"), []),
    ],
    ids=" ".join,
)
def test_words_and_ids_are_completed(env, words, offered):
    """Commands in the table's order, ids as they are known."""
    assert sorted(complete(env, *words)) == sorted(offered)


def test_bash_completes(env):
    """By the script that the command prints."""
    words = ("headway", "trigger", "sa")
    script = BASH.format(headway=HEADWAY, words=" ".join(words), count=len(words))
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["sales"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script_too(env, shell):
    """Which asks the command as that of bash does; where the shell is there, it finds no fault in it."""
    script = subprocess.run([HEADWAY, "completion", shell], env=env, capture_output=True, text=True, check=True).stdout
    assert f"_HEADWAY_COMPLETE={shell}_complete" in script
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////nowhere/at/all.db", "postgresql+psycopg://u:p@127.0.0.1:1/d"])
def test_what_goes_wrong_completes_nothing(env, url):
    """In silence."""
    assert complete(env | {"HEADWAY_DATABASE_URL": url}, "headway", "trigger", "") == []
    assert complete(env | {"HEADWAY_CONFIG": "/nowhere"}, "headway", "why", "") == []


def test_a_silent_database_is_not_waited_for(env):
    """Somebody has pressed TAB."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://u:p@127.0.0.1:{silent.getsockname()[1]}/d"
        begin = time.monotonic()
        assert complete(env | {"HEADWAY_DATABASE_URL": url}, "headway", "trigger", "") == []
    assert time.monotonic() - begin < SECONDS_MAX


def test_commands_are_completed_without_importing_any(env):
    """Their names and lines stand in the table."""
    words = {"_HEADWAY_COMPLETE": "bash_complete", "COMP_WORDS": "headway ", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", HEADWAY], env=env | words, capture_output=True, text=True, check=True
    )
    assert "plain,trigger" in done.stdout
    assert "click.shell_completion" in done.stderr
    assert not [name for name in ("msgspec", "sqlalchemy", "headway.cli.commands") if name in done.stderr]
