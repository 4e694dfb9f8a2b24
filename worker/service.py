"""The worker as a service: one thread that takes from an inbox, asks the core, and does what it says.

    broker's signals ---.                               .---> broker: publish, settle, consume, cancel
    spawner's reports --+--> inbox --> core.handle() ---+---> children: start, signal, lease
    requests to stop ---'       (or a timer is due)     '---> spool, log

Nothing is decided here. Whatever comes from another thread is put into the inbox, and nothing else is shared.
"""

import logging
import os
import queue
import signal
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack, closing
from importlib.metadata import version
from typing import Final, assert_never

import msgspec

from headway.broker.port import Broker, Signal, Sink
from headway.protocol.errors import HeadwayError
from headway.protocol.names import BootId, WorkerName
from headway.protocol.states import EndReason

from .attempt_files import AttemptFiles, Means
from .children import ChildBegun, ChildExit, ChildFault, Children, ChildReport, SpawnerGone
from .code import CodeStore
from .core.machine import Worker
from .core.values import (
    CancelConsumer,
    ChildNotStarted,
    ChildStarted,
    Consume,
    Effect,
    Exit,
    ExtendLease,
    Identity,
    Input,
    Publish,
    Remark,
    RemoveSpool,
    Settle,
    SignalChild,
    SpawnerEnded,
    StartChild,
    StopAsked,
    SyncSpool,
    TaskArrived,
    Ticked,
    WriteSpool,
)
from .link import BrokerLink
from .naming import hold_name
from .secret_files import SecretFiles
from .settings import WorkerSettings
from .shipper import LogShipper
from .spool import Spool

_log = logging.getLogger(__name__)

CLOSE_SECONDS: Final = 5.0
"""How long the end waits for the broker's answers: all that must arrive has been waited for before."""

SHIP_SECONDS: Final = 3.0
"""How long the end waits for the last output to reach the broker; it is in its files anyway."""

Item = Signal | ChildReport | ChildNotStarted | StopAsked | Ticked
Connect = Callable[[Sink], Broker]


class WorkerService:
    """One boot of a worker. `stop` may be called from any thread and from a signal handler.

    `connect` is given the sink for signals and returns a broker that is not open yet.
    """

    def __init__(self, settings: WorkerSettings, connect: Connect) -> None:
        self._settings = settings
        self._connect = connect
        self._inbox: queue.SimpleQueue[Item] = queue.SimpleQueue()

    def stop(self) -> None:
        """Drain; the second time, end the children."""
        self._inbox.put(StopAsked())

    def run(self) -> None:
        """Run until the end: a first `stop` drains, a second one ends the children.

        Raises WorkerNameTaken, what the broker reports as not to be mended, and HeadwayError if the spawner dies.
        """
        settings = self._settings
        home = settings.home.absolute()  # children have working directories of their own
        host = settings.host or socket.gethostname()
        with ExitStack() as stack:
            name = stack.enter_context(hold_name(home, settings.name, host))
            folder = home / "workers" / name
            spool = Spool(folder / "spool")
            means = Means(
                inherited=settings.inherited,
                secrets=SecretFiles(settings.secrets),
                code=CodeStore(settings.dags and settings.dags.absolute()),
            )
            shipper = LogShipper(self._connect)
            files = AttemptFiles(home, folder / "tasks", means, shipper)
            children = stack.enter_context(closing(Children(self._inbox.put)))
            broker = self._connect(self._inbox.put)
            stack.callback(broker.close, timeout_seconds=CLOSE_SECONDS)
            identity = _identity(settings, name, host)
            core = Worker(identity, new_id=lambda: uuid.uuid4().hex, spooled=spool.load())
            hands = _Hands(BrokerLink(broker, name, settings.limits), children, files, spool, self._inbox)
            _log.info("Worker %s (boot %s) serves %s", name, identity.boot, ", ".join(settings.queues))
            shipper.open()
            stack.callback(shipper.close, timeout_seconds=SHIP_SECONDS)
            broker.open()
            self._serve(core, hands)
            _log.info("Worker %s has ended", name)

    def _serve(self, core: Worker, hands: "_Hands") -> None:
        while True:
            event = hands.translate(self._next(core.next_due()))
            if event is None:
                continue
            for effect in core.handle(event, _now()):
                if isinstance(effect, Exit):
                    if not effect.in_order:
                        raise HeadwayError(detail="the process that starts children died, and they with it")
                    return
                hands.perform(effect)

    def _next(self, due: float | None) -> Item:
        """Wait for the next item, or until the core wants to be called."""
        try:
            return self._inbox.get(timeout=None if due is None else max(0.0, due - _now()))
        except queue.Empty:
            return Ticked()


