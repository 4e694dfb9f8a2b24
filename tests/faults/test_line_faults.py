"""F10 to F12: the line between a worker or the scheduler and the broker is cut, is silent, or is in seeded trouble.

A worker `far` reaches the broker through a gate. Its lease is long where a cut is to be shorter, and short where it is
to be longer.
"""

import contextlib
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers.gate import Gate
from cluster import Service
from headway.broker.timing import HEARTBEAT_SECONDS
from processes import assert_dead, wait_for_files, wait_for_lines
from trial import Trial

LONG = {"HEADWAY_WORKER_LEASE": "60s"}
TROUBLES = 6
AWAY = re.compile("There is no connection to the broker|the broker is away")
NOTICE_SECONDS_MAX = 2 * (HEARTBEAT_SECONDS + 5) + 15
"""pika looks every heartbeat and 5 s whether anything arrived since the last look; and 5 s for a busy machine."""


def start_far(trial: Trial, gate: Gate, queue: str, **settings: str) -> Service:
    """Start the worker behind the gate, and wait until it is there."""
    url = gate.url(trial.cluster.env["HEADWAY_BROKER_URL"])
    worker = trial.cluster.start_worker("far", queue=queue, HEADWAY_BROKER_URL=url, **settings)
    trial.cluster.wait_for(lambda: state_of_far(trial) == "online")
    return worker


@contextlib.contextmanager
def scheduler_behind(trial: Trial, gate: Gate) -> Iterator[Service]:
    """Let the scheduler reach the broker through the gate."""
    scheduler = trial.cluster.services["scheduler"]
    scheduler.terminate()
    scheduler.start(HEADWAY_BROKER_URL=gate.url(trial.cluster.env["HEADWAY_BROKER_URL"]))
    try:
        yield scheduler
    finally:
        gate.resume()
        scheduler.terminate()


def state_of_far(trial: Trial) -> str:
    """Return what the scheduler believes of the newest boot behind the gate."""
    boots = [one for one in trial.cluster.json("workers") if one["worker"] == "far"]
    return str(max(boots, key=lambda one: one["last_heartbeat"])["state"]) if boots else "unknown"


def test_a_cut_shorter_than_the_lease_changes_nothing(trial: Trial, broker_gate: Gate) -> None:
    """F10: tasks run to their end, results wait in the spool, and each is decided once when the line is back."""
    start_far(trial, broker_gate, "short_cut", **LONG)
    run_id = trial.run("short_cut", 4, work="sleep 1", queue="short_cut")
    trial.wait_for("begun", 4)
    broker_gate.shut()
    trial.wait_for("ended", 4)
    wait_for_files(trial.cluster.home / "workers/far/spool", "*.json", 4)
    broker_gate.open()
    assert trial.judge("F10", run_id).recovered == 0
    trial.cluster.retire("far")


def test_a_cut_longer_than_the_lease_gives_one_success(trial: Trial, broker_gate: Gate, tmp_path: Path) -> None:
    """F11: the worker ends its child before the scheduler gives the task away, and its late word changes nothing."""
    start_far(trial, broker_gate, "long_cut", HEADWAY_WORKER_LEASE="3s")
    work = f'echo $$ >> {tmp_path}/pids; [ "$HEADWAY_TRY" = 2 ] || sleep 600'
    run_id = trial.run("long_cut", 1, work=work, queue="long_cut")
    (pid,) = wait_for_lines(tmp_path / "pids", 1)
    broker_gate.shut()
    trial.cluster.start_worker("near", queue="long_cut")
    trial.wait_for("begun", 2)
    assert_dead(pid)
    assert trial.judge("F11", run_id).recovered == 1
    broker_gate.open()
    trial.cluster.wait_for(lambda: state_of_far(trial) == "online")
    trial.cluster.wait_for(lambda: len(said(trial, run_id, "finished")) == 2)
    late = next(event for event in said(trial, run_id, "finished") if event["try"] == 1)
    assert late["verdict"] == "ignored"
    assert trial.judge("F11 after its return", run_id).recovered == 1
    trial.cluster.retire("far", "near")


def test_a_silent_line_is_found_by_the_heartbeat_of_the_broker(trial: Trial, broker_gate: Gate) -> None:
    """F12: half-open, for a busy worker and for the scheduler: both notice, and both return."""
    with scheduler_behind(trial, broker_gate) as scheduler:
        far = start_far(trial, broker_gate, "silent", **LONG)
        run_id = trial.run("silent", 2, 2, work="sleep 1", queue="silent")
        trial.wait_for("begun", 2)
        before = {service: service.log.stat().st_size for service in (far, scheduler)}
        broker_gate.silence()

        def noticed() -> bool:
            return all(AWAY.search(service.log.read_text()[size:]) for service, size in before.items())

        trial.cluster.wait_for(noticed, seconds=NOTICE_SECONDS_MAX)
        broker_gate.resume()
        assert trial.judge("F12", run_id).recovered == 0
        trial.cluster.retire("far")


@pytest.mark.parametrize("seed", [random.randrange(2**32)])
def test_a_line_in_trouble_loses_nothing(trial: Trial, broker_gate: Gate, seed: int) -> None:
    """F10: cut, reset, silenced, shut and slowed down at random, on both sides of the scheduler; the seed is told."""
    with scheduler_behind(trial, broker_gate):
        start_far(trial, broker_gate, "troubled", **LONG)
        run_id = trial.run("troubled", 6, 6, 6, 6, work="sleep 0.3", queue="troubled")
        trial.wait_for("begun", 1)
        broker_gate.trouble(seed, TROUBLES)
        assert trial.judge(f"F10 seed {seed}", run_id, seconds=120).recovered == 0
        trial.cluster.retire("far")


def said(trial: Trial, run_id: str, kind: str) -> list[dict[str, object]]:
    """Return the recorded events of one kind."""
    return [event for event in trial.cluster.json("events", run_id) if event["kind"] == kind]
