"""What the schema refuses, whoever writes, and what comes back of what was stored, on both databases."""

import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, event, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from headway.protocol.errors import DatabaseRefused, DatabaseUnavailable, StaleDecision, WrongSettings
from headway.protocol.messages import Unroutable
from headway.protocol.names import QueueName
from headway.scheduler.core.needs import Needs
from headway.scheduler.core.rows import AttemptKey, Room
from headway.scheduler.core.snapshot import Changes
from headway.scheduler.store import tables as t
from headway.scheduler.store.engine import WRITES, make_engine, translated
from headway.scheduler.store.store import Store
from servers import PostgreSQL
from stage import Stage, address, dag, plan_of, task, tasks_in

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CHAIN = dag(task("a"), task("b", "a"))


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (t.task_instances, {"state": "dreaming"}),
        (t.task_instances, {"state": "scheduled"}),  # and nobody holds it
        (t.task_instances, {"hold": "window"}),  # and it is not scheduled
        (t.attempts, {"state": "lots"}),
        (t.attempts, {"state": "running"}),  # and nobody was granted
        (t.attempts, {"worker": "w1"}),  # and no boot
        (t.runs, {"state": "up_for_retry"}),
        (t.runs, {"unfinished": -1}),
        (t.workers, {"state": "asleep"}),
        (t.events, {"verdict": "maybe"}),
    ],
    ids=str,
)
def test_an_illegal_row_is_refused(stage: Stage, table: Any, values: dict[str, object]):
    """A CHECK stops what no decision would write."""
    stage.online()
    stage.run(CHAIN)
    with pytest.raises(IntegrityError), stage.engine.begin() as connection:
        connection.execute(update(table).values(**values))


def test_a_task_has_one_open_attempt(stage: Stage):
    """A second one that is queued or running is refused by an index."""
    stage.run(CHAIN)
    (attempt,) = stage.rows(t.attempts)
    with pytest.raises(IntegrityError), stage.engine.begin() as connection:
        connection.execute(insert(t.attempts).values(**{**attempt, "try_number": 2}))


def test_an_operators_message_is_recorded_once(stage: Stage):
    """Even a scheduler that forgot to look cannot record it twice."""
    stage.run(CHAIN)
    trigger = stage.rows(t.events, kind="trigger")[0]
    with pytest.raises(IntegrityError), stage.engine.begin() as connection:
        connection.execute(insert(t.events).values(**{**trigger, "seq": 99}))


@pytest.mark.tampers
def test_what_changed_since_it_was_loaded_is_not_overwritten(stage: Stage):
    """Compare-and-set finds another state than the one decided upon: nothing of the batch is kept."""
    message = tasks_in(stage.run(CHAIN))["a"]
    key = AttemptKey(message.run_id, message.task_id, message.map_index, message.try_number)
    with stage.store.batch() as batch:
        batch.load(Needs(attempts={key}))
    with stage.engine.begin() as connection:
        connection.execute(update(t.attempts).values(state="withdrawn"))
    with pytest.raises(StaleDecision, match="1 of 1 rows of attempts"):
        save_publication(stage.store, key)
    (attempt,) = stage.rows(t.attempts)
    assert (attempt["state"], attempt["publications"]) == ("withdrawn", 1)


def save_publication(store: Store, key: AttemptKey) -> None:
    """Write in a batch that an attempt was published again."""
    with store.batch() as batch:
        changes = Changes()
        changes.attempts[key] = msgspec.structs.replace(batch.snapshot.attempts.rows[key], publications=2)
        batch.snapshot.apply(changes)
        batch.save([], [])


def test_a_second_batch_waits_for_the_first(stage: Stage):
    """One that begins with nothing kept locks the partitions' rows, and reads nothing that is about to change."""
    engine = make_engine(stage.engine.url.render_as_string(hide_password=False), lock_timeout_ms=100)
    with stage.store.batch(), pytest.raises(DatabaseUnavailable), Store(engine).batch():
        pass
    engine.dispose()


def test_of_two_batches_that_go_on_from_what_they_kept_the_later_is_stale(stage: Stage):
    """They lock nothing, so both may be open at once; numbers that moved on tell the later one."""
    if stage.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    other = Stage(stage.engine.url.render_as_string(hide_password=False))
    other.online()
    with pytest.raises(StaleDecision, match="rows of partitions"):
        record_late(other, lambda: stage.online(boot="boot-2"))
    other.engine.dispose()


def record_late(stage: Stage, meanwhile: Callable[[], object]) -> None:
    """Write nothing in a batch that was opened before something was recorded."""
    with stage.store.batch() as batch:
        meanwhile()
        batch.save([], [])


def test_times_come_back_in_utc_to_the_microsecond(stage: Stage):
    """Whatever offset an operator wrote, and whether or not there is a fraction."""
    stage.learn(CHAIN)
    hour = timezone(timedelta(hours=2))
    dates = [NOW, NOW.replace(microsecond=7), NOW.replace(microsecond=500_000), datetime(2026, 3, 1, 1, tzinfo=hour)]
    for number, date in enumerate(dates):
        trigger = stage.trigger(f"r{number}")
        stage.give(type(trigger)(dag_id=trigger.dag_id, run_id=trigger.run_id, logical_date=date))
    found = [row["logical_date"] for row in stage.rows(t.runs)]
    assert found == dates
    assert {date.utcoffset() for date in found} == {timedelta(0)}


