"""A real Headway: scheduler and workers as processes, the command line as a user types it.

    with Cluster(home, broker_url, database_url) as cluster:
        cluster.start_scheduler()
        cluster.start_worker("w1", slots=4)
        cluster.headway("trigger", "my_dag", "--wait")

Every process ends with the block, by its id; what one wrote to stderr stands in `home/NAME.log`.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

STOP_SECONDS_MAX = 30
"""A service that was asked to end has ended by then, or is killed."""

CRASH_SECONDS_MAX = 30
"""A process that is to crash has passed its crash point by then."""

HEADWAY = str(Path(sys.executable).with_name("headway"))


def measured() -> dict[str, str]:
    """Return what lets a process of ours count for the coverage of a test run that measures it."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


def states(run: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """Return how each task of a run ended, and at which try."""
    return {task["task_id"]: (task["state"], len(task["attempts"])) for task in run["tasks"]}


class CommandFailed(AssertionError):
    """A command exited otherwise than it was expected to."""


class Service:
    """One process of ours."""

    def __init__(self, name: str, command: Sequence[str], env: dict[str, str], log: Path) -> None:
        """Describe it; `start` runs it."""
        self.name, self._command, self._env, self.log = name, command, env, log
        self._log_begin = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **settings: str) -> None:
        """Run it, again if it ran before, this time with these variables too."""
        with self.log.open("ab") as log:
            self._log_begin = log.tell()
            self._process = subprocess.Popen(self._command, env=self._env | settings, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running().pid

    def kill(self) -> None:
        """End it with SIGKILL, with everything it was doing."""
        self._running().kill()
        self._running().wait()

    def wait_for_crash(self) -> None:
        """Wait until it has killed itself at its crash point."""
        code = self._running().wait(timeout=CRASH_SECONDS_MAX)
        if code != -signal.SIGKILL:
            raise CommandFailed(f"{self.name} exited {code} instead of crashing:\n{self.log.read_text()}")

    def terminate(self) -> int:
        """Ask it to end, and return its exit code."""
        process = self._running()
        process.terminate()
        try:
            return process.wait(timeout=STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._running().send_signal(number)

    def said(self) -> str:
        """Return its log since it was started last."""
        return self.log.read_bytes()[self._log_begin :].decode(errors="replace")

    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise CommandFailed(f"{self.name} was never started")
        return self._process


class Cluster:
    """Scheduler and workers on one broker and one database, with a home and a folder of DAG files of their own."""

    def __init__(
        self, home: Path, broker_url: str | None = None, database_url: str | None = None, **settings: str
    ) -> None:
        """Name the servers, or none for the embedded mode; `settings` are environment variables for every process."""
        self.home, self.dags = home, home / "dags"
        self.dags.mkdir(parents=True, exist_ok=True)
        self.env = {
            **measured(),
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            **({} if broker_url is None else {"HEADWAY_BROKER_URL": broker_url}),
            **({} if database_url is None else {"HEADWAY_DATABASE_URL": database_url}),
            "HEADWAY_HOME": str(home),
            "HEADWAY_DAGS": str(self.dags),
            **settings,
        }
        self.services: dict[str, Service] = {}

    def __enter__(self) -> Self:
        """Make the schema, where nobody else does."""
        if "HEADWAY_DATABASE_URL" in self.env:
            self.headway("db", "upgrade")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every process."""
        running = [service for service in self.services.values() if service.is_running()]
        for service in running:
            service.signal(signal.SIGCONT)
            service.signal(signal.SIGTERM)
        for service in running:
            service.terminate()

    def start_scheduler(self, name: str = "scheduler") -> Service:
        """Start a scheduler."""
        return self._start(name, "scheduler")

    def start_worker(self, name: str, *, slots: int = 4, queue: str = "default", **settings: str) -> Service:
        """Start a worker, with environment variables of its own."""
        return self._start(name, "worker", "-q", queue, "--slots", str(slots), "--name", name, **settings)

    def retire(self, *names: str) -> None:
        """End services that no other test needs."""
        for service in map(self.services.pop, names):
            if service.is_running():
                service.terminate()

    def start_logkeeper(self, name: str = "logkeeper") -> Service:
        """Start a logkeeper."""
        return self._start(name, "logkeeper")

    def start_standalone(self, *, slots: int = 4) -> Service:
        """Start everything in one process, and wait until it takes commands."""
        service = self._start("standalone", "standalone", "--slots", str(slots))
        self.wait_for((Path(self.env["HEADWAY_HOME"]) / "embedded.sock").exists, seconds=30)
        self.wait_for(lambda: bool(self.json("workers")), seconds=30)
        return service

    def headway(self, *args: str, exit_code: int = 0, timeout: float = 120) -> str:
        """Run a command and return what it printed; raise CommandFailed if it exits otherwise."""
        run = subprocess.run(
            [HEADWAY, *args], env=self.env, capture_output=True, text=True, timeout=timeout, check=False
        )
        if run.returncode != exit_code:
            raise CommandFailed(
                f"headway {' '.join(args)} exited {run.returncode}:\n{run.stdout}{run.stderr}{self.logs()}"
            )
        return run.stdout

    def begin(self, *args: str) -> "subprocess.Popen[bytes]":
        """Begin a command, for faults that come while it waits."""
        return subprocess.Popen([HEADWAY, *args], env=self.env, stdout=subprocess.DEVNULL)

    def json(self, *args: str) -> Any:
        """Run a command with --json and return its document."""
        return json.loads(self.headway(*args, "--json"))

    def sync(self, *files: tuple[str, str]) -> None:
        """Write DAG files, as (name, text), and wait until their versions are known, also by one that is starting."""
        scheduler = self.services.get("scheduler")
        if scheduler is not None and scheduler.is_running():
            self.wait_for(lambda: "connected to the broker" in scheduler.said())
        for name, text in files:
            (self.dags / name).write_text(text)
        self.headway("dags", "sync")

    def wait_for(self, true: Callable[[], bool], *, seconds: float = 60) -> None:
        """Wait until something is so; raise CommandFailed with the services' logs if it never is."""
        give_up = time.monotonic() + seconds
        while not true():
            if time.monotonic() > give_up:
                raise CommandFailed(f"it never came true:\n{self.logs()}")
            self.wait(0.05)

    def wait(self, seconds: float) -> None:
        """Let time pass while the services do something: for faults at a moment that nothing signals."""
        threading.Event().wait(seconds)

    def wait_for_run(self, run_id: str, *, seconds: float = 60) -> dict[str, Any]:
        """Wait until a run has ended and return it as `runs show` shows it."""
        self.wait_for(lambda: self._run_state(run_id) in {"success", "failed", "cancelled"}, seconds=seconds)
        return dict(self.json("runs", "show", run_id))

    def logs(self) -> str:
        """Return the last lines of every service."""
        parts = []
        for service in self.services.values():
            lines = service.log.read_text(errors="replace").splitlines()[-15:]
            parts.append("\n".join([f"--- {service.name}", *lines]))
        return "\n".join(parts)

    def _run_state(self, run_id: str) -> str:
        runs = self.json("runs", "list", "--limit", "1000")
        return next((run["state"] for run in runs if run["run_id"] == run_id), "unknown")

    def _start(self, name: str, *command: str, **settings: str) -> Service:
        service = self.services.setdefault(
            name, Service(name, [HEADWAY, *command], self.env | settings, self.home / f"{name}.log")
        )
        service.start()
        return service
