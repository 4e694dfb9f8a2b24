"""What a seed stands for: DAGs, machines, and which misfortunes there are at all.

Most seeds have a few kinds of misfortune and not all: a fault that needs one kind alone would drown in the noise of the
others. All times are short: what matters is how they stand to each other, and each is a setting.
"""

from random import Random
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from headway.protocol.dag import Dag, OutputRef, Shell, Task
from headway.protocol.names import DagId, QueueName, TaskId
from headway.protocol.topology import QueueLimits

FAULT_SECONDS: Final = 60.0
"""How long things go wrong; after that all heals."""

BOTH: Final = (QueueName("q"), QueueName("r"))

KINDS: Final = (
    "kill_worker",
    "kill_scheduler",
    "stop_worker",
    "stop_scheduler",
    "drain_worker",
    "cut_worker",
    "cut_scheduler",
    "drop_connection",
    "restart_broker",
    "block",
    "set_clock",
    "database_away",
    "purge",
    "delete",
    "cancel",
    "repeat",
    "forge",
)

POOLS: Final = {"small": 2, "large": 5}
"""Pools that tasks of both DAGs may need."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happens at a time; `kind` is one of KINDS."""

    at: float
    kind: str
    seconds: float


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One seed, spelt out."""

    dags: tuple[Dag, ...]
    runs: tuple[tuple[float, str, str], ...]  # when, run id, DAG id
    workers: tuple[tuple[QueueName, ...], ...]
    schedulers: int
    slots: int
    limits: dict[QueueName, QueueLimits]
    pools: dict[str, int]
    lease_seconds: float
    heartbeat_seconds: float
    drain_seconds: float | None
    tries_that_fail: int
    refuses: float
    latency_seconds_max: float
    kills: float  # chance at each place
    stops: float
    refused_publishes: float
    lost_answers: float
    faults: tuple[Fault, ...]


def plan_of(seed: int) -> Plan:
    """Draw everything that a seed stands for."""
    random = Random(seed)
    kinds = random.sample(KINDS, random.choice([0, 1, 2, 3, 4, 6, len(KINDS), len(KINDS)]))
    count = random.choice([3, 6, 12, 20]) if kinds else 0
    faults = [
        Fault(
            at=random.uniform(0.5, random.choice([15.0, FAULT_SECONDS])),
            kind=random.choice(kinds),
            seconds=random.choice([0.5, 3.0, 10.0, 20.0, 45.0]),
        )
        for _ in range(count)
    ]
    dags = tuple(_dag(random, DagId(f"dag{number}")) for number in range(random.choice([1, 1, 2])))
    others = Random(f"limits of {seed}")  # of their own, so that a seed is otherwise what it was before there were any
    dags = tuple(_limited(others, dag) for dag in dags)
    runs = [(random.uniform(0, 10), f"run{n}", random.choice(dags).dag_id) for n in range(random.choice([1, 1, 2]))]
    limits = QueueLimits(ttl_seconds=random.choice([8.0, 15.0]), window=random.choice([None, None, 1, 3]))
    return Plan(
        dags=dags,
        runs=tuple(runs),
        workers=(BOTH, *(random.choice([BOTH, BOTH[:1]]) for _ in range(random.choice([0, 1, 1, 2])))),
        schedulers=random.choice([1, 1, 2]),
        slots=random.choice([1, 2, 4]),
        limits={QueueName("q"): limits, QueueName("r"): limits},
        pools=POOLS,
        lease_seconds=random.choice([12.0, 20.0]),
        heartbeat_seconds=4.0,
        drain_seconds=random.choice([None, 3.0]),
        tries_that_fail=random.choice([0, 2, 3]),
        refuses=random.choice([0.0, 0.0, 0.1]),
        latency_seconds_max=random.choice([0.002, 0.02, 0.5]),
        kills=random.choice([0.0, 0.0, 0.003, 0.01, 0.03]),
        stops=random.choice([0.0, 0.0, 0.003, 0.01]),
        refused_publishes=random.choice([0.0, 0.0, 0.02]),
        lost_answers=random.choice([0.0, 0.0, 0.02]),
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
    )


def _dag(random: Random, dag_id: DagId) -> Dag:
    names = [TaskId(name) for name in "abcdefghijkl"[: random.randint(3, 12)]]
    tasks = []
    for place, name in enumerate(names):
        upstream = tuple(random.sample(names[:place], min(place, random.choice([0, 1, 1, 2, 3]))))
        tasks.append(Task(task_id=name, command=Shell(script="true"), upstream=upstream, **_keywords(random, upstream)))
    return Dag(dag_id=dag_id, tasks=tuple(tasks))


def _limited(random: Random, dag: Dag) -> Dag:
    """Let some tasks need a pool, be one at a time, or be few of a run."""
    tasks = (
        replace(
            task,
            pool=(pool := random.choice([None, None, *POOLS])),
            pool_slots=random.randint(1, 2) if pool else 1,
            max_active=random.choice([None, None, None, 1]),
        )
        for task in dag.tasks
    )
    return replace(dag, tasks=tuple(tasks), max_active_tasks=random.choice([None, None, 2, 3]))


def _keywords(random: Random, upstream: tuple[TaskId, ...]) -> dict[str, Any]:
    patience = random.choice([None, None, None, 20.0])
    return {
        "inputs": upstream[: random.choice([0, 0, 0, 0, 1])],
        "queue": QueueName(random.choice("qqr")),
        "priority": random.randint(0, 1),
        "retries": random.randint(0, 2),
        "retry_delay": random.choice([0.0, 1.0, 5.0]),
        "infra_retries": random.randint(0, 3),
        "on_lost": random.choice(["retry", "retry", "fail"]),
        "queued_timeout": patience,
        "on_queued_timeout": random.choice(["requeue", "fail"]),
        "timeout": random.choice([None, None, 3.0]),
        "over": random.choice([None] * 6 + [(1, "x"), *(OutputRef(task_id=source) for source in upstream[:1])]),
    }
