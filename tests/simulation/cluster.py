"""One seed from beginning to end: processes on machines, what breaks, and what must come of it.

A machine starts its process again when that has ended, as systemd would. Everything goes wrong for FAULT_SECONDS; then
it heals, and all runs must end within CALM_SECONDS: the longest lease, deadline and backoff, one after the other.
"""

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec

from headway.broker.port import Outgoing, Signal, Unconfirmed
from headway.protocol.codec import encode
from headway.protocol.dag_events import DagVersion
from headway.protocol.kinds import Event
from headway.protocol.messages import Finished, Trigger
from headway.protocol.names import DagId, RunId
from headway.protocol.states import FINAL_RUN_STATES
from headway.protocol.topology import EVENTS
from headway.scheduler import clock, service
from headway.scheduler.decider import Decider
from headway.scheduler.intake import Arrival, partition_of_event
from headway.scheduler.relay import event_message
from headway.scheduler.service import Scheduler
from headway.scheduler.store.store import Store
from headway.worker.spool import Spool

from .disk import Disk
from .faults import Saboteur
from .judge import Broken, Judge
from .kernel import EPOCH, Kernel, Process
from .machine import Child, WorkerBoot
from .network import Client, Network
from .plan import FAULT_SECONDS, Plan, plan_of
from .rabbit import Rabbit
from .virtual import installed

CALM_SECONDS: Final = 900.0
AFTERWARDS_SECONDS: Final = 5.0
"""After the last run has ended: what is still said must change nothing."""

HAND_OVER_SECONDS: Final = 60.0
"""Until every spool must be empty: longer than a fault lasts that had begun before all healed."""

RESTART_SECONDS_MAX: Final = 3.0
ASK_AGAIN_SECONDS: Final = 1.0

SELECTS: Final[dict[str, Any]] = {}
WRITES: Final[dict[str, str]] = {}
"""Statements that a store builds once."""

SHM: Final = Path("/dev/shm")  # noqa: S108 - a file system in memory, where there is one


class Node:
    """A machine with one process. `make` starts a process there and returns what asks it to end in good order."""

    def __init__(self, cluster: "Cluster", name: str, main: "Callable[[Process], Life]") -> None:
        self._cluster = cluster
        self.name = name
        self._main = main
        self.process: Process | None = None
        self._life: Life | None = None
        self.start()

    def start(self) -> None:
        """Start the process."""
        cluster = self._cluster
        self.process = process = Process(cluster.kernel, self.name, cluster.reached, self._ended)
        self._life = life = self._main(process)

        def run() -> None:
            try:
                life.run()
            except Exception as error:  # noqa: BLE001 - whatever it is, the simulation must not go on
                cluster.fail(error)
            process.kill()

        process.start(run)

    def kill(self) -> None:
        """Kill -9."""
        if self.process is not None:
            self.process.kill()

    def drain(self) -> None:
        """SIGTERM."""
        if self._life is not None:
            self._life.stop()

    def _ended(self) -> None:
        life, self.process, self._life = self._life, None, None
        if life is not None:
            life.bury()
        self._cluster.kernel.after(self._cluster.kernel.random.uniform(0.1, RESTART_SECONDS_MAX), self.start)


class Life:
    """One life of a service."""

    def run(self) -> None:
        """Serve."""

    def stop(self) -> None:
        """End in good order."""

    def bury(self) -> None:
        """It is dead: so is what depends on it."""


class SchedulerLife(Life):
    """One life of a scheduler."""

    def __init__(self, cluster: "Cluster", process: Process) -> None:
        self._cluster = cluster
        self._process = process
        self._client: Client | None = None
        self._service: Scheduler | None = None

    def run(self) -> None:
        """Serve, as cli/composing.py makes it, without a scanner of DAG files."""
        plan = self._cluster.plan
        store = Store(self._cluster.disk.engine(), plan.limits, pools=plan.pools)
        store._selects, store._writes = SELECTS, WRITES  # noqa: SLF001 - as `machine` in disk.py spares compiling
        self._service = Scheduler(store, self._connect)
        self._service.run()

    def bury(self) -> None:
        """Its connection is gone."""
        if self._client is not None:
            self._client.die()

    def _connect(self, sink: Any) -> Client:
        self._client = Client(self._cluster.network, self._process, "scheduler", sink)
        return self._client


