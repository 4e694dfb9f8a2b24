"""A worker's machine: its service as it is, with children that are numbers in a table, and a disk that outlives it.

What a child does is drawn from the seed, the task and its number of try: so it does the same whoever runs it. The
machine keeps the promises of worker/children.py: a child lives until its script, a signal or the lease ends it, and not
longer than its worker.
"""

import signal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from headway.cli.addressing import join_index
from headway.protocol.messages import Task
from headway.protocol.names import QueueName, Token, WorkerName
from headway.worker.children import ChildBegun, ChildExit, ChildFault
from headway.worker.core.machine import Worker
from headway.worker.core.values import ChildEnded
from headway.worker.link import BrokerLink
from headway.worker.service import WorkerService, _Hands, _identity
from headway.worker.settings import WorkerSettings
from headway.worker.spool import Spool

from .kernel import Process
from .network import Client

if TYPE_CHECKING:
    from .cluster import Cluster

START_SECONDS_MAX: Final = 0.05
DIE_SECONDS_MAX: Final = 0.5
"""After a KILL; far below the lease's KILL_MARGIN_SECONDS."""


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What a child does."""

    seconds: float
    code: int
    output: bytes | None
    fault: str = ""
    obeys_term: bool = True


def script_of(seed: int, task: Task, tries_that_fail: int) -> Script:
    """Return what the child of an attempt does."""
    random = Random(f"{seed} {task.run_id} {join_index(task.task_id, task.map_index)} {task.try_number}")
    may_fail = task.try_number <= tries_that_fail
    return Script(
        seconds=random.choice([0.0, 0.05, 0.3, 1.0, 2.0, 5.0, 12.0, 30.0]),
        code=random.choice([0, 0, 0, 1, -9]) if may_fail else 0,
        output=random.choice([None, b"[]", b"[7, 8]", b'{"rows": 2}']),
        fault="it cannot be started" if may_fail and random.random() < 0.03 else "",
        obeys_term=random.random() < 0.6,
    )


class Child(msgspec.Struct, kw_only=True, eq=False):
    """A process that was started. `end` is how it ended; a `code` below zero is a signal."""

    task: Task
    boot: str
    script: Script
    began: float
    ended: float | None = None
    code: int | None = None
    lease_ended: bool = False

    @property
    def name(self) -> str:
        """How people call it."""
        name = join_index(self.task.task_id, self.task.map_index)
        return f"child of {self.task.run_id} {name} try {self.task.try_number}"


class Children:
    """worker/children.py's `Children` without processes, and the files that belong to them."""

    def __init__(self, cluster: "Cluster", process: Process, boot: str, inbox: Any) -> None:
        self._cluster = cluster
        self._kernel = cluster.kernel
        self._process = process
        self._boot = boot
        self._inbox = inbox
        self._alive: dict[Token, Child] = {}
        self._until = 0.0

    # --- what worker/attempt_files.py does ----------------------------------------------------------------------------

    def refusal(self, task: Task) -> str:
        """Say why this worker cannot run a task."""
        odd = Random(f"{self._cluster.seed} {self._process.name} {task.task_id} {task.try_number}").random()
        return "it does not have the code" if odd < self._cluster.plan.refuses else ""

    def prepare(self, task: Task) -> Task:
        """Return what to start."""
        return task

    def collect(self, exited: ChildExit) -> ChildEnded:
        """Return how a child ended, with what it wrote."""
        child = self._cluster.children[exited.token]
        code = exited.code
        return ChildEnded(
            token=exited.token,
            pid=exited.pid,
            exit_code=code if code >= 0 else None,
            signal=signal.Signals(-code).name if code < 0 else None,
            lease_ended=exited.lease_ended,
            ran_seconds=exited.ran_seconds,
            output=msgspec.Raw(child.script.output) if child.script.output else None,
        )

    def forget(self, token: Token) -> None:
        """There was no child."""

    # --- what worker/children.py does ---------------------------------------------------------------------------------

    def start(self, task: Task) -> None:
        """Start a child, in a moment."""
        self._process.reach(f"start {task.task_id}")
        self._after(self._kernel.random.uniform(0, START_SECONDS_MAX), lambda: self._begin(task))

    def signal(self, token: Token, number: signal.Signals) -> None:
        """Ask a child to end, or end it."""
        child = self._alive.get(token)
        if child is None:
            return
        if number == signal.SIGKILL or child.script.obeys_term:
            wait = self._kernel.random.uniform(0, DIE_SECONDS_MAX)
            self._after(wait, lambda: self._end(child, -int(number)))

    def extend_lease(self, until: float) -> None:
        """Let children live until then."""
        self._until = until
        self._kernel.after(max(0.0, until - self._kernel.monotonic()), lambda: self._check_lease(until))

    def close(self) -> None:
        """End all: the worker is gone."""
        for child in list(self._alive.values()):
            self._end(child, -9)

    def _after(self, seconds: float, action: Any) -> None:
        self._kernel.after(seconds, action)

    def _begin(self, task: Task) -> None:
        if self._process.is_dead:
            return
        if self._kernel.monotonic() >= self._until:
            self._inbox.put(ChildFault(token=task.token, detail="its worker's lease was over before it could begin"))
            return
        script = script_of(self._cluster.seed, task, self._cluster.plan.tries_that_fail)
        if script.fault:
            self._inbox.put(ChildFault(token=task.token, detail=script.fault))
            return
        child = Child(task=task, boot=self._boot, script=script, began=self._kernel.now)
        self._cluster.child_begins(child)
        self._alive[task.token] = child
        self._inbox.put(ChildBegun(token=task.token, pid=7))
        self._after(script.seconds, lambda: self._end(child, script.code))

    def _end(self, child: Child, code: int) -> None:
        if child.ended is not None:
            return
        child.ended, child.code = self._kernel.now, code
        self._cluster.child_ends(child)
        del self._alive[child.task.token]
        self._inbox.put(
            ChildExit(
                token=child.task.token,
                pid=7,
                code=code,
                ran_seconds=child.ended - child.began,
                cpu_seconds=0.0,
                memory_peak_bytes=0,
                oom=False,
                lease_ended=child.lease_ended,
            )
        )

    def _check_lease(self, until: float) -> None:
        if until == self._until:
            for child in list(self._alive.values()):
                child.lease_ended = True
                self._end(child, -9)


