"""What people ask of the database, on PostgreSQL and on SQLite."""

from collections.abc import Callable

import pytest
from sqlalchemy import update

from headway.protocol.errors import UnknownDag, UnknownRun, UnknownTask
from headway.protocol.messages import Offline
from headway.protocol.states import TaskState
from headway.scheduler.store import capacity, reads
from headway.scheduler.store import tables as t
from headway.scheduler.store.evidence import collect_evidence
from stage import BOOT, WORKER, Stage, dag, task, tasks_in

CHAIN = dag(task("b", "a"), task("a", retries=1, retry_delay=0.0), description="first a")


def test_a_dag_is_found_with_its_newest_value(stage: Stage):
    """Listed by id, and shown with its value."""
    stage.learn(dag(task("x"), name="other"), file="o.py")
    stage.learn(dag(task("x")))
    stage.learn(CHAIN)
    assert [(one.dag_id, one.version, one.file) for one in reads.list_dags(stage.engine)] == [
        ("d", 2, "d.py"),
        ("other", 1, "o.py"),
    ]
    summary, value = reads.find_dag(stage.engine, "d")
    assert (summary.task_count, value) == (2, CHAIN)
    assert reads.known_dags(stage.engine)["d"] == (summary.digest, "d.py")


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda engine: reads.find_dag(engine, "no"), UnknownDag),
        (lambda engine: reads.find_run(engine, "no"), UnknownRun),
        (lambda engine: reads.show_run(engine, "no"), UnknownRun),
        (lambda engine: reads.list_events(engine, "no"), UnknownRun),
        (lambda engine: reads.find_task(engine, "no", "a"), UnknownRun),
        (lambda engine: reads.find_task(engine, "r", "no"), UnknownTask),
        (lambda engine: collect_evidence(engine, "no", "a", -1), UnknownRun),
        (lambda engine: collect_evidence(engine, "r", "no", -1), UnknownTask),
        (lambda engine: collect_evidence(engine, "r", "a", 3), UnknownTask),
    ],
)
def test_what_is_not_there_is_said(stage: Stage, ask: Callable[..., object], error: type[Exception]):
    """By name."""
    stage.run(CHAIN)
    with pytest.raises(error, match="no"):
        ask(stage.engine)


def test_runs_are_listed_newest_first(stage: Stage):
    """Of one DAG, or in one state, and no more than asked for."""
    stage.learn(dag(task("x"), name="other"))
    stage.run(CHAIN, "r1")
    stage.give(stage.trigger("r2"))
    stage.give(stage.trigger("r3", "other"))
    ids = [run.run_id for run in reads.list_runs(stage.engine, dag_id=None, state=None, limit=9)]
    assert ids == ["r3", "r2", "r1"]
    assert [run.run_id for run in reads.list_runs(stage.engine, dag_id="d", state="running", limit=1)] == ["r2"]
    assert reads.list_runs(stage.engine, dag_id="d", state="failed", limit=9) == []


def test_a_run_is_shown_in_the_dags_order_with_its_attempts(stage: Stage):
    """Each attempt with what came of it."""
    stage.online()
    first = tasks_in(stage.run(CHAIN))["a"]
    stage.work(first, 3, ran_seconds=0.5, tail="oops")
    stage.ring()
    run = reads.show_run(stage.engine, "r")
    assert [(one.task_id, one.state) for one in run.tasks] == [("b", "waiting"), ("a", "queued")]
    attempts = run.tasks[1].attempts
    assert [(one.try_number, one.state, one.exit_code, one.reason) for one in attempts] == [
        (1, "failed", 3, "exit_code"),
        (2, "queued", None, None),
    ]
    assert (attempts[0].worker, attempts[0].host, attempts[0].ran_seconds) == ("w1", "host1", 0.5)
    assert run.tasks[1].reason is None  # why the attempt before it failed is the attempt's
    assert reads.count_tasks(stage.engine, "r") == {"waiting": 1, "queued": 1}


def test_the_reason_of_a_task_is_its_hold_or_its_end(stage: Stage):
    """Whichever says why it stands where it stands."""
    stage.online()
    messages = tasks_in(stage.run(dag(*(task(f"t{number:03}") for number in range(101)))))
    stage.work(messages["t000"], 1)
    stage.online("w2", "b2")  # one attempt of t001 is lost while the window is full
    reasons = {one.task_id: one.reason for one in reads.show_run(stage.engine, "r").tasks}
    assert (reasons["t000"], reasons["t001"]) == ("exit_code", None)
    stage.run(dag(*(task(f"t{number:03}") for number in range(101)), name="e"), "r2")
    held = [one for one in reads.show_run(stage.engine, "r2").tasks if one.state == "scheduled"]
    assert {one.reason for one in held} == {"window"}