class WorkerLife(Life):
    """One life of a worker: its children and its connection end with it."""

    def __init__(self, boot: WorkerBoot) -> None:
        self._boot = boot

    def run(self) -> None:
        """Serve."""
        self._boot.run()

    def stop(self) -> None:
        """Drain."""
        self._boot.stop()

    def bury(self) -> None:
        """Nothing of it is left but its spool."""
        if self._boot.children is not None:
            self._boot.children.close()
        if self._boot.client is not None:
            self._boot.client.die()


class Operator:
    """Somebody with a command line, who says everything again until the broker has it."""

    def __init__(self, cluster: "Cluster") -> None:
        self._kernel = cluster.kernel
        self._wanted: dict[str, Outgoing] = {}
        process = Process(cluster.kernel, "operator", cluster.reached, lambda: None)
        self._client = Client(cluster.network, process, "operator", self._hear)
        self._client.open()

    def say(self, event: Event) -> None:
        """Publish an event."""
        message = event_message("operator", event)
        self._wanted[message.message_id] = message
        self._client.publish(message)

    def _hear(self, signal: Signal) -> None:
        match signal:
            case Unconfirmed(message_id):
                self._kernel.after(ASK_AGAIN_SECONDS, lambda: self._client.publish(self._wanted[message_id]))
            case _:
                pass


