"""Who breaks what: the planned misfortunes, and those that strike a process wherever it touches the world outside."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from headway.protocol.codec import address_of
from headway.protocol.messages import Cancel, Finished, Started
from headway.protocol.names import DagId, RunId, WorkerName
from headway.protocol.states import OPEN_ATTEMPT_STATES
from headway.protocol.topology import task_queue_name
from headway.scheduler.relay import event_message

from .kernel import Process
from .plan import Fault

if TYPE_CHECKING:
    from .cluster import Cluster, Node

CLOCK_SECONDS_MAX: Final = 100.0
STOP_SECONDS_MAX: Final = 30.0


class Saboteur:
    """Carries out the faults of a plan, until it is told to stop."""

    def __init__(self, cluster: "Cluster") -> None:
        self._cluster = cluster
        self._random = cluster.kernel.random
        self.is_active = True
        for fault in cluster.plan.faults:
            cluster.kernel.after(fault.at, lambda fault=fault: self._strike(fault))

    def reached(self, process: Process, place: str) -> None:
        """A process touches the world outside: kill it, stop it, or let it pass."""
        plan = self._cluster.plan
        if not self.is_active or process.name == "operator":
            return
        if self._random.random() < plan.kills:
            self._cluster.kernel.say(f"{process.name} is killed at: {place}")
            process.kill()
        elif place != "commit" and self._random.random() < plan.stops:
            self._stop(process, self._random.uniform(0, STOP_SECONDS_MAX), place)

    def _strike(self, fault: Fault) -> None:
        if self.is_active:
            self._cluster.kernel.say(f"--- {fault.kind} for {fault.seconds} s")
            FAULTS[fault.kind](self, fault.seconds)

    def _stop(self, process: Process, seconds: float, place: str = "") -> None:
        self._cluster.kernel.say(f"{process.name} is stopped for {seconds:.1f} s {place}")
        for line in self._cluster.network.of(process.name):
            line.watch()
        process.stop(seconds)

    # --- processes ----------------------------------------------------------------------------------------------------

    def _node(self, kind: str) -> "Node":
        return self._random.choice([node for node in self._cluster.nodes if node.name.startswith(kind)])

    def kill_worker(self, _: float) -> None:
        """Kill -9."""
        self._node("worker").kill()

    def kill_scheduler(self, _: float) -> None:
        """Kill -9."""
        self._node("scheduler").kill()

    def stop_worker(self, seconds: float) -> None:
        """SIGSTOP."""
        self._stop_node("worker", seconds)

    def stop_scheduler(self, seconds: float) -> None:
        """SIGSTOP."""
        self._stop_node("scheduler", seconds)

    def _stop_node(self, kind: str, seconds: float) -> None:
        process = self._node(kind).process
        if process is not None:
            self._stop(process, seconds)

    def drain_worker(self, _: float) -> None:
        """SIGTERM."""
        self._node("worker").drain()

    # --- network and servers ------------------------------------------------------------------------------------------

    def cut_worker(self, seconds: float) -> None:
        """Cut a worker off from the broker."""
        self._cluster.network.cut(self._node("worker").name, seconds)

    def cut_scheduler(self, seconds: float) -> None:
        """Cut a scheduler off from the broker, though not from the database."""
        self._cluster.network.cut(self._node("scheduler").name, seconds)

    def drop_connection(self, _: float) -> None:
        """Reset a connection."""
        if self._cluster.network.lines:
            self._random.choice(self._cluster.network.lines).server_ends()

    def restart_broker(self, seconds: float) -> None:
        """Take the broker away for a while."""
        self._cluster.network.restart_broker(seconds)

    def block(self, seconds: float) -> None:
        """Raise an alarm."""
        self._cluster.network.block(seconds)

    def database_away(self, seconds: float) -> None:
        """Take the database away for a while."""
        self._cluster.disk.is_away = True
        self._cluster.kernel.after(seconds, self._database_back)

    def _database_back(self) -> None:
        self._cluster.disk.is_away = False

    def set_clock(self, _: float) -> None:
        """Set the clock of the database's host, forwards or back."""
        self._cluster.kernel.wall_offset += self._random.uniform(-CLOCK_SECONDS_MAX, CLOCK_SECONDS_MAX)

    # --- people -------------------------------------------------------------------------------------------------------

    def _task_queue(self) -> str | None:
        names = [name for name in self._cluster.rabbit.queues if name.startswith(task_queue_name(""))]
        return self._random.choice(names) if names else None

    def purge(self, _: float) -> None:
        """Purge a task queue in the management UI."""
        name = self._task_queue()
        if name is not None:
            self._cluster.rabbit.purge(name)

    def delete(self, _: float) -> None:
        """Delete a task queue in the management UI."""
        name = self._task_queue()
        if name is not None:
            self._cluster.rabbit.delete(name)

    def cancel(self, _: float) -> None:
        """Somebody has had enough of a run, or of a task."""
        _, run_id, dag_id = self._random.choice(self._cluster.plan.runs)
        dag = next(dag for dag in self._cluster.plan.dags if dag.dag_id == dag_id)
        task = self._random.choice([None, *(task.task_id for task in dag.tasks)])
        self._cluster.operator.say(Cancel(dag_id=DagId(dag_id), run_id=RunId(run_id), task_id=task))

    def repeat(self, _: float) -> None:
        """Let an event that was published long ago arrive once more."""
        if self._cluster.history:
            self._cluster.network.inject(*self._random.choice(self._cluster.history))

    def forge(self, _: float) -> None:
        """Say something of an open attempt with a guessed token, or of a boot or a try that it is not."""
        attempts = [row for row in self._cluster.judge.db.attempts.values() if row.state in OPEN_ATTEMPT_STATES]
        if not attempts:
            return
        row = self._random.choice(attempts)
        truth = address_of(row) | {"worker": row.worker or WorkerName("worker0"), "boot": row.boot or "", "seq": 1}
        lies: list[dict[str, Any]] = [{"token": "guessed"}, {"boot": "another"}, {"try_number": row.try_number + 1}]
        said = truth | self._random.choice(lies)
        event = Finished(**said, exit_code=0) if self._random.random() < 0.5 else Started(**said)
        self._cluster.network.inject(event_message("worker", event), user="worker")


FAULTS: Final[dict[str, Callable[[Saboteur, float], None]]] = {
    name: method for name, method in vars(Saboteur).items() if not name.startswith("_")
}
