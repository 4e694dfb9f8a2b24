"""Asks one question of Headway and of the bare loop in turn, and prints the medians.

    python benchmarks/run.py wide|mapped|chain|processes TASKS [--rounds 3]

Servers: HEADWAY_BROKER_URL and HEADWAY_DATABASE_URL if both are set, else private ones that end with the run. The
database must be PostgreSQL; its tables are made if they are missing, and runs of the DAG `benchmark` are added.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).parent
HEADWAY = str(Path(sys.executable).with_name("headway"))
WORKERS, SLOTS = 2, 4
ECHO_SLOTS = 200

sys.path.append(str(HERE.parent / "tests"))


def main() -> None:
    """Read the question, ask it, print the answer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shape", choices=["wide", "mapped", "chain", "processes"])
    parser.add_argument("tasks", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with ExitStack() as stack:
        env = stack.enter_context(servers()) | {"HEADWAY_HOME": stack.enter_context(tempfile.TemporaryDirectory())}
        question = Question(asked.shape, asked.tasks, env)
        rounds = [(question.ask_headway(), question.ask_bare_loop()) for _ in range(asked.rounds)]
    ours, bare = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"{asked.shape}, {asked.tasks} tasks, median of {asked.rounds}; {os.cpu_count()} cores, {platform.machine()}")
    for name, seconds in (("headway", ours), ("bare loop", bare)):
        rate, each = asked.tasks / seconds, 1000 * seconds / asked.tasks
        print(f"  {name:10} {seconds:8.2f} s {rate:8.0f} tasks/s {each:8.2f} ms/task")
    print(f"  headway takes {ours / bare:.2f} times as long as the bare loop")


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Give an environment that names a broker and a database."""
    names = ("HEADWAY_BROKER_URL", "HEADWAY_DATABASE_URL")
    if all(name in os.environ for name in names):
        yield dict(os.environ)
        return
    from servers import start_postgresql, start_rabbitmq  # noqa: PLC0415 - only now on the path

    broker, database = start_rabbitmq(), start_postgresql()
    try:
        yield os.environ | dict(zip(names, (broker.url(), database.url()), strict=True))
    finally:
        broker.close()
        database.close()


class Question:
    """One shape and number of tasks."""

    def __init__(self, shape: str, tasks: int, env: dict[str, str]) -> None:
        """Make the schema and write the DAG file."""
        self._shape, self._tasks = shape, tasks
        dags = Path(env["HEADWAY_HOME"]) / "dags"
        dags.mkdir()
        self._env = env | {"HEADWAY_DAGS": str(dags)}
        (dags / "benchmark.dag.json").write_text(json.dumps(self._dag()))
        self._run(HEADWAY, "db", "upgrade")

    def ask_headway(self) -> float:
        """Return the seconds of one run, by its recorded times."""
        with ExitStack() as stack:
            stack.enter_context(self._serving(HEADWAY, "scheduler"))
            for number in range(WORKERS):
                if self._shape in ("wide", "mapped"):
                    stack.enter_context(self._serving(*self._echo()))
                else:
                    command = (HEADWAY, "worker", "--slots", str(SLOTS), "--name", f"bench{number}")
                    stack.enter_context(self._serving(*command))
            self._run(HEADWAY, "dags", "sync")
            run_id = self._run(HEADWAY, "trigger", "benchmark", "--wait").splitlines()[0]
            run = json.loads(self._run(HEADWAY, "runs", "show", run_id, "--json"))
        began, ended = (datetime.fromisoformat(run[name]) for name in ("started_at", "finished_at"))
        return (ended - began).total_seconds()

    def ask_bare_loop(self) -> float:
        """Return the seconds that the bare loop takes for as many messages."""
        shape = "chain" if self._shape == "chain" else "wide"
        with self._serving(*self._echo()), self._serving(*self._echo()):
            urls = self._env["HEADWAY_BROKER_URL"], self._env["HEADWAY_DATABASE_URL"]
            return float(self._run(sys.executable, str(HERE / "bare.py"), *urls, shape, str(self._tasks)))

    def _dag(self) -> dict[str, object]:
        if self._shape == "mapped":
            mapped = {"task_id": "part", "argv": ["true"], "over": list(range(self._tasks))}
            return {"dag_id": "benchmark", "tasks": [mapped]}
        chained = self._shape == "chain"
        args = ["sleep", "0.01"] if chained else ["true"]
        tasks = [
            {"task_id": f"t{index}", "argv": args, "upstream": [f"t{index - 1}"] if chained and index else []}
            for index in range(self._tasks)
        ]
        return {"dag_id": "benchmark", "tasks": tasks}

    def _echo(self) -> tuple[str, ...]:
        return sys.executable, str(HERE / "echo.py"), self._env["HEADWAY_BROKER_URL"], "default", str(ECHO_SLOTS)

    @contextmanager
    def _serving(self, *command: str) -> Iterator[None]:
        process = subprocess.Popen(command, env=self._env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            yield
        finally:
            process.terminate()
            process.communicate()

    def _run(self, *command: str) -> str:
        return subprocess.run(command, env=self._env, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
