"""Kills a random process again and again under load, and counts what that did to the tasks.

    python benchmarks/soak.py [--minutes 30] [--every 10] [--seed N]

SIGKILL of a worker, the scheduler or RabbitMQ every ten seconds, on private servers that end with it; each is started
again at once, as systemd would. The load is runs of a layered DAG, three at a time. What ran is judged from a file that
the tasks append to. Prints what was lost, what ran twice by mistake, what an operator would have had to repair, and how
many attempts there were; exits 1 if any of the first three, or a difference in the audit, is not 0.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import text

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from cluster import HEADWAY, Cluster, CommandFailed
from headway.scheduler.audit import audit_runs
from headway.scheduler.store.engine import make_engine
from servers import RabbitMQ, start_postgresql, start_rabbitmq

RUNS_AT_ONCE = 3
LAYERS, WIDTH, SLOTS = 20, 8, 8
SETTLE_SECONDS_MAX = 180
"""After the last kill every run has ended by then, or it stands still; twice a lease, and some."""

FAULTS_SHOWN_MAX = 50
SETTINGS = {"HEADWAY_WORKER_LEASE": "60s", "HEADWAY_WORKER_HEARTBEAT": "2s"}
NOTE = (
    'note() { echo "$1 $HEADWAY_RUN_ID $HEADWAY_TASK_ID $HEADWAY_TRY" >> "$NOTES"; }; note begin; sleep 0.3; note end'
)


def main() -> int:
    """Read what is asked, do it, print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    asked = parser.parse_args()
    rabbitmq, postgresql = start_rabbitmq(), start_postgresql()
    try:
        with tempfile.TemporaryDirectory() as home:
            with Cluster(Path(home), rabbitmq.url(), postgresql.url(), **SETTINGS) as cluster:
                soak = Soak(cluster, rabbitmq, asked.seed)
                soak.run(60 * asked.minutes, asked.every)
            return soak.report()
    finally:
        rabbitmq.close()
        postgresql.close()


