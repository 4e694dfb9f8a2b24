"""F35, F36: nothing leaks over many tasks, and services that are asked to end leave nothing behind."""

from pathlib import Path
from typing import Any

from servers import RabbitMQ
from trial import Trial

SETTINGS = {"HEADWAY_WORKER_LEASE": "60s"}
SLOTS = 8
GROWTH_KB_MAX = 8_192
"""What a worker may grow by over a second run like the first: it keeps the tokens of 10,000 attempts and no more."""


def memory_kb(pid: int) -> int:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_slots_and_channels_do_not_leak(trial: Trial, rabbitmq: RabbitMQ, vhost: str) -> None:
    """F35: short tasks, and tasks long enough to give their consumers up; then consumers are free slots again."""

    def consumers() -> int:
        (row,) = [row for row in trial.cluster.json("queues") if row["queue"] == "default"]
        return int(row["consumers"])

    def channels() -> int:
        found: Any = rabbitmq.api("GET", f"/vhosts/{vhost}/channels")
        return len(found)

    workers = [trial.cluster.services[name].pid for name in ("w1", "w2")]
    first = [trial.run("short_1", 250, work="true"), trial.run("long_1", 16, work="sleep 1.2")]
    for run_id in first:
        trial.cluster.wait_for_run(run_id)
    trial.cluster.wait_for(lambda: consumers() == SLOTS)
    before, memory = channels(), [memory_kb(pid) for pid in workers]
    again = [trial.run("short_2", 750, work="true"), trial.run("long_2", 24, work="sleep 1.2")]
    assert trial.judge("F35", *first, *again, seconds=120).recovered == 0
    trial.cluster.wait_for(lambda: consumers() == SLOTS)
    trial.cluster.wait_for(lambda: channels() == before)
    for pid, at_first in zip(workers, memory, strict=True):
        assert memory_kb(pid) - at_first < GROWTH_KB_MAX


def test_services_that_are_drained_lose_nothing(trial: Trial) -> None:
    """F36: SIGTERM in the middle of a run, of a worker and of the scheduler: exit code 0, and each task runs once."""
    run_id = trial.run("drained", 12, 12, work="sleep 1")
    trial.wait_for("begun", SLOTS)
    worker, scheduler = trial.cluster.services["w1"], trial.cluster.services["scheduler"]
    assert worker.terminate() == 0
    assert trial.ledger.count("ended") >= SLOTS // 2, "what ran when the worker was asked to end has ended"
    assert scheduler.terminate() == 0
    scheduler.start()
    assert trial.judge("F36", run_id).recovered == 0
