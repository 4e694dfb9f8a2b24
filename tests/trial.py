"""What tasks really did, against what was recorded of them: the four numbers by which a fault is judged.

Each task appends to one file as it begins and as it ends; the file is the side effect that a user would care for.

    acknowledged  task instances of runs that `headway trigger` acknowledged
    lost          of those, without an end in the file or without success in the record
    duplicated    ended twice, or begun twice by one attempt, or begun by an attempt that nobody was granted
    recovered     of those that succeeded, the ones whose first attempt did not: an attempt was lost and run again
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cluster import Cluster

NOTE = 'note() { echo "$HEADWAY_RUN_ID $HEADWAY_TASK_ID $HEADWAY_TRY $1" >> "$NOTES"; }'


Say = Callable[[str], None]
"""Keeps a line for the end of the test run."""


class Numbers(NamedTuple):
    """Jepsen's four numbers."""

    acknowledged: int
    lost: int
    duplicated: int
    recovered: int

    def __str__(self) -> str:
        """One line, as docs/faults.md repeats it."""
        return ", ".join(f"{name} {value}" for name, value in self._asdict().items())


class Ledger:
    """The file, and the DAGs whose tasks write to it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notes"
        self.path.touch()

    def dag(self, dag_id: str, *layers: int, work: str = "sleep 0.1", **keywords: Any) -> tuple[str, str]:
        """Return a DAG file, name and text, of layers of so many tasks; each layer waits for the one before."""
        ids = [[f"l{layer}_{place}" for place in range(width)] for layer, width in enumerate(layers)]
        tasks = [
            {
                "task_id": task_id,
                "shell": f"{NOTE}; note begun; {work}; note ended",
                "env": {"NOTES": str(self.path)},
                "upstream": ids[layer - 1] if layer else [],
                **keywords,
            }
            for layer, members in enumerate(ids)
            for task_id in members
        ]
        return f"{dag_id}.dag.json", json.dumps({"dag_id": dag_id, "tasks": tasks})

    def count(self, word: str, run_id: str = "") -> int:
        """Count the notes of one kind, of one run or of all."""
        return sum(line.startswith(run_id) and line.endswith(word) for line in self._lines())

    def judge(self, *runs: dict[str, Any]) -> Numbers:
        """Compare what is noted with runs as `runs show` shows them."""
        noted = Counter(tuple(line.split()) for line in self._lines())
        return Numbers(*map(sum, zip(*(self._judge_run(run, noted) for run in runs), strict=True)))

    def _judge_run(self, run: dict[str, Any], noted: "Counter[tuple[str, ...]]") -> Sequence[int]:
        lost = duplicated = recovered = 0
        for task in run["tasks"]:
            granted = {str(one["try"]): one["state"] for one in task["attempts"] if one["started_at"] is not None}
            mine = {key[2:]: count for key, count in noted.items() if key[:2] == (run["run_id"], task["task_id"])}
            begun = {attempt: count for (attempt, word), count in mine.items() if word == "begun"}
            ended = sum(count for (_, word), count in mine.items() if word == "ended")
            lost += not ended or task["state"] != "success"
            duplicated += ended > 1 or any(n > 1 or attempt not in granted for attempt, n in begun.items())
            recovered += task["state"] == "success" and granted.get("1") != "success"
        return len(run["tasks"]), lost, duplicated, recovered

    def _lines(self) -> list[str]:
        return self.path.read_text().splitlines()


class Trial:
    """One fault on one cluster: runs are started, and judged when they have ended."""

    def __init__(self, cluster: Cluster, folder: Path, say: Say) -> None:
        self.cluster, self.ledger = cluster, Ledger(folder)
        self._say = say

    def run(self, dag_id: str, *layers: int, **keywords: Any) -> str:
        """Start a run of a new DAG and return its id, once the scheduler has acknowledged it."""
        self.cluster.sync(self.ledger.dag(dag_id, *layers, **keywords))
        return self.cluster.headway("trigger", dag_id).splitlines()[0]

    def wait_for(self, word: str, count: int, *, seconds: float = 60) -> None:
        """Wait until so many tasks have begun or ended."""
        self.cluster.wait_for(lambda: self.ledger.count(word) >= count, seconds=seconds)

    def judge(self, fault: str, *run_ids: str, seconds: float = 60) -> Numbers:
        """Wait for the end of runs; nothing may be lost or done twice, and the record must give the state."""
        numbers = self.ledger.judge(*(self.cluster.wait_for_run(run_id, seconds=seconds) for run_id in run_ids))
        self._say(f"{fault}: {numbers}")
        self.cluster.headway("audit")
        assert (numbers.lost, numbers.duplicated) == (0, 0), f"{numbers}\n{self.cluster.logs()}"
        return numbers
