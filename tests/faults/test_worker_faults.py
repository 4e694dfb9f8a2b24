"""F6 to F9: a worker that is killed between any two of its steps; F9 to F11 in test_line_faults.py.

The tasks of a crashing worker have a queue of their own with one slot, so that what a crash may cost is known exactly:
an attempt that nobody was granted costs nothing, and one whose result was kept counts.
"""

import os
import signal
from pathlib import Path

import pytest

from processes import assert_dead, children_of, wait_for_lines
from trial import Trial

TASKS = 3
"""The lease of a worker here, and two heartbeats."""


@pytest.mark.parametrize(
    ("fault", "point", "recovered"),
    [
        ("F6", "before_started", 0),
        ("F7 no child", "after_grant", TASKS),
        ("F7 child runs", "before_task_ack", 1),  # the ack of the message that was handed out again counts as a pass
        ("F8 result spooled", "before_finished", 0),
        ("F8 result published", "after_finished", 0),
    ],
)
def test_a_worker_that_crashes_at_a_point_and_returns_repeats_nothing(
    fault: str, point: str, recovered: int, trial: Trial
) -> None:
    """It crashes thrice: each effect is there once, and attempts are lost only where they were granted."""
    work = "sleep 1.3" if point == "before_task_ack" else "true"
    run_id = trial.run(point, *[1] * TASKS, work=work, queue=point, infra_retries=TASKS)
    worker = trial.cluster.start_worker(point, slots=1, queue=point, HEADWAY_CRASH_AT=f"worker.{point}")
    for _ in range(TASKS - 1):
        worker.wait_for_crash()
        worker.start(HEADWAY_CRASH_AT=f"worker.{point}:2")  # the first pass is that of what was left
    worker.wait_for_crash()
    worker.start(HEADWAY_CRASH_AT="")
    assert trial.judge(fault, run_id).recovered == recovered
    trial.cluster.retire(point)


def test_a_task_message_of_a_dead_worker_goes_to_another_at_once(trial: Trial) -> None:
    """F6: no heartbeat is waited for, since the broker sees the connection end; and no attempt is spent."""
    run_id = trial.run("handed", 1, queue="handed")
    crash = {"HEADWAY_CRASH_AT": "worker.before_started", "HEADWAY_WORKER_LEASE": "5m"}
    first = trial.cluster.start_worker("h1", slots=1, queue="handed", **crash)
    first.wait_for_crash()
    trial.cluster.start_worker("h2", slots=1, queue="handed")
    trial.wait_for("ended", 1)
    assert trial.judge("F6 another worker", run_id).recovered == 0
    trial.cluster.retire("h1", "h2")


def test_an_attempt_of_a_dead_worker_waits_for_its_lease(trial: Trial) -> None:
    """F7: another worker gets the message at once and no grant: the task runs again only after the dead one is LOST."""
    run_id = trial.run("leased", 1, queue="leased")
    first = trial.cluster.start_worker("d1", slots=1, queue="leased", HEADWAY_CRASH_AT="worker.after_grant")
    first.wait_for_crash()
    trial.cluster.start_worker("d2", slots=1, queue="leased")
    assert trial.judge("F7 no return", run_id).recovered == 1
    (task,) = trial.cluster.json("runs", "show", run_id)["tasks"]
    lost, won = task["attempts"]
    assert (lost["state"], lost["worker"], won["state"], won["worker"]) == ("lost", "d1", "success", "d2")
    assert won["queued_at"] >= lost["finished_at"]
    trial.cluster.retire("d1", "d2")


@pytest.mark.parametrize("victims", ["worker", "worker and spawner"])
def test_no_child_outlives_its_worker_and_its_task_runs_again(victims: str, trial: Trial, tmp_path: Path) -> None:
    """F8, F9: kill -9 of the worker, or of its spawner too, in the middle of tasks; a new boot ends the old one."""
    name = victims.replace(" ", "_")
    pids = tmp_path / "pids"
    work = f'echo $$ >> {pids}; [ "$HEADWAY_TRY" = 2 ] || sleep 600'
    run_id = trial.run(name, 3, work=work, queue=name)
    worker = trial.cluster.start_worker(name, slots=3, queue=name)
    running = wait_for_lines(pids, 3)
    for pid in (*(children_of(worker.pid) if "spawner" in name else ()), worker.pid):
        os.kill(pid, signal.SIGKILL)
    assert_dead(*running)
    worker.kill()
    worker.start()
    assert trial.judge(f"F8, F9 {victims}", run_id).recovered == 3
    trial.cluster.retire(name)
