"""F13 to F23: the broker dies, raises an alarm, loses queues and bindings, refuses, and hands back."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pika
import pytest

from headway.protocol.topology import DEAD, DELIVERY_LIMIT, task_queue_name
from servers import RabbitMQ
from trial import Trial

SETTINGS = {"HEADWAY_WORKER_LEASE": "60s"}
CONFIG = """
[queues.brief]
ttl = "1s"
[queues.undead]
ttl = "1s"
[queues.narrow]
window = 12
"""
NARROW_LENGTH = 2
PATIENCE_SECONDS = 8


def said(trial: Trial, run_id: str, kind: str, verdict: str = "applied") -> list[dict[str, Any]]:
    """Return the recorded events of one kind and verdict."""
    events = trial.cluster.json("events", run_id)
    return [event for event in events if (event["kind"], event["verdict"]) == (kind, verdict)]


def depth_of(trial: Trial, queue: str) -> tuple[int, int, int | None]:
    """Return how many tasks of a queue are queued and held as the database has it, and ready as the broker has it."""
    rows = [row for row in trial.cluster.json("queues") if row["queue"] == queue]
    return next(((row["queued"], row["unpublished"], row["ready"]) for row in rows), (0, 0, None))


@contextlib.contextmanager
def alarm(rabbitmq: RabbitMQ) -> Iterator[None]:
    """Let the broker believe that it is out of memory."""
    rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        yield
    finally:
        rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")


@pytest.mark.parametrize(("fault", "leave"), [("F13", RabbitMQ.kill), ("F14", RabbitMQ.stop)])
def test_a_broker_that_restarts_under_load_loses_nothing(
    fault: str, leave: Any, trial: Trial, rabbitmq: RabbitMQ
) -> None:
    """Killed or shut down: what runs goes on, every service returns by itself, and each task has run once."""
    run_id = trial.run(fault, 8, 8, 8, work="sleep 1")
    trial.wait_for("begun", 8)
    leave(rabbitmq)
    trial.wait_for("ended", 8)
    rabbitmq.start()
    assert trial.judge(fault, run_id, seconds=120).recovered == 0


def test_an_alarm_holds_up_and_fails_nothing(trial: Trial, rabbitmq: RabbitMQ) -> None:
    """F15: tasks end, their results wait, reads are answered, nothing that waits times out; after it all goes on."""
    patience = {"queued_timeout": f"{PATIENCE_SECONDS}s", "on_queued_timeout": "fail"}
    run_id = trial.run("alarmed", 12, 4, work="sleep 2", **patience)
    trial.wait_for("begun", 8)
    worker = trial.cluster.services["w1"]
    before = worker.log.stat().st_size
    with alarm(rabbitmq):
        trial.cluster.wait_for(lambda: "takes no messages for now" in worker.log.read_text()[before:])
        trial.cluster.wait_for(lambda: trial.ledger.count("ended") == trial.ledger.count("begun"))
        begun = trial.ledger.count("begun")  # 8 of 12, unless the alarm took longer to raise than a task takes
        assert trial.cluster.json("runs", "show", run_id)["state"] == "running"
        trial.cluster.wait(PATIENCE_SECONDS)
        assert trial.ledger.count("begun") == begun, "a task was granted although its worker could not be heard"
    assert trial.judge("F15", run_id).recovered == 0


def test_dead_letters_that_go_nowhere_are_not_lost(trial: Trial, rabbitmq: RabbitMQ, vhost: str) -> None:
    """F17: without headway.dead the broker keeps what expired, and the deadline in the database finds it missing."""
    rabbitmq.api("DELETE", f"/exchanges/{vhost}/{DEAD}")
    run_id = trial.run("undead", 1, queue="undead")
    trial.cluster.wait_for(lambda: depth_of(trial, "undead") == (1, 0, 0))
    trial.cluster.start_worker("late", queue="undead")
    assert trial.judge("F17", run_id, seconds=90).recovered == 0


def test_what_expires_without_a_worker_never_runs(trial: Trial) -> None:
    """F18: each message that expires is one event; the author's patience ends the task, and then nothing runs it."""
    run_id = trial.run("expired", 2, queue="brief", queued_timeout="4s", on_queued_timeout="fail")
    run = trial.cluster.wait_for_run(run_id)
    assert [task["reason"] for task in run["tasks"]] == ["no_workers"] * 2
    expired = said(trial, run_id, "expired")
    assert 4 <= len(expired) <= 8, "one for each second and task"
    trial.cluster.start_worker("late", queue="brief")
    later = trial.run("in_time", 2, queue="brief")
    assert trial.judge("F18", later).recovered == 0
    assert trial.ledger.count("begun", run_id) == 0
    assert len(said(trial, run_id, "expired")) == len(expired)