def test_events_are_listed_with_their_verdicts(stage: Stage):
    """In the order of deciding, with who sent them."""
    first = tasks_in(stage.run(CHAIN))["a"]
    stage.give(stage.started(first))
    found = [(one.kind, one.verdict, one.origin) for one in reads.list_events(stage.engine, "r")]
    assert found == [
        ("trigger", "applied", "operator"),
        ("capacity", "applied", "scheduler"),
        ("started", "ignored", "worker"),
    ]
    last = reads.list_events(stage.engine, "r")[-1]
    assert (last.task_id, last.try_number, last.user) == ("a", 1, "tester")
    assert "must report first" in last.reason


def test_an_operators_event_has_a_verdict_once_it_is_decided(stage: Stage):
    """Nothing before, and the reason where it was ignored."""
    stage.learn(CHAIN)
    assert reads.find_verdict(stage.engine, "m") is None
    stage.decider.process([stage.arrival(stage.trigger(dag_id="no"), message_id="m")])
    verdict = reads.find_verdict(stage.engine, "m")
    assert verdict == reads.Verdict(applied=False, reason="DAG no is not known")


def test_workers_are_listed_by_their_newest_boot(stage: Stage):
    """Earlier ones only where everything is asked for."""
    stage.online()
    stage.online(boot="boot-2")
    stage.online("w2", "b")
    first = tasks_in(stage.run(CHAIN))["a"]
    stage.give(stage.started(first, boot="boot-2"))
    stage.give(Offline(worker="w2", boot="b", seq=99))
    found = [(one.worker, one.boot, one.state, one.running) for one in reads.list_workers(stage.engine)]
    assert found == [("w1", "boot-2", "online", 1), ("w2", "b", "ended", 0)]
    assert len(reads.list_workers(stage.engine, everything=True)) == 3
    assert reads.list_workers(stage.engine)[0].queues == ["default"]


def test_queues_say_what_is_published_held_and_free(stage: Stage):
    """And how much may be published."""
    stage.online(queues=("default", "gpu"))
    messages = tasks_in(stage.run(dag(*(task(f"t{number:03}") for number in range(120)))))
    stage.give(stage.started(messages["t000"]))
    found = {one.queue: one for one in capacity.list_queues(stage.engine)}
    default = found["default"]
    assert (default.queued, default.unpublished, default.slots, default.free_slots, default.window) == (
        100,
        19,
        2,
        1,
        100,
    )
    assert (found["gpu"].queued, found["gpu"].free_slots) == (0, 1)


def test_evidence_of_a_waiting_task_names_its_upstreams(stage: Stage):
    """With their states, in the author's order."""
    stage.run(dag(task("x"), task("y"), task("z", "y", "x")))
    evidence = collect_evidence(stage.engine, "r", "z", -1)
    assert list(evidence.upstream.items()) == [("y", TaskState.QUEUED), ("x", TaskState.QUEUED)]
    assert evidence.attempt is None


def test_evidence_of_a_held_task_counts_who_goes_first(stage: Stage):
    """By priority, then by time, then in the DAG's order."""
    tasks = [task(f"t{number:03}", priority=int(number >= 110)) for number in range(120)]
    stage.run(dag(*tasks))
    assert collect_evidence(stage.engine, "r", "t090", -1).ahead == 0
    assert collect_evidence(stage.engine, "r", "t095", -1).ahead == 5
    assert collect_evidence(stage.engine, "r", "t000", -1).ahead == 0  # it is queued
    assert collect_evidence(stage.engine, "r", "t000", -1).queue.waiting == 20


def test_evidence_of_a_running_task_names_its_holder(stage: Stage):
    """The boot that was granted it, and who serves its queue."""
    stage.online()
    first = tasks_in(stage.run(CHAIN))["a"]
    stage.give(stage.started(first))
    evidence = collect_evidence(stage.engine, "r", "a", -1)
    assert evidence.holder is not None
    assert evidence.holder.key == (WORKER, BOOT)
    assert [(one.worker, one.slots, one.running) for one in evidence.servers] == [("w1", 2, 1)]
    assert evidence.timers == {}
    assert evidence.spec.retries == 1


@pytest.mark.tampers
def test_evidence_of_a_task_that_is_not_there_yet(stage: Stage):
    """A run that is being created has the task in its DAG."""
    stage.run(CHAIN)
    with stage.engine.begin() as connection:
        connection.execute(update(t.runs).values(state="queued", created=0))
        connection.execute(t.task_instances.delete())
    assert collect_evidence(stage.engine, "r", "b", -1).task is None
