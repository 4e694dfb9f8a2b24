"""How a run gets on, read again and again: each look returns only what has changed since the one before."""

from datetime import datetime

import msgspec
from sqlalchemy import Engine, and_, select

from headway.protocol.errors import UnknownRun
from headway.protocol.names import UNMAPPED

from . import tables as t
from .engine import translated
from .reads import RunSummary, one_moment, to, to_run


class TaskNews(msgspec.Struct, frozen=True, kw_only=True):
    """A task instance that entered its state at `since`, with its newest attempt, if it has one."""

    task_id: str
    map_index: int
    state: str
    since: datetime
    reason: str | None
    detail: str
    try_number: int
    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int | None
    signal: str | None
    tail: str | None


class Progress:
    """The changes of one run; used by one thread."""

    def __init__(self, engine: Engine, run_id: str) -> None:
        """Look at a run; nothing is read yet."""
        self._engine = engine
        self._run_id = run_id
        self._since: datetime | None = None
        self._seen: set[tuple[str, int, str]] = set()  # what was reported of the newest moment

    def look(self) -> tuple[RunSummary, list[TaskNews]]:
        """Return the run, and the task instances that changed, in the order of changing; raise UnknownRun."""
        c, a = t.task_instances.c, t.attempts.c
        newest = and_(
            a.run_id == c.run_id, a.task_id == c.task_id, a.map_index == c.map_index, a.try_number == c.try_number
        )
        of_attempt = (a.started_at, a.finished_at, a.exit_code, a.signal, a.tail)
        statement = select(t.task_instances, *of_attempt).outerjoin(t.attempts, newest).where(c.run_id == self._run_id)
        if self._since is not None:
            statement = statement.where(c.since >= self._since)
        with translated(self._engine), one_moment(self._engine) as connection:
            run = connection.execute(select(t.runs).where(t.runs.c.run_id == self._run_id)).one_or_none()
            if run is None:
                raise UnknownRun(run_id=self._run_id)
            last = c.map_index == UNMAPPED  # a mapped task ends after its instances
            rows = connection.execute(statement.order_by(c.since, c.position, last, c.map_index))
            news = [to(TaskNews, row) for row in rows]
        return to_run(RunSummary, run), self._only_new(news)

    def _only_new(self, news: list[TaskNews]) -> list[TaskNews]:
        """Leave out what was reported: a moment may have more changes than the last look saw of it."""
        fresh = [one for one in news if (one.task_id, one.map_index, one.state) not in self._seen]
        if news:
            if news[-1].since != self._since:
                self._seen.clear()
            self._since = news[-1].since
            self._seen |= {(one.task_id, one.map_index, one.state) for one in news if one.since == self._since}
        return fresh