class DiskSpool(Spool):
    """The real spool, and a place to be killed at."""

    def __init__(self, folder: Path, process: Process) -> None:
        super().__init__(folder)
        self._process = process

    def write(self, message_id: str, event: Any) -> None:
        """Keep a result."""
        self._process.reach("spool")
        super().write(message_id, event)
        self._process.reach("spooled")

    def sync(self, message_id: str) -> None:
        """A virtual disk is always in sync: only processes die here, no machine loses power."""


class WorkerBoot:
    """One boot of a worker; ends as WorkerService.run does."""

    def __init__(self, cluster: "Cluster", process: Process, folder: Path, queues: tuple[QueueName, ...]) -> None:
        self._cluster = cluster
        self._process = process
        self._folder = folder
        plan = cluster.plan
        self._settings = WorkerSettings(
            home=folder,
            queues=queues,
            slots=plan.slots,
            name=WorkerName(process.name),
            lease_seconds=plan.lease_seconds,
            heartbeat_seconds=plan.heartbeat_seconds,
            drain_seconds=plan.drain_seconds,
            limits=plan.limits,
        )
        self.children: Children | None = None
        self.client: Client | None = None
        self.service: WorkerService | None = None

    def run(self) -> None:
        """worker/service.py's `run`, with the parts of this machine."""
        process, settings = self._process, self._settings
        name = WorkerName(process.name)
        self.service = service = WorkerService(settings, self._connect)
        inbox = service._inbox  # noqa: SLF001 - this is its run
        spool = DiskSpool(self._folder, process)
        identity = _identity(settings, name, process.name)
        self.children = children = Children(self._cluster, process, identity.boot, inbox)
        broker = self._connect(inbox.put)
        core = Worker(identity, new_id=self._cluster.new_id, spooled=spool.load())
        hands = _Hands(BrokerLink(broker, name, settings.limits), children, children, spool, inbox)  # type: ignore[arg-type]
        broker.open()
        service._serve(core, hands)  # noqa: SLF001 - the same
        broker.close(timeout_seconds=5.0)

    def stop(self) -> None:
        """SIGTERM."""
        if self.service is not None:
            self.service.stop()

    def _connect(self, sink: Any) -> Client:
        self.client = Client(self._cluster.network, self._process, "worker", sink)
        return self.client
