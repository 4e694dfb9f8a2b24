"""Somebody deletes an exchange in RabbitMQ's management, and with it its bindings: nobody is told, and all is mended.

What the exchange would have carried comes to nothing meanwhile. Whoever publishes to it finds it gone and declares it,
without the bindings, of which only the scheduler knows; so it binds its queues again every few seconds.
"""

from pathlib import Path
from typing import Any

import pytest

from headway.protocol.topology import DEAD, EVENTS, TASKS, event_queue
from servers import RabbitMQ
from trial import Trial

SETTINGS = {"HEADWAY_WORKER_LEASE": "60s", "HEADWAY_WORKER_HEARTBEAT": "5s"}
BOUND = {EVENTS: event_queue(0).name, DEAD: event_queue(0).name, TASKS: "headway.q.default"}
"""A queue that is bound to each of them in the end."""


def bound(rabbitmq: RabbitMQ, vhost: str, exchange: str) -> set[str]:
    """Return the queues that are bound to an exchange."""
    found: Any = rabbitmq.api("GET", f"/bindings/{vhost}")
    return {one["destination"] for one in found if one["source"] == exchange}


@pytest.mark.parametrize("exchange", [TASKS, EVENTS, DEAD])
def test_a_deleted_exchange_is_declared_and_bound_again(
    exchange: str, trial: Trial, rabbitmq: RabbitMQ, vhost: str, tmp_path: Path
) -> None:
    """In the middle of a run: each task runs once and succeeds, and nobody repairs anything."""
    gone = tmp_path / "gone"
    name = exchange.replace(".", "_")
    run_id = trial.run(name, 8, 8, 8, work=f"until [ -e {gone} ]; do sleep 0.1; done")
    trial.wait_for("begun", 8)
    rabbitmq.api("DELETE", f"/exchanges/{vhost}/{exchange}")
    gone.touch()
    assert trial.judge(f"F16 {exchange}", run_id, seconds=120).recovered == 0
    trial.cluster.wait_for(lambda: BOUND[exchange] in bound(rabbitmq, vhost, exchange))


def test_what_finds_no_queue_waits_for_dead_letters(trial: Trial, rabbitmq: RabbitMQ, vhost: str) -> None:
    """Messages that nothing catches are returned until headway.dead is there again; then their queue is made."""
    rabbitmq.api("DELETE", f"/exchanges/{vhost}/{DEAD}")
    run_id = trial.run("nowhere", 4, queue="nowhere")

    def found_no_queue() -> int:
        return sum(event["kind"] == "unroutable" for event in trial.cluster.json("events", run_id))

    trial.cluster.wait_for(lambda: found_no_queue() >= 4)
    trial.cluster.start_worker("late", queue="nowhere")
    assert trial.judge("F20 without headway.dead", run_id).recovered == 0