def test_times_sort_like_time(stage: Stage):
    """A full second sorts before the fraction that follows it, and offsets do not matter."""
    stage.learn(CHAIN)
    hour = timezone(timedelta(hours=-3))
    dates = [NOW.replace(microsecond=5), NOW, NOW + timedelta(seconds=1), datetime(2026, 3, 1, 8, 59, tzinfo=hour)]
    for number, date in enumerate(dates):
        trigger = stage.trigger(f"r{number}")
        stage.give(type(trigger)(dag_id=trigger.dag_id, run_id=trigger.run_id, logical_date=date))
    with stage.engine.connect() as connection:
        c = t.runs.c
        found = connection.execute(select(c.logical_date).order_by(c.logical_date)).scalars().all()
        later = connection.execute(select(c.run_id).where(c.logical_date > NOW).order_by(c.run_id)).scalars().all()
    assert found == sorted(dates)
    assert later == ["r0", "r2"]


def test_any_text_can_be_stored(stage: Stage):
    """A task's last lines may hold NUL, quotes, backslashes and what is no ASCII."""
    stage.online()
    first = tasks_in(stage.run(CHAIN))["a"]
    stage.work(first, tail='a\0b "c" \\u0041 é 🛤 {}', detail=":x %s \\u0000 \\\0\0")
    (attempt,) = stage.rows(t.attempts, task_id="a")
    assert attempt["tail"] == 'a\ufffdb "c" \\u0041 é 🛤 {}'
    assert attempt["detail"] == ":x %s \\u0000 \\\ufffd\ufffd"


def test_numbers_keep_their_size(stage: Stage):
    """Bytes beyond 32 bits and fractions of a second come back as they went in."""
    stage.online()
    first = tasks_in(stage.run(CHAIN))["a"]
    stage.work(first, memory_peak_bytes=2**40 + 1, ran_seconds=0.1, cpu_seconds=1e-6, pid=4194304)
    (attempt,) = stage.rows(t.attempts, task_id="a")
    assert (attempt["memory_peak_bytes"], attempt["ran_seconds"], attempt["cpu_seconds"]) == (2**40 + 1, 0.1, 1e-6)
    assert (attempt["pid"], attempt["oom"]) == (4194304, False)


def test_params_of_every_kind_come_back(stage: Stage):
    """Text, numbers, truth and nothing keep their types."""
    params = {"text": "x", "whole": 2**53 + 1, "part": 0.5, "yes": True, "none": None}
    stage.learn(dag(task("a"), params=dict.fromkeys(params)))
    stage.give(stage.trigger(params=params))
    assert stage.rows(t.runs)[0]["params"] == params


def test_due_timers_and_the_next_one_are_found(stage: Stage):
    """A queued task's deadline is not due, and is the next."""
    stage.run(CHAIN)
    events, next_due = stage.store.due_timers(stage.store.now(), listening_since=NOW)
    assert (events, next_due) == ([], stage.rows(t.timers)[0]["due"])
    with stage.engine.begin() as connection:
        connection.execute(update(t.timers).values(due=NOW))
    events, next_due = stage.store.due_timers(stage.store.now(), listening_since=NOW)
    assert [event.due for event in events] == [NOW]
    assert next_due is None


def test_the_deadline_of_a_message_counts_once_the_broker_has_it(stage: Stage):
    """Where the queue is full, or the broker away, it stands in the outbox: another one beside it would help nobody."""
    stage.learn(dag(task("a")))
    committed = stage.decider.process([stage.arrival(stage.trigger())])
    with stage.engine.begin() as connection:
        connection.execute(update(t.timers).values(due=NOW))
    assert stage.store.due_timers(stage.store.now(), listening_since=NOW) == ([], None)
    stage.decider.process([], confirmed=[row.message_id for row in committed.outbox])
    events, _ = stage.store.due_timers(stage.store.now(), listening_since=NOW)
    assert [event.timer for event in events] == ["queued_deadline"]


def test_who_waits_is_read_in_the_order_of_an_index(stage: Stage):
    """Of a backlog of a hundred thousand only those are read that there is room for."""
    stage.run(CHAIN)
    asked: list[tuple[str, Any]] = []
    event.listen(stage.engine, "before_cursor_execute", lambda *given: asked.append((given[2], given[3])))
    with stage.store.batch() as batch:
        batch.waiting(Room("queue/default"), 10)
    statement, parameters = next(one for one in asked if "ORDER BY task_instances.priority" in one[0])
    plan = plan_of(stage, statement, parameters)
    assert "ix_task_instances_ready" in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan


