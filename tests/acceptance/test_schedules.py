"""DAGs that are due by themselves, in a real scheduler: with intervals of seconds, so that nobody waits for minutes."""

import json
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster import HEADWAY, Cluster

NOTE = 'echo "$HEADWAY_RUN_ID $HEADWAY_DS $HEADWAY_DATA_INTERVAL_START $HEADWAY_DATA_INTERVAL_END" >> "$NOTES"'


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Give a standalone Headway for all tests here."""
    with Cluster(tmp_path_factory.mktemp("schedules"), HEADWAY_DAGS_SCAN="1") as cluster:
        cluster.start_standalone()
        yield cluster


def sync(home: Cluster, dag_id: str, **keywords: Any) -> Path:
    """Let the scheduler know a DAG of one task that notes what it is told of its run; return where."""
    notes = home.home / f"{dag_id}.notes"
    task = {"task_id": "a", "shell": NOTE, "env": {"NOTES": str(notes)}}
    home.sync((f"{dag_id}.dag.json", json.dumps({"dag_id": dag_id, "tasks": [task], **keywords})))
    return notes


def test_a_backfill_runs_what_is_over(home: Cluster) -> None:
    """In order, so many at a time; a second one finds that all dates have their run."""
    notes = sync(
        home, "daily", schedule="@daily", timezone="Europe/Amsterdam", params={"n": {"type": "integer", "default": 1}}
    )
    words = ("backfill", "daily", "--from", "2026-03-27", "--to", "2026-03-30", "--max-active", "1")
    assert "'many' is not" in failure(home, *words, "--param", "n=many")
    backfill_id = home.headway(*words, "--param", "n=2").strip()
    home.wait_for(lambda: progress(home, backfill_id)["finished_at"] is not None)
    days = [line.split()[1] for line in notes.read_text().splitlines()]
    assert days == ["2026-03-27", "2026-03-28", "2026-03-29", "2026-03-30"]
    found = home.json("runs", "list", "--backfill", backfill_id)
    assert {(run["kind"], run["state"]) for run in found} == {("backfill", "success")}
    again = home.headway(*words, "--param", "n=2").strip()
    home.wait_for(lambda: progress(home, again)["finished_at"] is not None)
    assert (progress(home, again)["made"], progress(home, again)["skipped"]) == (0, 4)
    assert "is not a date" in failure(home, "backfill", "daily", "--from", "soon", "--to", "2026-03-30", exit_code=2)
    assert home.headway("backfills", "--dag", "daily").count("daily__backfill_") == 2


def progress(home: Cluster, backfill_id: str) -> dict[str, Any]:
    """Return how far a backfill is."""
    return next(one for one in home.json("backfills") if one["backfill_id"] == backfill_id)


def failure(home: Cluster, *words: str, exit_code: int = 2) -> str:
    """Return what a command says that cannot be obeyed."""
    done = subprocess.run([HEADWAY, *words], env=home.env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == exit_code
    return done.stderr


def runs(home: Cluster, dag_id: str) -> list[dict[str, Any]]:
    """Return the runs of a DAG, the oldest first."""
    return list(reversed(home.json("runs", "list", "--dag", dag_id)))


def test_a_dag_runs_every_second(home: Cluster) -> None:
    """Each date once, with the interval that ends there; paused, no more."""
    notes = sync(home, "often", schedule="1s")
    home.wait_for(lambda: notes.exists() and len(notes.read_text().splitlines()) >= 3)
    home.headway("pause", "often")
    home.wait_for(lambda: all(run["state"] == "success" for run in runs(home, "often")))
    found = runs(home, "often")
    dates = [datetime.fromisoformat(run["logical_date"]) for run in found]
    assert all(date.microsecond == 0 for date in dates)
    assert sorted(set(dates)) == dates
    for run, line, date in zip(found, notes.read_text().splitlines(), dates, strict=True):
        stamp = date.strftime("%Y-%m-%dT%H:%M:%S")
        before = (date - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%S")
        assert (run["run_id"], run["kind"]) == (f"often__{stamp}Z", "scheduled")
        assert line.split() == [run["run_id"], f"{date:%Y-%m-%d}", f"{before}Z", f"{stamp}Z"]
    (dag,) = [dag for dag in home.json("dags") if dag["dag_id"] == "often"]
    assert (dag["schedule"], dag["paused"], dag["active_runs"]) == ("1s", True, 0)
    assert home.headway("audit")


def test_a_run_whose_time_is_over_fails(home: Cluster) -> None:
    """What it runs is ended, and says why; a deadline that it missed is shown."""
    task = {"task_id": "a", "shell": "sleep 600"}
    keywords = {"run_timeout": "2s", "deadline": "1s"}
    home.sync(("slow.dag.json", json.dumps({"dag_id": "slow", "tasks": [task], **keywords})))
    home.headway("trigger", "slow", "--run-id", "slow-1", "--wait", exit_code=1)
    run = home.json("runs", "show", "slow-1")
    assert (run["state"], run["late"]) == ("failed", True)
    assert [(task["state"], task["reason"]) for task in run["tasks"]] == [("cancelled", "run_timeout")]
    told = home.json("why", "slow-1", "a")
    assert "cancelled, for its run had gone on for 2 s" in told["detail"].lower()
    kinds = {(event["kind"], event["reason"]) for event in home.json("events", "slow-1")}
    assert ("run_timer", "it missed its deadline") in kinds


def test_of_the_dates_that_were_missed_the_last_is_run(home: Cluster) -> None:
    """The scheduler was away for a while."""
    sync(home, "missed", schedule="1s")
    home.wait_for(lambda: len(runs(home, "missed")) >= 2)
    home.services["standalone"].terminate()
    last = dates_of(home, "missed")[-1]
    home.wait(3)
    home.start_standalone()
    home.wait_for(lambda: dates_of(home, "missed")[-1] > last + timedelta(seconds=3))
    home.headway("pause", "missed")
    found = dates_of(home, "missed")
    gap = found[found.index(last) + 1] - last
    assert gap >= timedelta(seconds=3)
    assert home.headway("audit")


def test_headway_run_makes_no_run_of_a_schedule(tmp_path: Path) -> None:
    """It runs the DAG here and now, whatever is due meanwhile."""
    file = tmp_path / "often.dag.json"
    task = {"task_id": "a", "shell": "sleep 2.5"}
    file.write_text(json.dumps({"dag_id": "often", "schedule": "1s", "tasks": [task]}))
    with Cluster(tmp_path) as alone:
        alone.headway("run", str(file))
        assert [run["kind"] for run in alone.json("runs")] == ["manual"]


def test_what_cannot_be_due_is_refused_by_check(home: Cluster) -> None:
    """Each with a sentence, and the line of its DAG."""
    file = home.home / "bad.py"
    file.write_text(
        "from headway import DAG, shell\n"
        "dags = [\n"
        "    DAG('a', schedule='61 * * * *'),\n"
        "    DAG('b', schedule='@daily', start_date='2026-02-01', end_date='2026-01-01'),\n"
        "    DAG('c', schedule='@daily', timezone='Europe/Amsterdm'),\n"
        "    DAG('d', params={'n': {'type': 'integer', 'default': 'many'}}),\n"
        "]\n"
        "for dag in dags:\n"
        "    shell('t', 'true', dag=dag)\n"
    )
    run = subprocess.run([HEADWAY, "check", str(file)], env=home.env, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    said = [line.removeprefix(f"{file}:") for line in run.stdout.splitlines() if line.startswith(f"{file}:")]
    assert said == [
        "3: DAG 'a': '61 * * * *' is not cron: bad minute",
        "4: DAG 'b': end_date 2026-01-01T00:00:00+00:00 is before start_date 2026-02-01T00:00:00+00:00: swap them",
        "5: DAG 'c': timezone: 'Europe/Amsterdm' is not a known time zone: write one like 'Europe/Amsterdam' or 'UTC'",
        "6: parameter 'n' is a whole number, and 'many' is not",
    ]


def dates_of(home: Cluster, dag_id: str) -> list[datetime]:
    """Return the logical dates of a DAG's runs, the first first."""
    return sorted(datetime.fromisoformat(run["logical_date"]) for run in runs(home, dag_id))
