"""F26, F27: the database goes away under load, and commits whose answer never arrives."""

from collections.abc import Callable

import pytest

from brokers.gate import Gate
from servers import PostgreSQL
from trial import Trial

SETTINGS = {"HEADWAY_WORKER_LEASE": "60s"}
LOST_ANSWERS = 5


@pytest.mark.parametrize(("name", "leave"), [("stopped", PostgreSQL.stop), ("killed", PostgreSQL.kill)])
def test_a_database_that_goes_away_loses_nothing(
    name: str, leave: Callable[[PostgreSQL], None], trial: Trial, postgresql: PostgreSQL
) -> None:
    """F26: what runs goes on and ends; what it said is decided when the database is back, from unacked events."""
    run_id = trial.run(name, 8, 8, work="sleep 1")
    trial.wait_for("begun", 8)
    log = trial.cluster.services["scheduler"].log
    before = log.stat().st_size
    leave(postgresql)
    trial.wait_for("ended", 8)
    trial.cluster.wait_for(lambda: "trying again" in log.read_text()[before:])
    postgresql.start()
    assert trial.judge(f"F26 {name}", run_id).recovered == 0


def test_a_frozen_database_is_waited_for(trial: Trial, postgresql: PostgreSQL) -> None:
    """F26: it answers nothing and closes nothing, for longer than tasks take."""
    run_id = trial.run("frozen", 8, 8, work="sleep 1")
    trial.wait_for("begun", 8)
    postgresql.freeze()
    trial.wait_for("ended", 8)
    postgresql.thaw()
    assert trial.judge("F26 frozen", run_id).recovered == 0


def test_a_commit_whose_answer_is_lost_is_not_repeated(trial: Trial, database_gate: Gate) -> None:
    """F27: the scheduler is cut off in the moment of COMMIT; what was decided is decided again and comes to nothing."""
    cluster = trial.cluster
    scheduler = cluster.services["scheduler"]
    scheduler.terminate()
    scheduler.start(HEADWAY_DATABASE_URL=database_gate.url(cluster.env["HEADWAY_DATABASE_URL"]))
    cluster.sync(trial.ledger.dag("unanswered", 3, 3, 3, work="sleep 0.3"))
    database_gate.cut_after(b"COMMIT")
    command = cluster.begin("trigger", "unanswered", "--run-id", "unanswered-1")  # may give up waiting for its verdict
    for _ in range(LOST_ANSWERS):
        cluster.wait_for(database_gate.was_fatal.is_set)
        database_gate.cut_after(b"COMMIT")
    command.wait(timeout=60)
    assert trial.judge("F27", "unanswered-1").recovered == 0
    scheduler.terminate()