def test_the_census_asks_for_messages_that_the_broker_should_have(stage: Stage):
    """Old enough, oldest first; neither those that stand in the outbox nor those that wait to be published again."""
    stage.learn(dag(*(task(name) for name in "abcd"), task("e", queue="gpu")))
    committed = stage.decider.process([stage.arrival(stage.trigger())])
    assert stage.store.long_queued(timedelta(0)) == {}
    left = [row.message_id for row in committed.outbox if '"task_id":"b"' not in row.body]
    stage.decider.process([], confirmed=left)
    c = tasks_in(committed)["c"]
    stage.give(Unroutable(**address(c), queue=QueueName("default")))
    stage.online()
    stage.give(stage.started(tasks_in(committed)["d"]))
    found = stage.store.long_queued(timedelta(0))
    assert {queue: [event.task_id for event in events] for queue, events in found.items()} == {
        "default": ["a"],
        "gpu": ["e"],
    }
    assert stage.store.long_queued(timedelta(hours=1)) == {}
    stage.give(found["gpu"][0])
    assert stage.verdicts("missing") == [("applied", "published again")]
    assert {row["queue"]: row["mended"] for row in stage.rows(t.queues)} == {"default": 0, "gpu": 1}


def test_the_census_reads_by_an_index(stage: Stage):
    """Of millions of attempts it reads those that are queued."""
    stage.run(CHAIN)
    asked: list[tuple[str, Any]] = []
    event.listen(stage.engine, "before_cursor_execute", lambda *given: asked.append((given[2], given[3])))
    stage.store.long_queued(timedelta(0))
    statement, parameters = next(one for one in asked if "ORDER BY attempts.published_at" in one[0])
    plan = plan_of(stage, statement, parameters)
    assert "ix_attempts_published_at" in plan


def test_what_is_seen_of_a_queue_is_noted(stage: Stage):
    """Also of one that nobody used yet; a scheduler that starts finds out anew what is at fault."""
    stage.store.note_full([QueueName("new")])
    stage.store.note_fault(QueueName("new"), "other arguments")
    stage.online(queues=("new",))
    (row,) = stage.rows(t.queues)
    assert (row["fault"], row["slots"], row["workers"]) == ("other arguments", 2, 1)
    assert row["full_at"] <= stage.store.now()
    stage.store.forget_faults()
    assert stage.rows(t.queues)[0]["fault"] == ""


def test_a_silent_worker_is_found(stage: Stage):
    """A lease that ran out is a timer too."""
    stage.online()
    with stage.engine.begin() as connection:
        connection.execute(update(t.workers).values(lease_due=NOW))
    events, _ = stage.store.due_timers(stage.store.now(), listening_since=NOW)
    assert [(event.worker, event.due) for event in events] == [("w1", NOW)]


def test_two_who_store_the_same_value_at_once_take_no_harm(stage: Stage):
    """The scheduler's look at the files and `dags sync` meet: the later one waits, and finds it stored."""
    with stage.engine.execution_options(**{WRITES: True}).begin() as connection:
        connection.execute(insert(t.dag_values).values(digest="d", value="v"))
        with ThreadPoolExecutor(1) as second:
            stored = second.submit(stage.store.add_dag_value, "d", b"v")
            wait_for_waiting(stage.engine, stored)
            connection.commit()
            stored.result()
    assert len(stage.rows(t.dag_values)) == 1


def wait_for_waiting(engine: Engine, other: "Future[None]") -> None:
    """Wait until the other one waits for a lock: PostgreSQL can be asked, SQLite lets nobody in before that."""
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    while engine.dialect.name == "postgresql" and not other.done():
        with engine.connect() as connection:
            if connection.execute(waiting).scalar_one():
                return


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda url, server: url.replace(f":{server.port}/", ":1/"), DatabaseUnavailable),
        (lambda url, _: url.replace("://", "://nobody-", 1), DatabaseRefused),
        (lambda url, _: f"{url}_of_nobody", DatabaseRefused),
        (lambda url, server: url.replace(server.host, "no-such-host.invalid"), DatabaseUnavailable),
        (lambda _, __: "mysql://localhost/x", WrongSettings),
        (lambda _, __: "nonsense", WrongSettings),
        (lambda _, __: "sqlite:////no/such/folder/file.db", DatabaseUnavailable),
    ],
    ids=["port", "user", "database", "host", "kind", "nonsense", "folder"],
)
def test_a_database_that_cannot_be_used_is_said_in_one_sentence(
    migrated_postgresql: str, postgresql: PostgreSQL, spoil: Callable[..., str], error: type[Exception]
):
    """Foreign errors become ours, without the password."""
    with pytest.raises(error) as raised:
        connect(spoil(migrated_postgresql, postgresql))
    assert "\n" not in str(raised.value)
    password = make_engine(migrated_postgresql).url.password
    assert str(password) not in str(raised.value)


def connect(url: str) -> None:
    """Open a connection and close it."""
    engine = make_engine(url)
    with translated(engine), engine.connect():
        pass


@pytest.mark.parametrize("url", ["postgres//joe:sec/ret@host/x", "postgresql://joe:sec@ret@host:port/x", "//:secret@"])
def test_a_url_that_cannot_be_read_is_shown_without_its_password(url: str):
    """Whatever may be one."""
    with pytest.raises(WrongSettings) as raised:
        make_engine(url)
    assert not re.search("sec|ret", str(raised.value))
