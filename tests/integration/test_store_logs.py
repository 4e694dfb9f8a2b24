"""Output of tasks in the database, on each kind of it: what is stored, read and removed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headway.protocol.log_chunk import LogChunk
from headway.scheduler.store import logs as module
from headway.scheduler.store.logs import AttemptId, add_chunks, read_chunks, read_progress, remove_chunks
from stage import Stage, dag, task, tasks_in

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def token(stage: Stage) -> str:
    """Give the token of an attempt of task a of run r."""
    stage.online()
    released = stage.run(dag(task("a")))
    return tasks_in(released)["a"].token


def chunk(token: str, offset: int = 0, data: str = "x\n", **changed: Any) -> LogChunk:
    """Return a piece of the attempt's output."""
    fields = {"dag_id": "d", "run_id": "r", "task_id": "a", "try_number": 1, "size": len(data)}
    return LogChunk(**fields | {"token": token, "offset": offset, "data": data} | changed)


def attempt(try_number: int = 1) -> AttemptId:
    """Return the attempt's name."""
    return AttemptId(run_id="r", task_id="a", map_index=-1, try_number=try_number)


def stored(stage: Stage, *, since: int = 0) -> list[tuple[int, str]]:
    """Return the stored pieces."""
    return [(found.offset, found.data) for found in read_chunks(stage.engine, attempt(), since=(1, since))]


def test_pieces_are_stored_once_and_read_in_order(stage: Stage, token: str):
    """However often and in whichever order they come."""
    assert add_chunks(stage.engine, [chunk(token, 2), chunk(token, 0), chunk(token, 2, "other")], NOW) == []
    assert add_chunks(stage.engine, [chunk(token, 0, "again"), chunk(token, 4, "", eof=True)], NOW) == []
    assert stored(stage) == [(0, "x\n"), (2, "x\n"), (4, "")]
    assert stored(stage, since=2) == [(2, "x\n"), (4, "")]
    assert [found.eof for found in read_chunks(stage.engine, attempt(), since=(1, 0))] == [False, False, True]


def test_polls_are_stored_one_after_the_other(stage: Stage):
    """Each from its own beginning, whichever host it was on; a piece of an earlier one may come late."""
    stage.online()
    first = tasks_in(stage.run(dag(task("a", poll_every=0.0))))["a"]
    stage.work(first, 75)
    newest = tasks_in(stage.ring())["a"].token
    assert newest.startswith(f"{first.token}-")
    late = [chunk(newest, poll=2), chunk(newest, 2, "", poll=2, eof=True), chunk(first.token)]
    assert add_chunks(stage.engine, late, NOW) == []
    assert add_chunks(stage.engine, [chunk(newest, 9, "forged")], NOW) == []
    found = read_chunks(stage.engine, attempt(), since=(1, 0))
    assert [(one.poll, one.offset) for one in found] == [(1, 0), (1, 9), (2, 0), (2, 2)]
    assert [one.eof for one in found] == [False, False, False, True]
    assert [one.poll for one in read_chunks(stage.engine, attempt(), since=(2, 1))] == [2]


def test_what_no_attempt_has_written_is_not_stored(stage: Stage, token: str):
    """Another's token, another try, another run: told, and no reason to refuse the rest."""
    strange = [chunk("other"), chunk(token, try_number=2), chunk(token, run_id="no"), chunk(token, map_index=0)]
    assert add_chunks(stage.engine, [*strange, chunk(token)], NOW) == strange
    assert stored(stage) == [(0, "x\n")]


def test_nothing_to_store_is_no_error(stage: Stage):
    """A batch of which nothing could be read."""
    assert add_chunks(stage.engine, [], NOW) == []


def test_what_a_database_cannot_hold_is_replaced(stage: Stage, token: str):
    """PostgreSQL's text has no NUL; the largest numbers fit."""
    largest = {"offset": 2**62, "try_number": 2**31 - 1, "map_index": 2**31 - 1}
    assert add_chunks(stage.engine, [chunk(token, data="a\0b"), chunk(token, **largest)], NOW) != []
    assert stored(stage) == [(0, "a\ufffdb")]
    assert add_chunks(stage.engine, [chunk(token, 2**62)], NOW) == []


def test_long_output_is_read_part_by_part(stage: Stage, token: str, monkeypatch: pytest.MonkeyPatch):
    """Never all of it at once."""
    monkeypatch.setattr(module, "CHUNKS_READ_MAX", 2)
    add_chunks(stage.engine, [chunk(token, 2 * place) for place in range(5)], NOW)
    assert [len(stored(stage, since=since)) for since in (0, 4, 8, 10)] == [2, 2, 1, 0]


def test_old_output_is_removed_slice_by_slice(stage: Stage, token: str, monkeypatch: pytest.MonkeyPatch):
    """By the time when it was stored, the oldest first, and nothing younger."""
    monkeypatch.setattr(module, "ROWS_REMOVED_MAX", 2)
    for place in range(5):
        add_chunks(stage.engine, [chunk(token, 2 * place)], NOW + timedelta(minutes=place))
    slices = remove_chunks(stage.engine, before=NOW + timedelta(minutes=3))
    assert next(slices) == 2
    assert stored(stage) == [(4, "x\n"), (6, "x\n"), (8, "x\n")]
    assert list(slices) == [1]
    assert stored(stage) == [(6, "x\n"), (8, "x\n")]
    assert list(remove_chunks(stage.engine, before=NOW)) == [0]


def test_progress_is_told_by_try(stage: Stage, token: str):
    """The task's state, each attempt's, and its last lines once it has ended."""
    assert token
    assert read_progress(stage.engine, AttemptId(run_id="r", task_id="no", map_index=-1, try_number=1)) == (None, {})
    state, attempts = read_progress(stage.engine, attempt())
    assert (state, {number: (found.state, found.tail) for number, found in attempts.items()}) == (
        "queued",
        {1: ("queued", "")},
    )