class Soak:
    """One cluster, what is done to it, and what comes of that."""

    def __init__(self, cluster: Cluster, rabbitmq: RabbitMQ, seed: int) -> None:
        """Start the services."""
        self._cluster, self._rabbitmq, self._seed = cluster, rabbitmq, seed
        self._engine = make_engine(cluster.env["HEADWAY_DATABASE_URL"])
        self._notes = cluster.home / "notes"
        self._acknowledged: list[str] = []
        self._enough = threading.Event()
        self._kills: Counter[str] = Counter()
        self._by_hand: list[str] = []
        self._figures: dict[str, object] = {}
        cluster.start_scheduler()
        for name in ("w1", "w2"):
            cluster.start_worker(name, slots=SLOTS)
        cluster.sync(("soak.dag.json", layered_dag(self._notes)))

    def run(self, seconds: float, every: float) -> None:
        """Kill for so long, let everything come to its end, and judge."""
        load = threading.Thread(target=self._load)
        load.start()
        chance, end = random.Random(self._seed), time.monotonic() + seconds
        while time.monotonic() + every <= end:
            self._cluster.wait(every)
            self._kill(chance.choice(["scheduler", "w1", "w2", "rabbitmq"]))
        self._enough.set()
        load.join()
        try:
            self._cluster.wait_for(lambda: not self._unfinished(), seconds=SETTLE_SECONDS_MAX)
        except CommandFailed as error:
            self._by_hand += [f"run {run_id} stands still" for run_id in self._unfinished()]
            print(error, file=sys.stderr)
        self._judge()

    def report(self) -> int:
        """Print the figures; return 1 if one of them is not what it must be."""
        print(f"seed {self._seed}; killed: {', '.join(f'{name} {count}' for name, count in self._kills.items())}")
        for name, value in self._figures.items():
            print(f"  {name:24} {len(value) if isinstance(value, list) else value}")
        faults = [f"{name}: {one}" for name, value in self._figures.items() if isinstance(value, list) for one in value]
        for fault in faults[:FAULTS_SHOWN_MAX]:
            print(f"    {fault}")
        return int(bool(faults))

    def _load(self) -> None:
        """Keep some runs going. A command that failed may have been obeyed: it is given again under the same name."""
        number = 0
        while not self._enough.wait(0.2):
            if len(self._unfinished()) >= RUNS_AT_ONCE:
                continue
            command = [HEADWAY, "trigger", "soak", "--run-id", f"soak-{number}"]
            done = subprocess.run(command, env=self._cluster.env, capture_output=True, text=True, check=False)
            if done.returncode == 0 or f"soak-{number}" in self._runs():
                self._acknowledged.append(f"soak-{number}")
                number += 1

    def _kill(self, victim: str) -> None:
        died = [service.name for service in self._cluster.services.values() if not service.is_running()]
        self._by_hand += [f"{name} ended by itself" for name in died]
        self._kills[victim] += 1
        if victim == "rabbitmq":
            self._rabbitmq.kill()
            self._rabbitmq.start()
        else:
            self._cluster.services[victim].kill()
        for name in {victim, *died} - {"rabbitmq"}:
            self._cluster.services[name].start()

    def _judge(self) -> None:
        lines = [tuple(line.split()) for line in self._notes.read_text().splitlines()]
        granted = self._ask("SELECT run_id, task_id, try_number FROM attempts WHERE started_at IS NOT NULL")
        attempts = {(run_id, task_id, str(number)) for run_id, task_id, number in granted}
        ended = {line[1:3] for line in lines if line[0] == "end"}
        tasks = [(run_id, task_id) for run_id in self._acknowledged for task_id in task_ids()]
        states = self._runs()
        self._figures = {
            "runs": len(self._acknowledged),
            "attempts": len(attempts),
            "reruns after a kill": len(attempts) - len(tasks),
            "lost": [task for task in tasks if task not in ended or states.get(task[0]) != "success"],
            "ran twice by mistake": twice(lines, attempts),
            "repaired by hand": self._by_hand,
            "differences in the audit": list(audit_runs(self._engine)),
        }

    def _runs(self) -> dict[str, str]:
        return dict(self._ask("SELECT run_id, state FROM runs"))

    def _unfinished(self) -> list[str]:
        return [run_id for run_id, state in self._runs().items() if state in {"queued", "running"}]

    def _ask(self, question: str) -> list[tuple[Any, ...]]:
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(question))]


def task_ids() -> list[str]:
    """Return the ids of the tasks of a run."""
    return [f"l{layer}_{place}" for layer in range(LAYERS) for place in range(WIDTH)]


def layered_dag(notes: Path) -> str:
    """Return a DAG of layers, each of which waits for the whole one before; a task may be hit more than once."""
    common = {"shell": NOTE, "env": {"NOTES": str(notes)}, "infra_retries": 5}
    ids = task_ids()
    layers = [ids[start : start + WIDTH] for start in range(0, len(ids), WIDTH)]
    tasks = [
        {"task_id": task_id, "upstream": layers[number - 1] if number else []} | common
        for number, layer in enumerate(layers)
        for task_id in layer
    ]
    return json.dumps({"dag_id": "soak", "tasks": tasks})


def twice(lines: list[tuple[str, ...]], granted: set[tuple[str, ...]]) -> list[str]:
    """Name what ran though it must not: an attempt again, one that was never granted, or one beside an earlier one."""
    faults = [f"{attempt} began {count} times" for attempt, count in Counter(lines).items() if count > 1]
    newest: dict[tuple[str, ...], int] = {}
    for moment, *task, number in lines:
        key = tuple(task)
        if (*key, number) not in granted:
            faults.append(f"{key}, try {number}, was never granted")
        if moment == "end" and int(number) < newest.get(key, 0):
            faults.append(f"{key}, try {number}, ended after try {newest[key]} had begun")
        newest[key] = max(newest.get(key, 0), int(number))
    return faults


if __name__ == "__main__":
    sys.exit(main())
