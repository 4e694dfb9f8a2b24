"""A run as somebody follows it, on PostgreSQL and on SQLite."""

import pytest

from headway.protocol.errors import UnknownRun
from headway.scheduler.store.progress import Progress
from stage import Stage, dag, task, tasks_in

CHAIN = dag(task("a"), task("b", "a"), task("c", "b"))


def states(progress: Progress) -> list[tuple[str, str]]:
    """Return what the next look finds."""
    return [(one.task_id, one.state) for one in progress.look()[1]]


def test_each_look_returns_what_changed_since(stage: Stage):
    """All tasks first, then those that moved, none of them twice."""
    stage.online()
    first = tasks_in(stage.run(CHAIN))["a"]
    progress = Progress(stage.engine, "r")
    assert sorted(states(progress)) == [("a", "queued"), ("b", "waiting"), ("c", "waiting")]
    assert states(progress) == []
    second = tasks_in(stage.work(first))["b"]
    assert sorted(states(progress)) == [("a", "success"), ("b", "queued")]
    stage.work(second, exit_code=3, tail="no such thing\n")
    run, news = progress.look()
    assert [(one.task_id, one.state) for one in news] == [("b", "failed"), ("c", "upstream_failed")]
    assert (news[0].exit_code, news[0].tail, news[0].try_number, news[1].try_number) == (3, "no such thing\n", 1, 0)
    assert news[0].started_at is not None
    assert (run.state, states(progress)) == ("failed", [])


def test_a_moment_that_goes_on_is_not_told_twice(stage: Stage):
    """Two batches may have the same time: the second is news, the first is not again."""
    stage.online()
    messages = tasks_in(stage.run(dag(task("a"), task("b"))))
    progress = Progress(stage.engine, "r")
    progress.look()
    stage.give(stage.started(messages["a"]))
    assert states(progress) == [("a", "running")]
    stage.give(stage.started(messages["b"]))
    assert states(progress) == [("b", "running")]


def test_a_run_that_is_not_there_cannot_be_followed(stage: Stage):
    """By its name."""
    with pytest.raises(UnknownRun):
        Progress(stage.engine, "no").look()
