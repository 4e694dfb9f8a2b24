"""F29: clocks that somebody sets, by libfaketime: two hours back in the middle of a run, and ahead again."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from cluster import Cluster, Service
from trial import Say, Trial

HOUR_SECONDS = 3600
NEARLY = timedelta(minutes=50)
SETTINGS = {"HEADWAY_WORKER_LEASE": "20s"}
WORK = "case $HEADWAY_TASK_ID in l0_*) sleep 6;; l1_[0-3]) sleep 8;; *) sleep 1;; esac"
"""A batch may go on with a clock that was read 5 s ago: the first layer is longer. While four of the second run, four
wait, for longer than it takes until a timer is rung again."""


class WallClock:
    """The clock of the services that are started with its variables; their monotonic clocks stay true."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            pytest.skip("this test sets clocks, and libfaketime is not installed (sudo apt-get install libfaketime)")
        self._file = folder / "clock"
        self.set(HOUR_SECONDS)
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
    """Give a clock that is an hour ahead at first."""
    return WallClock(tmp_path)


def shown_by(service: Service) -> list[timedelta]:
    """Return how far from the truth the times in a log are, whose last line was written just now."""
    stamps = [line[:19] for line in service.log.read_text().splitlines() if line[:2] == "20"]
    now = datetime.now()  # noqa: DTZ005 - as the log writes it
    return [datetime.fromisoformat(stamp) - now for stamp in stamps]


def jump(trial: Trial, clock: WallClock, run_id: str) -> None:
    """Set the clock back by two hours as a run has begun, and ahead as its second layer begins."""
    trial.wait_for("begun", 1)
    clock.set(-HOUR_SECONDS)
    trial.wait_for("ended", 4)
    trial.wait_for("begun", 8)
    clock.set(HOUR_SECONDS)
    assert trial.cluster.json("runs", "show", run_id)["state"] == "running"


def end(service: Service, clock: WallClock) -> None:
    """End a service at the wrong time, and see in its log that it believed its clock."""
    clock.set(-HOUR_SECONDS)
    service.terminate()
    assert max(shown_by(service)) > NEARLY
    assert shown_by(service)[-1] < -NEARLY


def test_the_clock_of_a_schedulers_host_decides_nothing(trial: Trial, clock: WallClock) -> None:
    """All that is stored by time is the database's."""
    scheduler = trial.cluster.services["scheduler"]
    scheduler.terminate()
    scheduler.start(**clock.env)
    run_id = trial.run("scheduler_jumps", 4, 4, 4, work="sleep 1", queued_timeout="5m", on_queued_timeout="fail")
    jump(trial, clock, run_id)
    assert trial.judge("F29 scheduler", run_id).recovered == 0
    end(scheduler, clock)


def test_the_clock_of_a_workers_host_decides_nothing(trial: Trial, clock: WallClock) -> None:
    """Lease, time-outs and waits are measured, not read off; no child is ended for an hour that did not pass."""
    worker = trial.cluster.start_worker("jumper", queue="jumper", **clock.env)
    run_id = trial.run("worker_jumps", 4, 4, 4, work="sleep 1", queue="jumper", timeout="1m")
    jump(trial, clock, run_id)
    assert trial.judge("F29 worker", run_id).recovered == 0
    end(worker, clock)


def test_a_database_whose_clock_jumps_loses_no_worker(clock: WallClock, tmp_path: Path, say: Say) -> None:
    """Embedded, where the database's clock is the process's: leases and patience begin anew."""
    with Cluster(tmp_path / "home", **SETTINGS, **clock.env) as cluster:
        service = cluster.start_standalone(slots=4)
        trial = Trial(cluster, tmp_path, say)
        run_id = trial.run("all_jumps", 4, 8, 4, work=WORK, queued_timeout="5m", on_queued_timeout="fail")
        jump(trial, clock, run_id)
        assert trial.judge("F29 database", run_id).recovered == 0
        end(service, clock)
