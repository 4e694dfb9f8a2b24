"""F28: no space left for SQLite, spool and logs. What is read is a sentence, nothing is lost, and it goes on."""

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cluster import HEADWAY, Cluster
from small_disk import fill, small_disk
from trial import Say, Trial

DISK_BYTES = 3_000_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a folder with a small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, DISK_BYTES):
        yield folder


def test_an_embedded_headway_waits_for_space(disk: Path, tmp_path: Path, say: Say) -> None:
    """Tasks end while nothing can be written: not the database, not the spool. With space it all is decided."""
    with Cluster(tmp_path / "beside", HEADWAY_HOME=str(disk)) as cluster:
        service = cluster.start_standalone(slots=8)
        trial = Trial(cluster, tmp_path, say)
        run_id = trial.run("embedded", 8, 8, work="sleep 2")
        trial.wait_for("begun", 8)
        filler = fill(disk)
        trial.wait_for("ended", 8)
        cluster.wait_for(lambda: "There is no space left for the database at sqlite" in service.log.read_text())
        cluster.wait_for(lambda: "cannot be spooled" in service.log.read_text())
        filler.unlink()
        assert trial.judge("F28 embedded", run_id).recovered == 0
        assert "Traceback" not in service.log.read_text()
        with closing(sqlite3.connect(disk / "headway.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize(
    ("command", "exit_code", "said"),
    [
        (["standalone"], 2, "HEADWAY_HOME = {disk!r} is not usable: No space left on device."),
        (["db", "upgrade"], 1, "There is no space left for the database at sqlite:///{disk}/headway.db"),
    ],
)
def test_a_command_on_a_full_disk_says_so(command: list[str], exit_code: int, said: str, disk: Path) -> None:
    """In one sentence, and without a traceback."""
    fill(disk)
    env = {"HEADWAY_HOME": str(disk), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([HEADWAY, *command], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == exit_code
    assert said.format(disk=str(disk)) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_worker_keeps_results_that_it_cannot_spool(trial: Trial, disk: Path) -> None:
    """Its home is full: results leave from memory, and the log says what that means."""
    worker = trial.cluster.start_worker("full", queue="full", HEADWAY_HOME=str(disk))
    fill(disk)
    run_id = trial.run("full", 4, 4, queue="full")
    assert trial.judge("F28 spool", run_id).recovered == 0
    assert "cannot be spooled" in worker.log.read_text()
    assert "it is lost if this worker ends before it is sent" in worker.log.read_text()


def test_a_task_whose_output_finds_no_space_is_retried(trial: Trial, disk: Path) -> None:
    """The failure is the task's own, and so are its retries; no slot is lost, and with space it succeeds."""
    trial.cluster.start_worker("mute", queue="mute", HEADWAY_HOME=str(disk))
    filler = fill(disk)
    run_id = trial.run("mute", 1, queue="mute", work="echo output", retries=50, retry_delay="1s")
    trial.wait_for("begun", 2)
    filler.unlink()
    assert trial.judge("F28 logs", run_id).recovered == 1
