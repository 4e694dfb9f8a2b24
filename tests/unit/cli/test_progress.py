"""The lines of a run that goes on: which ends are told, and how those of many instances are."""

from datetime import UTC, datetime, timedelta

from rich.console import Console

from headway.cli.progress import INSTANCES_MAX, LINES_MAX, Board
from headway.protocol.names import UNMAPPED
from headway.scheduler.store.progress import TaskNews
from headway.scheduler.store.reads import RunSummary

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
RUN = RunSummary(
    run_id="r",
    dag_id="d",
    state="running",
    logical_date=NOON,
    started_at=NOON,
    finished_at=None,
    created_at=NOON,
    version=1,
    kind="manual",
    hold=None,
    data_interval_start=NOON,
    data_interval_end=NOON,
    deadline=None,
    late=False,
)


def news(task_id: str, state: str, map_index: int = UNMAPPED, **fields: object) -> TaskNews:
    """Return that a task instance entered a state."""
    about = {
        "since": NOON,
        "reason": None,
        "detail": "",
        "try_number": 1,
        "started_at": None,
        "finished_at": None,
        "exit_code": None,
        "signal": None,
        "tail": None,
    }
    return TaskNews(task_id=task_id, map_index=map_index, state=state, **about | fields)


def text(*renderables: object) -> list[str]:
    """Return what a person sees."""
    console = Console(width=200, force_terminal=False)
    with console.capture() as capture:
        console.print(*renderables, sep="\n")
    return [line.rstrip() for line in capture.get().splitlines()]


def test_an_end_is_a_line():
    """With how long it took and, of a failure, its last lines."""
    board = Board()
    ran = {"started_at": NOON, "finished_at": NOON + timedelta(seconds=2)}
    lines = list(
        board.take(
            RUN, [news("a", "success", **ran), news("b", "failed", exit_code=3, tail="no such\n"), news("c", "queued")]
        )
    )
    assert text(*lines) == ["✔ a  success  2.0s", "✘ b  failed  exit code 3", "    │ no such"]


def test_of_many_instances_some_are_told_and_the_task_counts_all():
    """Failures are not left out for successes that came before."""
    board = Board()
    many = [news("part", "success", index) for index in range(100)]
    failed = [news("part", "failed", 100 + index, exit_code=1) for index in range(30)]
    lines = text(*board.take(RUN, [*many, *failed, news("part", "failed", reason="instances", try_number=0)]))
    assert sum("success" in line for line in lines) == INSTANCES_MAX + 1
    assert sum("exit code 1" in line for line in lines) == INSTANCES_MAX
    assert lines[-1] == "✘ part  failed  130 instances: 100 success, 30 failed"


def test_a_mapped_task_is_shown_while_its_instances_run():
    """Its counts, and the states of tasks, in which instances do not count."""
    board = Board()
    started = [news("part", "mapped"), news("part", "success", 0), news("part", "running", 1), news("load", "waiting")]
    list(board.take(RUN, started))
    shown = "\n".join(text(board))
    assert "part[1]" in shown
    assert "2 instances: 1 running, 1 success" in shown
    assert "1 waiting, 1 mapped" in shown


def test_a_state_that_changes_is_counted_once():
    """Whatever it was before."""
    board = Board()
    for state in ("queued", "running", "success"):
        list(board.take(RUN, [news("part", state, 0), news("load", state)]))
    assert text(*board.take(RUN, [news("part", "success")])) == ["✔ part  success  1 instance: 1 success"]
    assert "2 success" in "\n".join(text(board))


def test_of_very_many_tasks_only_failures_are_told():
    """Nobody reads a thousand successes."""
    board = Board()
    tasks = [news(f"t{index}", "success") for index in range(LINES_MAX + 10)]
    assert len(text(*board.take(RUN, tasks))) == LINES_MAX
    assert text(*board.take(RUN, [news("bad", "failed", exit_code=1)])) == ["✘ bad  failed  exit code 1"]
