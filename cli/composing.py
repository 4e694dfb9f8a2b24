"""How the services are built from the settings: each composition root (a command) takes the parts that it needs."""

import logging
import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial

from headway.broker.connecting import Transport
from headway.broker.port import Broker, Sink
from headway.protocol.dag_events import DagVersion
from headway.protocol.errors import UserError
from headway.protocol.limits import SLOTS_MAX
from headway.protocol.names import QueueName, WorkerName, check_name
from headway.scheduler.dagfiles import DagFolder
from headway.scheduler.logkeeper import Logkeeper
from headway.scheduler.parser.report import Limits
from headway.scheduler.relay import event_message
from headway.scheduler.scanner import Scanner
from headway.scheduler.service import Scheduler
from headway.scheduler.store.engine import Engine
from headway.scheduler.store.reads import known_dags
from headway.scheduler.store.store import Store
from headway.worker.service import WorkerService
from headway.worker.settings import WorkerSettings

from .settings import Settings

log = logging.getLogger(__name__)


def make_scheduler(settings: Settings, engine: Engine, transport: Transport, *, schedules: bool = True) -> Scheduler:
    """Return a scheduler that reads the DAG files in HEADWAY_DAGS, if that is set."""
    if settings.dags is None:
        log.info("HEADWAY_DAGS is not set, so no DAG files are read")
    scanner = partial(_make_scanner, settings, engine) if settings.dags is not None else None
    connect = _connection_of(settings, transport, "headway scheduler")
    return Scheduler(_store_of(settings, engine), connect, scanner, schedules=schedules)


def make_worker(
    settings: Settings, transport: Transport, *, queues: Iterable[QueueName], slots: int | None, name: str | None = None
) -> WorkerService:
    """Return a worker; raise InvalidName, or UserError for too many slots."""
    if slots is not None and slots > SLOTS_MAX:
        raise UserError(detail=f"{slots} slots are too many: a worker may have {SLOTS_MAX}; start several.")
    own = WorkerSettings(
        home=settings.home,
        queues=tuple(queues),
        slots=slots or os.cpu_count() or 1,
        name=WorkerName(check_name("worker name", name)) if name is not None else None,
        inherited=settings.inherited,
        lease_seconds=settings.worker_lease,
        heartbeat_seconds=settings.worker_heartbeat,
        drain_seconds=settings.worker_drain,
        limits=settings.limits,
        secrets=settings.secrets,
        dags=settings.dags,
    )
    return WorkerService(own, _connection_of(settings, transport, f"headway worker {name or ''}".rstrip()))


def make_logkeeper(settings: Settings, engine: Engine, transport: Transport) -> Logkeeper:
    """Return a logkeeper."""
    return Logkeeper(
        engine, partial(transport.connect, "headway logkeeper"), keep=timedelta(seconds=settings.logs_keep)
    )


def limits_of(settings: Settings) -> Limits:
    """Return what reading one DAG file may take."""
    return Limits(timeout_seconds=settings.dags_timeout, memory_bytes=settings.dags_memory)


def _store_of(settings: Settings, engine: Engine) -> Store:
    if settings.crash_at is None:
        return Store(engine, settings.limits, pools=settings.pools)
    from .crashing import CrashingStore

    return CrashingStore(engine, settings.limits, settings.crash_at, pools=settings.pools)


def _connection_of(settings: Settings, transport: Transport, name: str) -> Callable[[Sink], Broker]:
    connect = partial(transport.connect, name)
    if settings.crash_at is None:
        return connect
    from .crashing import crashing

    return crashing(connect, settings.crash_at)


def _make_scanner(settings: Settings, engine: Engine, broker: Broker) -> Scanner:
    """Return what looks for changed DAG files and publishes them through the scheduler's own broker."""
    folder = DagFolder(settings.dags or settings.home, limits=limits_of(settings))
    values = Store(engine)  # one of its own: the scanner has a thread of its own
    told: set[str] = set()

    def publish(version: DagVersion) -> None:
        log.info("DAG %s of %s is new or changed", version.dag_id, version.file)
        broker.publish(event_message(broker.user, version))

    def scan() -> None:
        look = folder.look(values, known_dags(engine), publish)
        problems = {str(problem) for problem in look.problems}
        for problem in sorted(problems - told):
            log.warning("%s", problem)
        told.clear()
        told.update(problems)

    return Scanner(scan, seconds=settings.dags_scan)