class _Hands:
    """What does the core's effects, and tells it what came of them."""

    def __init__(
        self,
        link: BrokerLink,
        children: Children,
        files: AttemptFiles,
        spool: Spool,
        inbox: "queue.SimpleQueue[Item]",
    ) -> None:
        self._link = link
        self._children = children
        self._files = files
        self._spool = spool
        self._inbox = inbox

    def translate(self, item: Item) -> Input | None:
        """Return what an item means to the core, if anything."""
        match item:
            case ChildExit():
                return self._files.collect(item)
            case ChildFault(token=token, detail=detail):
                self._files.forget(token)
                return ChildNotStarted(token=token, reason=EndReason.NOT_STARTED, detail=detail)
            case ChildBegun(token=token, pid=pid):
                _log.debug("Attempt %s runs as process %d", token, pid)
                return ChildStarted(token=token)
            case SpawnerGone():
                return SpawnerEnded(detail="its worker's spawner died")
            case ChildNotStarted() | StopAsked() | Ticked():
                return item
            case _:
                return self._judge(self._link.hear(item))

    def _judge(self, heard: Input | None) -> Input | None:
        """Add to a task message what only this machine can tell: whether it has what the task wants."""
        if isinstance(heard, TaskArrived):
            return msgspec.structs.replace(heard, refusal=self._files.refusal(heard.task))
        return heard

    def perform(self, effect: Effect) -> None:
        """Do what the core says."""
        match effect:
            case Publish(message_id=message_id, event=event):
                self._link.publish(message_id, event)
            case Settle(delivery=delivery, outcome=outcome):
                self._link.settle(delivery, outcome)
            case Consume(tap=tap, queue=name):
                self._link.consume(tap, name)
            case CancelConsumer(tap=tap):
                self._link.cancel(tap)
            case WriteSpool() | SyncSpool() | RemoveSpool():
                self._keep(effect)
            case StartChild() | SignalChild() | ExtendLease():
                self._command(effect)
            case Remark(text=text):
                _log.info("%s", text)
            case Exit():
                pass
            case _:
                assert_never(effect)

    def _keep(self, effect: WriteSpool | SyncSpool | RemoveSpool) -> None:
        match effect:
            case WriteSpool(message_id=message_id, event=event):
                self._spool.write(message_id, event)
            case SyncSpool(message_id=message_id):
                self._spool.sync(message_id)
            case RemoveSpool(message_id=message_id):
                self._spool.remove(message_id)
            case _:
                assert_never(effect)

    def _command(self, effect: StartChild | SignalChild | ExtendLease) -> None:
        match effect:
            case StartChild(task=task):
                launch = self._files.prepare(task)
                if isinstance(launch, ChildNotStarted):
                    self._inbox.put(launch)
                else:
                    self._children.start(launch)
            case SignalChild(token=token, kill=kill):
                self._children.signal(token, signal.SIGKILL if kill else signal.SIGTERM)
            case ExtendLease(until=until):
                self._children.extend_lease(until)
            case _:
                assert_never(effect)


def _identity(settings: WorkerSettings, name: WorkerName, host: str) -> Identity:
    return Identity(
        worker=name,
        boot=BootId(f"{time.time_ns():016x}{uuid.uuid4().hex[:16]}"),  # sorts behind all before it
        host=host,
        pid=os.getpid(),
        queues=settings.queues,
        slots=settings.slots,
        lease_seconds=settings.lease_seconds,
        heartbeat_seconds=settings.heartbeat_seconds,
        headway_version=version("headway"),
        drain_seconds=settings.drain_seconds,
    )


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
