"""What the decider makes of events stands in the database, the same on PostgreSQL and on SQLite."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import Engine, delete, func, insert, select, update

from headway.protocol.codec import decode_event
from headway.protocol.messages import Cancel, Expired, Heartbeat, Held, Refused
from headway.protocol.names import QueueName, RunId, TaskId, partition_of
from headway.protocol.topology import QueueLimits
from headway.scheduler.decider import Decider
from headway.scheduler.store import store
from headway.scheduler.store import tables as t
from headway.scheduler.store.capacity import list_queues
from headway.scheduler.store.store import PUT_OFF, Batch, Store
from stage import Stage, address, dag, orders_in, task, tasks_in

CHAIN = dag(task("a"), task("b", "a"))


def queues_of(stage: Stage) -> list[tuple]:
    """Return the counters of each queue: queued, waiting, slots, workers."""
    rows = stage.rows(t.queues)
    return [tuple(row[name] for name in ("queue", "queued", "waiting", "slots", "workers")) for row in rows]


def test_a_dag_gets_a_version_for_each_value(stage: Stage):
    """The same value again is ignored, another one is the next version, and an old one may come back."""
    stage.learn(CHAIN)
    stage.learn(CHAIN)
    stage.learn(dag(task("a")))
    stage.learn(CHAIN)
    assert [row["version"] for row in stage.rows(t.dag_versions)] == [1, 2, 3]
    assert stage.rows(t.dags)[0]["version"] == 3
    assert [verdict for verdict, _ in stage.verdicts("dag_version")] == ["applied", "ignored", "applied", "applied"]
    assert len(stage.rows(t.dag_values)) == 2


def test_a_run_may_begin_in_the_batch_that_learns_its_version(stage: Stage, caplog: pytest.LogCaptureFixture):
    """Of a new DAG, and of one that has changed."""
    for number, value in enumerate((dag(task("a")), CHAIN), start=1):
        stage.give(stage.version(value), stage.trigger(f"r{number}"))
    assert [row["version"] for row in stage.rows(t.runs)] == [1, 2]
    assert (list(stage.states("r1")), list(stage.states("r2"))) == (["a"], ["a", "b"])
    assert caplog.records == []


def test_a_trigger_makes_a_run_and_queues_its_first_tasks(stage: Stage):
    """Run, task instances, attempt, timer, counters and outbox stand after one transaction."""
    committed = stage.run(CHAIN)
    (run,) = stage.rows(t.runs)
    assert (run["state"], run["unfinished"], run["created"]) == ("running", 2, 2)
    assert stage.states() == {"a": "queued", "b": "waiting"}
    (attempt,) = stage.rows(t.attempts)
    assert (attempt["try_number"], attempt["state"], attempt["publications"]) == (1, "queued", 1)
    assert [row["timer"] for row in stage.rows(t.timers)] == ["queued_deadline"]
    assert queues_of(stage) == [("default", 1, 0, 0, 0)]
    (row,) = committed.outbox
    assert (row.exchange, row.routing_key) == ("headway.tasks", f"task.default.p{partition_of('d'):02d}")
    assert tasks_in(committed)["a"].token == attempt["token"]


def test_the_outbox_is_kept_until_the_broker_confirms(stage: Stage):
    """What was committed and not confirmed is what a restarted scheduler publishes."""
    stage.learn(CHAIN)
    committed = stage.decider.process([stage.arrival(stage.trigger())])
    assert stage.store.unsent() == committed.outbox
    stage.decider.process([], confirmed=[row.message_id for row in committed.outbox])
    assert stage.store.unsent() == []


def test_a_task_goes_from_grant_to_end_and_releases_the_next(stage: Stage):
    """Started gives a grant, finished frees the downstream task, and the last one ends the run."""
    first = tasks_in(stage.run(CHAIN))["a"]
    stage.online()
    granted = stage.give(stage.started(first))
    assert orders_in(granted) == ["grant"]
    assert stage.states() == {"a": "running", "b": "waiting"}
    assert queues_of(stage) == [("default", 0, 0, 2, 1)]
    assert stage.rows(t.timers) == []
    second = tasks_in(stage.give(stage.finished(first, ran_seconds=0.25, tail="done\n", cpu_seconds=0.1)))["b"]
    assert stage.states() == {"a": "success", "b": "queued"}
    attempt = stage.rows(t.attempts, task_id="a")[0]
    assert (attempt["worker"], attempt["boot"], attempt["exit_code"], attempt["tail"]) == ("w1", "boot-1", 0, "done\n")
    (decided_by,) = stage.rows(t.events, kind="finished")
    assert attempt["decided_by"] == f"p{partition_of('d'):02d}/{decided_by['seq']}"
    stage.work(second)
    assert stage.run_state() == "success"
    assert stage.rows(t.timers) == []


def test_a_boot_that_nobody_knows_is_not_granted(stage: Stage):
    """It must report first; then its repeated question is answered."""
    first = tasks_in(stage.run(CHAIN))["a"]
    assert orders_in(stage.give(stage.started(first))) == []
    stage.online()
    assert orders_in(stage.give(stage.started(first))) == ["grant"]


def test_only_the_holder_is_granted_again(stage: Stage):
    """The same boot hears its grant twice, any other is told to drop."""
    first = tasks_in(stage.run(CHAIN))["a"]
    stage.online()
    stage.online("w2", "boot-2")
    stage.give(stage.started(first))
    assert orders_in(stage.give(stage.started(first))) == ["grant"]
    assert orders_in(stage.give(stage.started(first, "w2", "boot-2"))) == ["drop"]
    assert stage.rows(t.attempts)[0]["boot"] == "boot-1"


def test_two_who_ask_in_one_batch_are_decided_in_turn(stage: Stage):
    """The second `started` of a batch sees what the first one came to."""
    first = tasks_in(stage.run(CHAIN))["a"]
    stage.online()
    stage.online("w2", "boot-2")
    committed = stage.give(stage.started(first), stage.started(first, "w2", "boot-2"))
    assert orders_in(committed) == ["grant", "drop"]


def test_a_token_that_is_not_the_attempts_changes_nothing(stage: Stage):
    """A guessed token is recorded and ignored."""
    first = tasks_in(stage.run(CHAIN))["a"]
    stage.online()
    stage.give(stage.started(first))
    forged = {**address(first), "token": "guessed"}
    report = stage.finished(first)
    stage.give(type(report)(**{name: forged.get(name, getattr(report, name)) for name in report.__struct_fields__}))
    assert stage.states()["a"] == "running"
    assert stage.verdicts("finished") == [("ignored", "its token is not the attempt's")]


def test_doubles_are_ignored_and_recorded(stage: Stage):
    """A second `finished` changes nothing, whatever it says."""
    first = tasks_in(stage.run(CHAIN))["a"]
    stage.online()
    stage.work(first)
    stage.give(stage.finished(first, 1))
    assert stage.states() == {"a": "success", "b": "queued"}
    assert stage.verdicts("finished") == [("applied", ""), ("ignored", "the attempt is success")]


def test_an_operators_message_counts_once(stage: Stage):
    """Redelivered, in the same batch or later, it is neither decided nor recorded again."""
    stage.learn(CHAIN)
    arrival = stage.arrival(stage.trigger(), message_id="once")
    stage.decider.process([arrival, arrival])
    stage.decider.process([arrival])
    assert stage.verdicts("trigger") == [("applied", "")]


def test_a_failure_is_retried_and_then_fails_the_run(stage: Stage):
    """The retry waits for its timer; when none is left the downstream task falls too."""
    stage.online()
    first = tasks_in(stage.run(dag(task("a", retries=1, retry_delay=0.0), task("b", "a"))))["a"]
    stage.work(first, 3)
    assert stage.states() == {"a": "up_for_retry", "b": "waiting"}
    second = tasks_in(stage.ring())["a"]
    assert (second.try_number, second.fence) == (2, 2)
    assert second.token != first.token
    stage.work(second, 3)
    assert stage.states() == {"a": "failed", "b": "upstream_failed"}
    assert stage.run_state() == "failed"
    assert [row["state"] for row in stage.rows(t.attempts)] == ["failed", "failed"]


def test_a_poll_is_published_again_with_a_token_of_its_own(stage: Stage):
    """Its attempt is one row, which tells of the newest poll; what an earlier one says is ignored."""
    stage.online()
    first = tasks_in(stage.run(dag(task("a", poll_every=0.0, poll_timeout=3600.0), task("b", "a"))))["a"]
    stage.work(first, 75)
    assert stage.states() == {"a": "up_for_reschedule", "b": "waiting"}
    assert [row["timer"] for row in stage.rows(t.timers)] == ["poll", "poll_timeout"]
    second = tasks_in(stage.ring())["a"]
    assert (second.try_number, second.poll, second.token == first.token) == (1, 2, False)
    stage.work(first, 0)
    assert stage.states() == {"a": "queued", "b": "waiting"}
    stage.work(second, 75)
    third = tasks_in(stage.ring())["a"]
    stage.work(third)
    assert stage.states() == {"a": "success", "b": "queued"}
    assert [(row["state"], row["polls"]) for row in stage.rows(t.attempts, task_id="a")] == [("success", 3)]
    assert [row["timer"] for row in stage.rows(t.timers)] == ["queued_deadline"]


def test_a_skip_is_stored(stage: Stage):
    """As the state of the task and of its attempt."""
    stage.online()
    stage.work(tasks_in(stage.run(dag(task("a"))))["a"], 99)
    assert (stage.states(), stage.run_state()) == ({"a": "skipped"}, "success")
    assert [row["state"] for row in stage.rows(t.attempts)] == ["skipped"]


def test_an_expired_message_is_published_again(stage: Stage):
    """The same attempt goes out once more under a message id of its own."""
    first = tasks_in(stage.run(CHAIN))["a"]
    committed = stage.give(Expired(**address(first), queue=QueueName("default")))
    assert tasks_in(committed)["a"].token == first.token
    assert committed.outbox[0].message_id.endswith(".2")
    assert stage.rows(t.attempts)[0]["publications"] == 2


def test_a_refusal_spends_an_infra_retry(stage: Stage):
    """The refused attempt ends and a new one is queued in the same transaction."""
    first = tasks_in(stage.run(CHAIN))["a"]
    stage.online()
    refusal = Refused(**address(first), worker="w1", boot="boot-1", seq=9, detail="no such kind")
    assert tasks_in(stage.give(refusal))["a"].try_number == 2
    assert [row["state"] for row in stage.rows(t.attempts)] == ["refused", "queued"]


def test_a_new_boot_ends_what_the_old_one_held(stage: Stage):
    """The loss waits in line behind what the partition was told before; then the attempt is lost, and run again."""
    stage.online()
    first = tasks_in(stage.run(CHAIN))["a"]
    stage.give(stage.started(first))
    losses = [decode_event(row.body.encode()) for row in stage.online(boot="boot-2").outbox]
    assert stage.states()["a"] == "running"
    committed = stage.give(*losses)
    assert tasks_in(committed)["a"].try_number == 2
    assert [row["state"] for row in stage.rows(t.attempts)] == ["lost", "queued"]
    assert [row["state"] for row in stage.rows(t.workers)] == ["ended", "online"]
    assert stage.rows(t.queues)[0]["slots"] == 2


def test_a_cancelled_run_ends_what_is_not_running_at_once(stage: Stage):
    """Queued and waiting tasks end, a running one is told to stop and ends when it has."""
    messages = tasks_in(stage.run(dag(task("a"), task("b"), task("c", "a", "b"))))
    stage.online()
    stage.give(stage.started(messages["a"]))
    committed = stage.give(Cancel(dag_id=messages["a"].dag_id, run_id=RunId("r")))
    assert orders_in(committed) == ["stop"]
    assert stage.states() == {"a": "running", "b": "cancelled", "c": "cancelled"}
    stage.give(stage.finished(messages["a"], None, signal="SIGTERM"))
    assert stage.run_state() == "cancelled"


def test_one_cancelled_task_fails_the_rest(stage: Stage):
    """Downstream of it is upstream_failed, and the run fails."""
    stage.run(CHAIN)
    stage.give(Cancel(dag_id=CHAIN.dag_id, run_id=RunId("r"), task_id=TaskId("a")))
    assert stage.states() == {"a": "cancelled", "b": "upstream_failed"}
    assert stage.run_state() == "failed"


def test_outputs_reach_the_tasks_that_take_them_in(stage: Stage):
    """What a task wrote travels in the message of the next one, unchanged."""
    stage.online()
    first = tasks_in(stage.run(dag(task("a"), task("b", "a", inputs=("a",)))))["a"]
    written = msgspec.Raw(b'{"rows":12345678901234567890,"text":"\\u00e9 \\" x"}')
    second = tasks_in(stage.work(first, output=written))["b"]
    assert msgspec.json.decode(second.inputs[TaskId("a")]) == {"rows": 12345678901234567890, "text": 'é " x'}


def test_only_a_window_of_a_flood_is_published(stage: Stage):
    """A hundred are queued by priority, the rest is held, and each grant lets the next one in."""
    tasks = [task(f"t{number:03d}", priority=number % 2) for number in range(150)]
    messages = tasks_in(stage.run(dag(*tasks)))
    assert len(messages) == 100
    assert sum(int(name[1:]) % 2 for name in messages) == 75
    held = stage.rows(t.task_instances, state="scheduled")
    assert [row["hold"] for row in held] == ["window"] * 50
    assert queues_of(stage) == [("default", 100, 50, 0, 0)]
    stage.online()
    committed = stage.give(stage.started(messages["t001"]))
    assert list(tasks_in(committed)) == ["t050"]
    assert queues_of(stage) == [("default", 100, 49, 2, 1)]


def test_a_queue_may_have_limits_of_its_own(stage: Stage):
    """Its window is kept to from batch to batch, and the audit, which knows no limits, finds no difference."""
    stage.limits = {QueueName("default"): QueueLimits(ttl_seconds=5.0, window=3)}
    stage.restart()
    messages = tasks_in(stage.run(dag(*(task(f"t{number}") for number in range(5)))))
    assert sorted(messages) == ["t0", "t1", "t2"]
    stage.online()
    assert list(tasks_in(stage.give(stage.started(messages["t0"])))) == ["t3"]
    timers = stage.rows(t.timers, timer="queued_deadline")
    queued = {row["task_id"]: row["queued_at"] for row in stage.rows(t.attempts, state="queued")}
    assert all(row["due"] - queued[row["task_id"]] == timedelta(seconds=65) for row in timers)
    (line,) = list_queues(stage.engine, stage.limits)
    assert (line.queued, line.unpublished, line.window) == (3, 1, 3)


def test_a_large_run_is_made_slice_by_slice(stage: Stage):
    """Each slice is an event of its own, and together they leave nothing out."""
    tasks = [task(f"t{number}") for number in range(2500)]
    stage.run(dag(*tasks, task("last", *(one.task_id for one in tasks))))
    assert stage.run_state() == "running"
    assert len(stage.rows(t.task_instances)) == 2501
    assert len(stage.rows(t.attempts)) == 100
    assert stage.verdicts("continue") == [("applied", "")] * 5


def test_a_long_cascade_falls_to_the_end(stage: Stage):
    """A failure at the head of a chain longer than one transaction's rounds goes on through the outbox."""
    names = [f"t{number}" for number in range(130)]
    chain = dag(task("t0"), *(task(name, names[place]) for place, name in enumerate(names[1:])))
    stage.online()
    committed = stage.work(tasks_in(stage.run(chain))["t0"], 1)
    while committed.outbox:
        committed = stage.give(*(decode_event(row.body.encode()) for row in committed.outbox))
    assert set(stage.states().values()) == {"failed", "upstream_failed"}
    assert stage.run_state() == "failed"


