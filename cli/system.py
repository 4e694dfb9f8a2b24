"""A whole Headway in one process: a scheduler and a worker, each on threads of its own.

`headway run` and `headway standalone` are this. With `memory://` the broker is in here too: what it holds ends with the
process, and the database, the worker's spool and the scheduler's start make up for that (docs/transports.md).

    stop()          the worker drains; when it has ended, the scheduler ends
    stop() again    the worker ends its children
    a service that fails ends the others, and `run` raises its error
"""

import queue
import threading
from typing import Final

from headway.protocol.errors import SchemaNotCurrent
from headway.scheduler.store.engine import Engine, make_engine
from headway.scheduler.store.schema import check_schema, upgrade_schema

from .serving import Service
from .settings import Settings

END_SECONDS: Final = 30.0
"""How long a service may take to end when another one has failed, before it is left behind."""


class System:
    """Services of one process, the first of which is the reason for the others: they end after it."""

    def __init__(self, **services: Service) -> None:
        """Take the services, in the order in which they end."""
        self._services = services
        self._ended: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()  # an error for each that failed
        self._has_ended = threading.Event()
        self._threads = {
            name: threading.Thread(target=self._run_one, args=(service,), name=f"headway {name}", daemon=True)
            for name, service in services.items()
        }

    def start(self) -> None:
        """Start all."""
        for thread in self._threads.values():
            thread.start()

    def stop(self) -> None:
        """Ask the first service to end, again if it was asked before; the others end after it."""
        next(iter(self._services.values())).stop()

    def check(self) -> None:
        """Raise the error of a service that has failed meanwhile."""
        if self.ends_within(0.0):
            self.wait()

    def ends_within(self, seconds: float) -> bool:
        """Wait at most so long for a service to end; say whether one has."""
        return self._has_ended.wait(seconds)

    def wait(self) -> None:
        """Return when all have ended; raise the error of one that failed."""
        error = self._ended.get()
        for name, service in self._services.items():
            if self._threads[name].is_alive():
                service.stop()
                self._threads[name].join(END_SECONDS if error is not None else None)
        while error is None and not self._ended.empty():
            error = self._ended.get()
        if error is not None:
            raise error

    def run(self) -> None:
        """Start all and wait for their end."""
        self.start()
        self.wait()

    def _run_one(self, service: Service) -> None:
        try:
            service.run()
        except Exception as error:  # noqa: BLE001 - it is raised where the process waits
            self._ended.put(error)
        else:
            self._ended.put(None)
        finally:
            self._has_ended.set()


def open_embedded_database(settings: Settings) -> Engine:
    """Return an engine for a database of our own: its schema is made, or brought up to date, where it has to be."""
    engine = make_engine(settings.database_url)
    try:
        check_schema(engine)
    except SchemaNotCurrent:
        upgrade_schema(settings.database_url)
    return engine