def test_a_queue_that_is_not_there_is_made(trial: Trial, rabbitmq: RabbitMQ, vhost: str) -> None:
    """F20: as DESIGN 7 has it, `unroutable` makes the scheduler declare the queue and publish again; no budget."""
    trial.cluster.start_worker("gone", queue="unmade")
    first = trial.run("made", 1, queue="unmade")
    trial.cluster.wait_for_run(first)
    trial.cluster.retire("gone")
    rabbitmq.api("DELETE", f"/queues/{vhost}/{task_queue_name('unmade')}")
    second = trial.run("unmade", 2, queue="unmade")
    trial.cluster.wait_for(lambda: bool(said(trial, second, "unroutable")))
    trial.cluster.start_worker("back", queue="unmade")
    assert trial.judge("F20", first, second).recovered == 0


def test_a_full_queue_is_waited_for(trial: Trial, rabbitmq: RabbitMQ, vhost: str) -> None:
    """F21: what the broker refuses stays in the outbox, more is held, and both are told; all go when there is room."""
    policy = {"pattern": f"^{task_queue_name('narrow')}$", "definition": {"max-length": NARROW_LENGTH}}
    rabbitmq.api("PUT", f"/policies/{vhost}/narrow", policy | {"apply-to": "queues"})
    first = trial.run("narrow_1", 8, queue="narrow", work="true")
    trial.cluster.wait_for(lambda: (depth_of(trial, "narrow")[2] or 0) >= NARROW_LENGTH)
    second = trial.run("narrow_2", 8, queue="narrow", work="true")

    def told() -> list[tuple[str, str]]:
        whys = [trial.cluster.json("why", second, f"l0_{place}") for place in (3, 7)]
        return [(why["state"], why["reason"]) for why in whys]

    trial.cluster.wait_for(lambda: told() == [("queued", "broker_full"), ("scheduled", "broker_full")])
    assert "its queue is full there" in trial.cluster.json("why", second, "l0_3")["detail"]
    trial.cluster.start_worker("narrow", slots=1, queue="narrow")
    assert trial.judge("F21", first, second).recovered == 0


def return_messages(url: str, queue: str, times: int) -> None:
    """Take a message and die with it, as a worker does that it kills before it starts."""
    for _ in range(times):
        with pika.BlockingConnection(pika.URLParameters(url)) as connection:
            channel = connection.channel()
            _, properties, _ = next(channel.consume(queue))
            assert properties is not None


def test_a_message_that_is_returned_too_often_comes_back_as_an_event(trial: Trial) -> None:
    """F23: the broker says `delivery_limit`, the message is published again, and no budget of the task is spent."""
    run_id = trial.run("returned", 1, queue="deadly")
    trial.cluster.wait_for(lambda: depth_of(trial, "deadly") == (1, 0, 1))
    return_messages(trial.cluster.env["HEADWAY_BROKER_URL"], task_queue_name("deadly"), DELIVERY_LIMIT + 1)
    trial.cluster.wait_for(lambda: bool(said(trial, run_id, "delivery_limit")))
    trial.cluster.start_worker("brave", queue="deadly")
    assert trial.judge("F23", run_id).recovered == 0


def test_a_message_that_nobody_survives_fails_its_task(trial: Trial) -> None:
    """F23: the third `delivery_limit` in a row spends infra_retries; without any the task is failed as poisoned."""
    run_id = trial.run("poisoned", 1, queue="poison", infra_retries=0)
    return_messages(trial.cluster.env["HEADWAY_BROKER_URL"], task_queue_name("poison"), 3 * (DELIVERY_LIMIT + 1))
    trial.cluster.wait_for(lambda: len(said(trial, run_id, "delivery_limit")) == 3)
    (task,) = trial.cluster.wait_for_run(run_id, seconds=30)["tasks"]
    assert (task["state"], task["reason"]) == ("failed", "poisoned")