class Cluster:
    """Everything that one seed consists of."""

    def __init__(self, seed: int, plan: Plan, folder: Path, kernel: Kernel) -> None:
        self.seed = seed
        self.kernel = kernel
        self.plan = plan
        self.children: dict[str, Child] = {}
        self.history: list[tuple[Outgoing, str]] = []
        self.homes: list[Path] = []
        self.broken: Exception | None = None
        self.disk = Disk(folder, kernel.random, self._committed)
        self.rabbit = Rabbit(kernel)
        self.network = Network(kernel, self.rabbit)
        self.network.latency_seconds_max = self.plan.latency_seconds_max
        self.network.refuses = self.plan.refused_publishes
        self.network.published = self._published
        self.disk.loses_answers = self.plan.lost_answers
        self.judge = Judge(self)
        self._learn()
        self.saboteur = Saboteur(self)
        self.operator = Operator(self)
        self.nodes = [
            Node(self, f"scheduler{n}", lambda process: SchedulerLife(self, process))
            for n in range(self.plan.schedulers)
        ]
        for number, queues in enumerate(self.plan.workers):
            home = folder / f"worker{number}"
            home.mkdir()
            self.homes.append(home)
            self.nodes.append(
                Node(
                    self,
                    f"worker{number}",
                    lambda process, home=home, queues=queues: WorkerLife(WorkerBoot(self, process, home, queues)),
                )
            )
        for at, run_id, dag_id in self.plan.runs:
            trigger = Trigger(dag_id=DagId(dag_id), run_id=RunId(run_id), logical_date=EPOCH)
            kernel.after(at, lambda trigger=trigger: self.operator.say(trigger))

    # --- from beginning to end ----------------------------------------------------------------------------------------

    def play(self) -> None:
        """Let things go wrong, heal them, and wait for the end; raise what is broken."""
        kernel = self.kernel
        kernel.run(until=FAULT_SECONDS, done=lambda: self.broken is not None or (self.is_over and self._is_quiet()))
        self._heal()
        kernel.run(until=kernel.now + CALM_SECONDS, done=lambda: self.broken is not None or self.is_over)
        kernel.run(until=kernel.now + AFTERWARDS_SECONDS, done=lambda: self.broken is not None)
        kernel.run(until=kernel.now + HAND_OVER_SECONDS, done=lambda: self.broken is not None or not self.spooled())
        if self.broken is None:
            self.judge.end()
        else:
            raise self.broken

    @property
    def is_over(self) -> bool:
        """Whether every run has ended and no child lives."""
        runs = self.judge.db.runs
        return (
            len(runs) == len(self.plan.runs)
            and all(run.state in FINAL_RUN_STATES for run in runs.values())
            and all(child.ended is not None for child in self.children.values())
        )

    def spooled(self) -> list[Finished]:
        """Return the results that are still with their workers."""
        return [result for home in self.homes for _, result in Spool(home).load()]

    def _is_quiet(self) -> bool:
        return all(fault.at < self.kernel.now for fault in self.plan.faults)

    def _heal(self) -> None:
        self.kernel.say("=== all heals")
        self.saboteur.is_active = self.disk.is_away = False
        self.network.refuses = self.disk.loses_answers = 0.0

    def _learn(self) -> None:
        """Make the DAGs known before anything goes wrong."""
        store = Store(self.disk.engine())
        decider = Decider(store, user="scheduler")
        for dag in self.plan.dags:
            encoded = encode(dag)
            digest = sha256(encoded).hexdigest()
            store.add_dag_value(digest, encoded)
            event = DagVersion(dag_id=dag.dag_id, digest=digest, file="dags.py", task_count=len(dag.tasks))
            partition = partition_of_event(event)
            one = Arrival(event=event, partition=partition, message_id=digest, user_id="operator", origin="operator")
            decider.process([one])

    # --- what its parts tell ------------------------------------------------------------------------------------------

    def new_id(self) -> str:
        """Return an id as a worker makes it."""
        return f"{self.kernel.random.getrandbits(128):032x}"

    def reached(self, process: Process, place: str) -> None:
        """A process touches the world outside."""
        if self.broken is None:
            self.saboteur.reached(process, place)

    def fail(self, error: Exception) -> None:
        """Note the first thing that is broken."""
        self.broken = self.broken or error

    def child_begins(self, child: Child) -> None:
        """A child begins."""
        self.kernel.say(f"{child.name} begins on {child.boot}")
        try:
            self.judge.child_begins(child)
        except Broken as error:
            self.fail(error)
        self.children[child.task.token] = child

    def child_ends(self, child: Child) -> None:
        """A child has ended."""
        self.kernel.say(f"{child.name} ends with {child.code}")

    def _committed(self) -> None:
        try:
            self.judge.committed()
        except Exception as error:  # noqa: BLE001 - whatever it is, no process may take it for an error of its own
            self.fail(error)

    def _published(self, user: str, message: Outgoing) -> None:
        try:
            self.judge.published(message)
        except Broken as error:
            self.fail(error)
        if message.exchange == EVENTS:
            self.history.append((message, user))


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a seed."""

    seed: int
    error: str
    virtual_seconds: float
    events: int
    children: int


def simulate(seed: int, *, plan: Plan | None = None, log: Callable[[str], None] = lambda _: None) -> Result:
    """Play one seed, or the accidents of one on another plan than its own."""
    kernel = Kernel(seed, log)
    with TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder, _quickened(), installed(kernel):
        cluster = Cluster(seed, plan or plan_of(seed), Path(folder), kernel)
        error = ""
        try:
            cluster.play()
        except Exception as broken:  # noqa: BLE001 - whatever it is, it is this seed's
            error = describe(broken)
    return Result(
        seed=seed,
        error=error,
        virtual_seconds=kernel.now,
        events=cluster.judge.events,
        children=len(cluster.children),
    )


def describe(error: Exception) -> str:
    """Return what is broken, and where that was seen if it does not say so itself."""
    if isinstance(error, Broken):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno} {place.name}: {place.line})"


@contextmanager
def _quickened() -> Iterator[None]:
    """Let idle loops look less often than in earnest: nothing waits for it, and half of the time would go there."""
    before = service.IDLE_SECONDS, clock.LOOK_SECONDS
    service.IDLE_SECONDS, clock.LOOK_SECONDS = 0.5, 2.0  # type: ignore[misc]
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        service.IDLE_SECONDS, clock.LOOK_SECONDS = before  # type: ignore[misc]
        logging.disable(logging.NOTSET)