def test_numbers_of_events_have_no_gaps(stage: Stage):
    """Each partition counts its own from one, and its row names the last."""
    stage.online()
    stage.work(tasks_in(stage.run(CHAIN))["a"])
    stage.give(stage.trigger())  # ignored, recorded too
    with stage.engine.connect() as connection:
        c = t.events.c
        counted = connection.execute(
            select(c.partition, func.count(), func.min(c.seq), func.max(c.seq)).group_by(c.partition)
        ).all()
    last = {row["partition"]: row["seq"] for row in stage.rows(t.partitions)}
    assert {row[0] for row in counted} == {partition_of("d"), 16}
    for partition, count, first, highest in counted:
        assert (first, highest, last[partition]) == (1, count, count)


def test_a_bad_event_is_set_aside_and_the_others_are_decided(stage: Stage):
    """An event that cannot be decided is kept with its reason; its batch goes on without it."""
    stage.run(CHAIN)
    stage.learn(dag(task("x"), name="other"))
    with stage.engine.begin() as connection:
        connection.execute(delete(t.dag_versions).where(t.dag_versions.c.dag_id == "d"))
    stage.restart()
    stage.give(stage.trigger("r2", "d"), stage.trigger("r3", "other"))
    assert stage.run_state("r3") == "running"
    (set_aside,) = stage.rows(t.quarantine)
    assert "version 1 of DAG d is not stored" in set_aside["reason"]


