"""What a person sees of a run that goes on: each end of a task as a line, and on a terminal below them what runs now.

`Board` knows the run, `watch_on` says how it is shown. Task names, reasons and output are of foreign origin: they are
printed as they are, without what a terminal would obey.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from headway.protocol.states import FINAL_TASK_STATES, TaskState
from headway.scheduler.store.progress import TaskNews
from headway.scheduler.store.reads import RunSummary

from .addressing import join_index
from .printing import between, plain, plain_lines, show_duration

RUNNING_SHOWN_MAX: Final = 8
"""Running tasks that a terminal lists; more would push the ends out of sight."""

TAIL_LINES_MAX: Final = 10
"""Last lines of a failed task that are shown at once; `headway logs` has all."""

REFRESHES_PER_SECOND: Final = 8

LINES_MAX: Final = 300
"""Tasks of a run from which on only failures are listed as they happen: nobody reads a thousand successes."""

STYLES: Final = {
    TaskState.SUCCESS: ("✔", "green"),
    TaskState.FAILED: ("✘", "red"),
    TaskState.UP_FOR_RETRY: ("↻", "yellow"),
    TaskState.SKIPPED: ("»", "dim"),
    TaskState.UPSTREAM_FAILED: ("✘", "red dim"),
    TaskState.CANCELLED: ("■", "magenta"),
}
_TOLD: Final = frozenset({*FINAL_TASK_STATES, TaskState.UP_FOR_RETRY})
_QUIET: Final = frozenset({TaskState.SUCCESS, TaskState.SKIPPED, TaskState.UPSTREAM_FAILED})


class Board:
    """A run as far as it is known."""

    def __init__(self) -> None:
        self._tasks: dict[str, TaskNews] = {}
        self._counts: Counter[str] = Counter()
        self.run: RunSummary | None = None

    def take(self, run: RunSummary, news: Iterable[TaskNews]) -> Iterator[RenderableType]:
        """Note what changed, and yield the lines that say so."""
        self.run = run
        for one in news:
            name = join_index(one.task_id, one.map_index)
            before = self._tasks.get(name)
            if before is not None:
                self._counts[before.state] -= 1
            self._counts[one.state] += 1
            self._tasks[name] = one
            if one.state in _TOLD and not (len(self._tasks) > LINES_MAX and one.state in _QUIET):
                yield from _lines(name, one)

    def running(self) -> list[tuple[str, TaskNews]]:
        """Return what runs now, the longest first."""
        found = [(name, one) for name, one in self._tasks.items() if one.state == TaskState.RUNNING]
        return sorted(found, key=lambda pair: pair[1].since)

    def __rich__(self) -> RenderableType:
        now = datetime.now(UTC)
        table = Table.grid(padding=(0, 1))
        running = self.running()
        for name, one in running[:RUNNING_SHOWN_MAX]:
            table.add_row(Spinner("dots"), plain(name), Text(between(one.since, now), style="dim"))
        if len(running) > RUNNING_SHOWN_MAX:
            table.add_row("", Text(f"and {len(running) - RUNNING_SHOWN_MAX} more", style="dim"), "")
        took = between(self.run.created_at, now) if self.run is not None else ""
        return Group(table, Text(f"{count_states(self._counts)}  {took}", style="bold"))


def follow(
    look: Callable[[], tuple[RunSummary, list[TaskNews]]],
    ended: Callable[[RunSummary], bool],
    *,
    console: Console,
    woken: threading.Event,
    seconds: float,
) -> None:
    """Show a run until `ended` says so, looking every `seconds` and whenever `woken`."""
    board = Board()
    with _shown(board, console):
        while True:
            run, news = look()
            for line in board.take(run, news):
                console.print(line, soft_wrap=True, highlight=False)
            if ended(run):
                return
            woken.wait(seconds)
            woken.clear()


def count_states(states: Iterable[str]) -> str:
    """Say how many tasks are in each state."""
    counts = Counter(states)
    return ", ".join(f"{counts[state]} {state}" for state in TaskState if counts[state])


@contextmanager
def _shown(board: Board, console: Console) -> Iterator[None]:
    if not console.is_terminal:
        yield
        return
    with Live(board, console=console, refresh_per_second=REFRESHES_PER_SECOND, transient=True):
        yield


def _lines(name: str, one: TaskNews) -> Iterator[RenderableType]:
    sign, style = STYLES.get(TaskState(one.state), ("·", ""))
    line = Text.assemble((f"{sign} ", style), plain(name), "  ", (one.state, style))
    if one.started_at is not None and one.finished_at is not None:
        line.append(f"  {show_duration((one.finished_at - one.started_at).total_seconds())}", style="dim")
    if one.state != TaskState.SUCCESS:
        line.append(f"  {_why(one)}")
    yield line
    if one.state in (TaskState.FAILED, TaskState.UP_FOR_RETRY) and one.tail:
        last = plain_lines(one.tail).rstrip("\n").split("\n")[-TAIL_LINES_MAX:]
        yield Text("\n".join(f"    │ {text}" for text in last), style="dim")


def _why(one: TaskNews) -> str:
    what = one.signal or (f"exit code {one.exit_code}" if one.exit_code is not None else one.reason or "")
    detail = f": {plain(one.detail)}" if one.detail else ""
    tried = f" (try {one.try_number})" if one.try_number > 1 or one.state == TaskState.UP_FOR_RETRY else ""
    return f"{what}{detail}{tried}"
