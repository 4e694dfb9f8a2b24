"""F1 to F4: a scheduler that is killed between any two of its steps; nothing is lost, and nothing runs twice.

It kills itself at a crash point, at the first event that it records, then at the second, and so on through one run;
started again, it goes on.
"""

import pytest

from trial import Trial

CRASHES = 4
"""Passes at which it crashes, one after the other, in each run: a trigger, grants, results, and grants again."""


@pytest.mark.parametrize(
    ("fault", "point"),
    [
        ("F1", "before_commit"),
        ("F2", "after_commit"),
        ("F3", "after_publish"),
        ("F4", "before_ack"),
        ("F4 after the ack", "after_ack"),
    ],
)
def test_a_scheduler_that_crashes_at_a_point_repeats_nothing(fault: str, point: str, trial: Trial) -> None:
    """Each task runs once, in its first attempt, whichever of the scheduler's steps was its last."""
    trial.cluster.sync(trial.ledger.dag(point, 3, 3, 3, work="sleep 0.3"))
    scheduler = trial.cluster.services["scheduler"]
    scheduler.terminate()
    scheduler.start(HEADWAY_CRASH_AT=f"scheduler.{point}:1")
    command = trial.cluster.begin("trigger", point, "--run-id", f"{point}-1")  # may give up waiting for its verdict
    for crash in range(2, CRASHES + 1):
        scheduler.wait_for_crash()
        scheduler.start(HEADWAY_CRASH_AT=f"scheduler.{point}:{crash}")
    scheduler.wait_for_crash()
    scheduler.start()
    command.wait(timeout=60)
    assert trial.judge(fault, f"{point}-1").recovered == 0