@pytest.mark.tampers
def test_a_row_changed_by_somebody_else_is_decided_on_anew(stage: Stage):
    """The batch notices, and its second look finds what is true now."""
    message = tasks_in(stage.run(CHAIN))["a"]
    stage.online()
    stage.give(stage.started(message))
    assert stage.states()["a"] == "running"
    with stage.engine.begin() as connection:
        connection.execute(update(t.attempts).values(state="cancelled"))
    stage.give(stage.finished(message))
    assert stage.verdicts("finished") == [("ignored", "the attempt is cancelled")]


def test_a_timer_that_cannot_be_decided_is_put_off(stage: Stage):
    """It is set aside once and is not lost: when it is due again, and the cause mended, it is decided."""
    stage.run(CHAIN)
    (version,) = stage.rows(t.dag_versions)
    with stage.engine.begin() as connection:
        connection.execute(delete(t.dag_versions))
        connection.execute(update(t.timers).values(due=datetime(2026, 3, 1, tzinfo=UTC)))
    stage.restart()
    stage.ring()
    stage.ring()
    assert len(stage.rows(t.quarantine)) == 1
    with stage.engine.begin() as connection:
        connection.execute(insert(t.dag_versions).values(**version))
        due = connection.execute(select(t.timers.c.due)).scalar_one()
        connection.execute(update(t.timers).values(due=due - PUT_OFF))
    assert tasks_in(stage.ring()).keys() == {"a"}
    assert stage.verdicts("task_timer") == [("applied", "published again")]


