"""F29: clocks that somebody sets, by libfaketime: an hour ahead in the middle of a run, and back again."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from cluster import Cluster, Service
from trial import Say, Trial

HOUR_SECONDS = 3600
SETTINGS = {"HEADWAY_WORKER_LEASE": "20s"}


class WallClock:
    """The clock of the services that are started with its variables; their monotonic clocks stay true."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            pytest.skip("this test sets clocks, and libfaketime is not installed (sudo apt-get install libfaketime)")
        self._file = folder / "clock"
        self.set(0)
        self.env = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """Let it show so much more than the truth."""
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{seconds:+d}")
        beside.rename(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    """Give a clock that shows the truth at first."""
    return WallClock(tmp_path)


def was_ahead(service: Service) -> bool:
    """Whether its log shows a time of the future, so that the jump was there at all."""
    stamps = [line[:19] for line in service.log.read_text().splitlines() if line[:2] == "20"]
    now = datetime.now()  # noqa: DTZ005 - as the log writes it
    return any(datetime.fromisoformat(stamp) - now > timedelta(minutes=50) for stamp in stamps)


def jump(trial: Trial, clock: WallClock, run_id: str) -> None:
    """Set the clock ahead as a run has begun, and an hour back as its first layer has ended."""
    trial.wait_for("begun", 1)
    clock.set(HOUR_SECONDS)
    trial.wait_for("ended", 4)
    trial.wait_for("begun", 8)
    clock.set(-HOUR_SECONDS)
    assert trial.cluster.json("runs", "show", run_id)["state"] == "running"


def test_the_clock_of_a_schedulers_host_decides_nothing(trial: Trial, clock: WallClock) -> None:
    """All that is stored by time is the database's."""
    scheduler = trial.cluster.services["scheduler"]
    scheduler.terminate()
    scheduler.start(**clock.env)
    run_id = trial.run("scheduler_jumps", 4, 4, 4, work="sleep 1", queued_timeout="5m", on_queued_timeout="fail")
    jump(trial, clock, run_id)
    assert trial.judge("F29 scheduler", run_id).recovered == 0
    scheduler.terminate()
    assert was_ahead(scheduler)


def test_the_clock_of_a_workers_host_decides_nothing(trial: Trial, clock: WallClock) -> None:
    """Lease, time-outs and waits are measured, not read off; no child is ended for an hour that did not pass."""
    worker = trial.cluster.start_worker("jumper", queue="jumper", **clock.env)
    run_id = trial.run("worker_jumps", 4, 4, 4, work="sleep 1", queue="jumper", timeout="1m")
    jump(trial, clock, run_id)
    assert trial.judge("F29 worker", run_id).recovered == 0
    trial.cluster.retire("jumper")
    assert was_ahead(worker)


def test_a_database_whose_clock_jumps_loses_no_worker(clock: WallClock, tmp_path: Path, say: Say) -> None:
    """Embedded, where the database's clock is the process's: leases begin anew, queued tasks are published again."""
    with Cluster(tmp_path / "home", **SETTINGS, **clock.env) as cluster:
        service = cluster.start_standalone(slots=4)
        trial = Trial(cluster, tmp_path, say)
        run_id = trial.run("all_jumps", 4, 8, 4, work="sleep 1")
        jump(trial, clock, run_id)
        assert trial.judge("F29 database", run_id).recovered == 0
        assert was_ahead(service)
