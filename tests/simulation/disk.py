"""The database: the real store on an SQLite file, whose COMMIT is a place where things go wrong.

Nothing here may lose power, so the file needs no sync and its journal stays in memory: what is simulated are processes
that die, not disks. A transaction is one step, for nothing runs beside it; a process may be killed before its COMMIT or
after it, stopped after it, and told that it failed whether it did or not.
"""

import shutil
import sqlite3
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from sqlalchemy import Engine, event

from headway.scheduler.store.engine import make_engine
from headway.scheduler.store.schema import upgrade_schema

from .kernel import Fiber

PRAGMAS: Final = ("journal_mode=MEMORY", "synchronous=OFF", "busy_timeout=0")
"""Nobody waits for a lock in earnest: whoever could let it go would not run meanwhile."""


class Disk:
    """The database's file. `committed` is called after each commit; `loses_answers` is a share of all commits."""

    def __init__(self, folder: Path, random: Any, committed: Callable[[], None]) -> None:
        self.path = folder / "headway.db"
        shutil.copyfile(template(), self.path)
        self.is_away = False
        self.loses_answers = 0.0
        self._random = random
        self._committed = committed
        self.judged = self.connect(sqlite3.Connection)

    def connect(self, kind: type[sqlite3.Connection]) -> sqlite3.Connection:
        """Open the file."""
        connection = sqlite3.connect(self.path, isolation_level=None, factory=kind)
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def engine(self) -> Engine:
        """Return an engine whose connections fail as this disk does; of the disk before, nothing is left."""
        engine, plugged = machine()
        if plugged[0] is not self:
            engine.dispose()
            plugged[0] = self
        return engine

    def open(self) -> sqlite3.Connection:
        """Return a connection of a process that may be killed."""
        disk = self

        class Connection(sqlite3.Connection):
            """See above."""

            def cursor(self, *args: Any, **kwargs: Any) -> sqlite3.Cursor:
                """Fail while the database is away."""
                disk.refuse_when_away()
                return super().cursor(*args, **kwargs)

            def commit(self) -> None:
                """Commit, or not, and say so, or not."""
                disk.commit(super().commit)

        self.refuse_when_away()
        return self.connect(Connection)

    def refuse_when_away(self) -> None:
        """Raise what a driver raises that reaches nobody."""
        if self.is_away:
            raise sqlite3.OperationalError("the database is away")

    def commit(self, commit: Callable[[], None]) -> None:
        """Let a process commit."""
        fiber = Fiber.current()
        if fiber is None:
            commit()
            return
        fiber.process.reach("commit")
        lost = self._random.random() < self.loses_answers
        if lost and self._random.random() < 0.5:
            raise sqlite3.OperationalError("the connection was lost before COMMIT")
        commit()
        self._committed()
        fiber.process.reach("committed")
        if lost:
            raise sqlite3.OperationalError("the connection was lost, and with it the answer to COMMIT")


@cache
def machine() -> tuple[Engine, list[Disk | None]]:
    """Return the one engine, and which disk is plugged in: a new engine would compile each statement anew.

    That would take a third of the time.
    """
    plugged: list[Disk | None] = [None]
    engine = make_engine(f"sqlite:///{template()}")
    event.listen(engine, "do_connect", lambda *_: plugged[0] and plugged[0].open())
    event.listen(engine, "connect", _undo_wal)
    return engine, plugged


def _undo_wal(connection: sqlite3.Connection, _record: object) -> None:
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


@cache
def template() -> Path:
    """Return a database with the schema and nothing in it, made once for each process that simulates."""
    path = Path(mkdtemp(prefix="headway-simulation-")) / "empty.db"
    upgrade_schema(f"sqlite:///{path}")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    return path