class MeddledStore(Store):
    """A store after each of whose transactions, committed or not, another scheduler records something."""

    def __init__(self, engine: Engine, meddle: Callable[[], object]) -> None:
        super().__init__(engine)
        self._meddle = meddle

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """Open one transaction."""
        try:
            with super().batch() as batch:
                yield batch
        finally:
            self._meddle()


def test_an_event_that_is_stale_again_and_again_is_not_lost(stage: Stage):
    """Another scheduler records something after each transaction: the event is decided as often as it takes."""
    other = Decider(Store(stage.engine), user="other")
    boots = (f"boot-{number}" for number in itertools.count(2))
    stage.learn(CHAIN)
    stage.store = MeddledStore(stage.engine, lambda: other.process([stage.arrival(stage.words(boot=next(boots)))]))
    stage.decider = Decider(stage.store, user="scheduler")
    stage.give(stage.trigger("r1"))  # and goes on from what it left
    stage.give(stage.trigger("r2"), stage.trigger("r3"))
    assert stage.rows(t.quarantine) == []
    assert [stage.run_state(run_id) for run_id in ("r1", "r2", "r3")] == ["running"] * 3


def test_what_another_scheduler_has_heard_of_a_worker_is_known_after_a_while(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    """A heartbeat leaves no record that would make what is kept untrue, and a grant says which was the last."""
    first = tasks_in(stage.run(CHAIN))["a"]
    stage.online()
    stage.give(stage.started(first))
    names = ("dag_id", "run_id", "task_id", "try_number")
    as_running = Held(state="running", **{name: getattr(first, name) for name in names})
    words = msgspec.structs.asdict(stage.words()) | {"held": (as_running,)}
    Decider(Store(stage.engine), user="other").process([stage.arrival(Heartbeat(**words))])
    monkeypatch.setattr(store, "FRESH_SECONDS", 0.0)
    (again,) = stage.give(stage.started(first)).orders
    assert again.order.heard == words["seq"]


def test_two_schedulers_at_once_lose_nothing(stage: Stage):
    """Each records what it can as fast as it can, upon the same partitions."""
    stage.learn(CHAIN)
    boots = [stage.arrival(stage.words(boot=f"boot-{number:02}")) for number in range(100)]
    other = Decider(Store(stage.engine), user="other")
    thread = threading.Thread(target=lambda: [other.process([boot]) for boot in boots])
    thread.start()
    for number in range(20):
        stage.decider.process([stage.arrival(stage.trigger(f"r{number}-{one}")) for one in range(5)])
    thread.join()
    assert stage.rows(t.quarantine) == []
    assert (len(stage.rows(t.runs)), len(stage.rows(t.workers))) == (100, 100)
