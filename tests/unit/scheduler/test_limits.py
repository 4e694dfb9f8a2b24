"""Pools, limits of DAG and task, paused DAGs, priorities and turns: what they mean, as a table, one row a case.

A row is a DAG, the pools there are, and what happens; behind each happening stands where every task is then: its state,
or what holds it. `go` triggers a run of a DAG, `end` lets tasks be run to their end, `start` lets them begin.
"""

from typing import Any

import msgspec
import pytest

from headway.protocol.dag import Argv, Dag, OutputRef
from headway.protocol.dag_events import Pause, Unpause
from headway.protocol.errors import Corrupt
from headway.protocol.messages import Capacity
from headway.protocol.names import DagId, QueueName, RunId, TaskId
from headway.protocol.states import TaskState
from headway.scheduler.core.choice import choose, looks_left
from headway.scheduler.core.deltas import QueueDelta
from headway.scheduler.core.limits import hold_of_room, pool_room, queue_room
from headway.scheduler.core.rows import QueueRow
from headway.scheduler.core.snapshot import Snapshot
from world import World, cut_slices, dag, running
from world.world import Shelf

DB = {"pool": "db"}
ONE = {"max_active": 1}
CODES = {"end": 0, "fail": 1, "poll": 75}


def limited(*chains: str, most: int | None = None, **fields: Any) -> Dag:
    """Return a DAG of which so many tasks may be active in a run."""
    return msgspec.structs.replace(dag(*chains, **fields), max_active_tasks=most)


def one_each(*names: str, **fields: Any) -> list[Dag]:
    """Return DAGs with these names, of one task each, of the same name."""
    return [dag(name, dag_id=name, **{name: fields}) for name in names]


CASES: dict[str, tuple[list[Dag], dict[str, int], list[tuple[str, str]]]] = {
    # --- pools ---
    "a pool lets in as many as it has slots": (
        [dag("a, b, c", each=DB)],
        {"db": 2},
        [
            ("go etl", "a queued, b queued, c pool"),
            ("start a", "a running, b queued, c pool"),
            ("end b", "a running, b success, c queued"),
        ],
    ),
    "a task takes as many slots as it says": (
        [dag("a, b", each=DB, a={"pool_slots": 2})],
        {"db": 2},
        [("go etl", "a queued, b pool"), ("end a", "a success, b queued")],
    ),
    "who needs much is not passed by those behind it": (
        [dag("a, b, c", each=DB, b={"pool_slots": 2})],
        {"db": 2},
        [
            ("go etl", "a queued, b pool, c pool"),
            ("end a", "a success, b queued, c pool"),
            ("end b", "a success, b success, c queued"),
        ],
    ),
    "nor by one that comes later from another line": (
        [dag("a", dag_id="a", a=DB), dag("b", b=DB | {"pool_slots": 2}), dag("c", dag_id="other", c=DB | ONE)],
        {"db": 2},
        [
            ("go a", "a queued"),
            ("go etl", "a queued, b pool"),
            ("go other", "a queued, b pool, c pool"),
            ("end a", "a success, b queued, c pool"),
            ("end b", "a success, b success, c queued"),
        ],
    ),
    "pools know nothing of each other": (
        [dag("a, b, c, d", a=DB, b=DB, c={"pool": "api"})],
        {"db": 1, "api": 1},
        [("go etl", "a queued, b pool, c queued, d queued")],
    ),
    "a pool is one for all DAGs, in any partition": (
        one_each("a", "b", pool="db"),
        {"db": 1},
        [("go a", "a queued"), ("go b", "a queued, b pool"), ("end a", "a success, b queued")],
    ),
    "a higher priority goes first in a pool": (
        [dag("a, b, c", each=DB, c={"priority": 5})],
        {"db": 1},
        [("go etl", "a pool, b pool, c queued"), ("end c", "a queued, b pool, c success")],
    ),
    "a task that fails for good gives its slots back": (
        [dag("a, b", each=DB)],
        {"db": 1},
        [("go etl", "a queued, b pool"), ("fail a", "a failed, b queued")],
    ),
    "a task that waits for its retry holds no slot, and then stands behind": (
        [dag("a, b", each=DB, a={"retries": 1, "retry_delay": 5.0})],
        {"db": 1},
        [
            ("go etl", "a queued, b pool"),
            ("fail a", "a up_for_retry, b queued"),
            ("retry a", "a pool, b queued"),
            ("end b", "a queued, b success"),
        ],
    ),
    "nor has one a task that polls, between its polls": (
        [dag("a, b", each=DB, a={"poll_every": 5.0})],
        {"db": 1},
        [("go etl", "a queued, b pool"), ("poll a", "a up_for_reschedule, b queued")],
    ),
    "a cancelled task leaves its line, and those behind it go on": (
        [dag("a, b, c", each=DB, b={"pool_slots": 2})],
        {"db": 2},
        [("go etl", "a queued, b pool, c pool"), ("cancel b", "a queued, b cancelled, c queued")],
    ),
    "a cancelled task that was queued gives its slot back": (
        [dag("a, b", each=DB)],
        {"db": 1},
        [("go etl", "a queued, b pool"), ("cancel a", "a cancelled, b queued")],
    ),
    "a task that runs keeps its slot until it has stopped": (
        [dag("a, b", each=DB)],
        {"db": 1},
        [("go etl", "a queued, b pool"), ("start a", "a running, b pool"), ("cancel a", "a running, b pool")],
    ),
    "a pool that is not there fails what asks for it": (
        [dag("a, b >> c", a=DB)],
        {},
        [("go etl", "a failed, b queued, c upstream_failed")],
    ),
    "so does one that is too small": (
        [dag("a, b", each=DB, a={"pool_slots": 3})],
        {"db": 2},
        [("go etl", "a failed, b queued")],
    ),
    "a pool that grows lets more in": (
        [dag("a, b, c", each=DB)],
        {"db": 1},
        [("go etl", "a queued, b pool, c pool"), ("pool db 3", "a queued, b queued, c queued")],
    ),
    "a pool that shrinks lets nobody in until it has room": (
        [dag("a, b, c", each=DB)],
        {"db": 2},
        [
            ("go etl", "a queued, b queued, c pool"),
            ("pool db 1", "a queued, b queued, c pool"),
            ("end a", "a success, b queued, c pool"),
            ("end b", "a success, b success, c queued"),
        ],
    ),
    "a pool that goes fails those who wait for it": (
        [dag("a, b", each=DB)],
        {"db": 1},
        [("go etl", "a queued, b pool"), ("pool db", "a queued, b failed"), ("end a", "a success, b failed")],
    ),
    # --- limits of a DAG and of a task ---
    "max_active_tasks counts the tasks of one run": (
        [limited("a, b, c", most=2)],
        {},
        [("go etl", "a queued, b queued, c dag_limit"), ("end b", "a queued, b success, c queued")],
    ),
    "and each run for itself, as in Airflow 3": (
        [limited("a, b", most=1)],
        {},
        [("go etl", "a queued, b dag_limit"), ("go etl 2", "a queued, b dag_limit, a2 queued, b2 dag_limit")],
    ),
    "max_active counts the instances of a task over all runs": (
        [dag("a, b", a=ONE)],
        {},
        [
            ("go etl", "a queued, b queued"),
            ("go etl 2", "a queued, b queued, a2 task_limit, b2 queued"),
            ("end a", "a success, b queued, a2 queued, b2 queued"),
        ],
    ),
    "max_active_per_run counts those of one run": (
        [dag("a", a={"max_active_per_run": 1})],
        {},
        [("go etl", "a queued"), ("go etl 2", "a queued, a2 queued")],
    ),
    "such as the instances of a mapped task": (
        [dag("a", a={"over": (1, 2, 3), "max_active_per_run": 2})],
        {},
        [("go etl", "a mapped, a queued, a queued, a task_limit")],
    ),
    "who lacks its DAG's limit takes no slot of a pool": (
        [limited("a, b", most=1, b=DB), dag("c", dag_id="other", c=DB)],
        {"db": 1},
        [
            ("go etl", "a queued, b dag_limit"),
            ("go other", "a queued, b dag_limit, c queued"),
            ("end a", "a success, b pool, c queued"),
            ("end c", "a success, b queued, c success"),
        ],
    ),
    "who lacks a slot of its pool leaves its DAG's limit to others": (
        [limited("a, b, c", most=2, a=DB, b=DB)],
        {"db": 1},
        [
            ("go etl", "a queued, b dag_limit, c queued"),
            ("end c", "a queued, b pool, c success"),
            ("end a", "a success, b queued, c success"),
        ],
    ),
    # --- paused ---
    "nothing of a paused DAG goes on but what was published": (
        [dag("a >> b, c", dag_id="etl")],
        {},
        [
            ("go etl", "a queued, b waiting, c waiting"),
            ("pause etl", "a queued, b waiting, c waiting"),
            ("end a", "a success, b paused, c paused"),
            ("unpause etl", "a success, b queued, c queued"),
        ],
    ),
    "a paused DAG holds no slot of a pool": (
        [dag("z >> a", a=DB), dag("b", dag_id="other", b=DB)],
        {"db": 1},
        [
            ("go etl", "z queued, a waiting"),
            ("pause etl", "z queued, a waiting"),
            ("end z", "z success, a paused"),
            ("go other", "z success, a paused, b queued"),
            ("unpause etl", "z success, a pool, b queued"),
            ("end b", "z success, a queued, b success"),
        ],
    ),
}


class Shop(World):
    """A world that does what a row says."""

    def __init__(self, dags: list[Dag], pools: dict[str, int]) -> None:
        super().__init__()
        self.set_pools(pools)
        self.tell(self.online())
        for value in dags:
            assert self.tell(self.version(value, file=f"{value.dag_id}.py")).applied

    def look(self, room: str, dag_id: str = "etl") -> None:
        """Let those be looked at who wait for a room."""
        event = Capacity(
            dag_id=DagId(dag_id), run_id=RunId("run-1"), queue=QueueName(""), instances=(), to="look", room=room
        )
        assert self.tell(event).applied

    def do(self, what: str, *names: str) -> None:
        """Let something happen."""
        match what:
            case "go":
                run_id = f"run-{names[1]}" if names[1:] else "run-1" if names[0] == "etl" else f"run-{names[0]}"
                assert self.tell(self.trigger(run_id, dag_id=names[0])).applied
            case "pause" | "unpause":
                event = Pause if what == "pause" else Unpause
                assert self.tell(event(dag_id=DagId(names[0]))).applied
            case "pool":
                self.set_pools(dict(zip(names, map(int, names[1:]), strict=False)))
                self.look(pool_room(names[0]))
            case "retry":
                self.ring(names[0], "retry")
            case "cancel":
                assert self.tell(self.cancel(names[0])).applied
            case _:
                self.act(what, names[0])

    def act(self, what: str, name: str) -> None:
        """Let a worker do something with the task of this name, in whichever run it is."""
        key = next(key for key in self.db.tasks if key.task_id == name)
        if self.db.tasks[key].state is TaskState.QUEUED:
            assert self.tell(self.started(name, run_id=key.run_id)).applied
        if what != "start":
            assert self.tell(self.finished(name, CODES[what], run_id=key.run_id)).applied

    def places(self) -> str:
        """Say where every task is."""
        return ", ".join(
            f"{task.task_id}{task.run_id.partition('-')[2].removeprefix('1') if task.dag_id == 'etl' else ''} {where}"
            for task in self.db.tasks.values()
            for where in [self._where(task)]
        )

    def _where(self, task: Any) -> str:
        if task.state is not TaskState.SCHEDULED:
            return str(task.state)
        row = self.db.rooms.get(task.room)
        return str(hold_of_room(row.lacks)) if row is not None and row.lacks else str(task.hold)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_limits_mean_what_the_table_says(case: tuple[list[Dag], dict[str, int], list[tuple[str, str]]]):
    """Also on the way: after each step all that must hold holds."""
    dags, pools, steps = case
    shop = Shop(dags, pools)
    for happening, places in steps:
        shop.do(*happening.split())
        assert shop.places() == places, happening


def test_who_asks_for_a_pool_that_is_not_there_is_told():
    """With what to do."""
    shop = Shop([dag("a, b", a=DB, b={"pool": "api", "pool_slots": 3})], {"api": 2})
    shop.do("go", "etl")
    assert [(shop.task(name).reason, shop.task(name).detail) for name in "ab"] == [
        ("bad_pool", "there is no pool 'db': write [pools.db] with its slots into the headway.toml of the scheduler"),
        ("bad_pool", "it takes 3 slots of pool 'api', which has 2: lower its pool_slots"),
    ]
    assert (shop.run_state(), shop.places()) == ("failed", "a failed, b failed")


@pytest.mark.usefixtures("narrow")
def test_who_has_its_slots_waits_for_its_queue_with_them():
    """As a queued task of Airflow does: its turn is in the queue now, and its patience begins."""
    shop = Shop([dag("a, b, c", each=DB | {"queued_timeout": 60.0})], {"db": 2})
    shop.do("go", "etl")
    assert shop.places() == "a queued, b window, c pool"
    assert [shop.timer(name, "queued_timeout") is not None for name in "abc"] == [True, True, False]
    shop.do("start", "a")
    assert shop.places() == "a running, b queued, c pool"


@pytest.mark.usefixtures("narrow")
def test_a_task_that_waits_for_its_queue_gives_its_slots_back_when_its_dag_is_paused():
    """And its patience ends: nobody is to blame for that."""
    shop = Shop([dag("a, b", each=DB | {"queued_timeout": 60.0}), dag("c", dag_id="other", c=DB)], {"db": 2})
    shop.do("go", "etl")
    shop.do("pause", "etl")
    shop.do("start", "a")
    assert shop.places() == "a running, b paused"
    assert shop.timer("b", "queued_timeout") is None
    shop.do("go", "other")
    assert shop.places() == "a running, b paused, c queued"


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("limits", [{}, DB], ids=["in a queue", "in a pool"])
def test_a_small_dag_takes_turns_with_a_large_one(limits: dict[str, Any]):
    """From when it comes, and although a hundred wait before it."""
    large = dag(", ".join(f"t{number}" for number in range(100)), dag_id="large", each=limits)
    shop = Shop([large, dag("a, b, c", dag_id="small", each=limits)], {"db": 1})
    shop.do("go", "large")
    for number in range(10):
        shop.do("end", f"t{number}")
    shop.do("go", "small")
    order = []
    for _ in range(8):
        [queued] = [row.task_id for row in shop.db.tasks.values() if row.state is TaskState.QUEUED]
        order.append(queued)
        shop.do("end", queued)
    assert order == ["t10", "a", "t11", "b", "t12", "c", "t13", "t14"]


@pytest.mark.usefixtures("narrow")
def test_many_dags_each_get_their_turn():
    """One task of each before a second one of any."""
    shop = Shop([dag("a, b", dag_id=name, a={}, b={}) for name in ("x", "y", "z")], {})
    for name in ("x", "y", "z"):
        shop.do("go", name)
    order = []
    for _ in range(6):
        [queued] = [row for row in shop.db.tasks.values() if row.state is TaskState.QUEUED]
        order.append(f"{queued.dag_id}{queued.task_id}")
        shop.tell_all(shop.started(queued.task_id, run_id=queued.run_id))
        shop.tell_all(shop.finished(queued.task_id, run_id=queued.run_id))
    assert order == ["xa", "ya", "za", "xb", "yb", "zb"]


def test_a_long_unpausing_goes_on_by_itself(monkeypatch: pytest.MonkeyPatch):
    """In slices that one decision may touch."""
    shop = Shop([dag("z >> a, b, c, d, e")], {})
    shop.do("go", "etl")
    shop.do("pause", "etl")
    shop.do("end", "z")
    cut_slices(monkeypatch, 2)
    shop.do("unpause", "etl")
    assert set(shop.states().values()) == {"success", "queued"}


def test_a_line_longer_than_one_look_goes_on(monkeypatch: pytest.MonkeyPatch):
    """A pool with room for all lets in as many at a time as may be looked at, until all are in."""
    monkeypatch.setattr("headway.scheduler.core.choice.READ_MAX", 2)
    shop = Shop([dag("a, b, c, d, e", each=DB)], {"db": 9})
    shop.do("go", "etl")
    assert set(shop.states().values()) == {"queued"}


def test_a_place_that_a_failing_task_leaves_goes_to_the_next():
    """Although that one has just been told that there is none."""
    takes = {"command": Argv(args=("load", OutputRef(task_id=TaskId("x")))), "priority": 5}
    shop = Shop([limited("a", "x >> b, c", most=1, b=DB | takes)], {"db": 1})
    shop.do("go", "etl")
    shop.do("end", "a")
    shop.do("end", "x")
    assert shop.places() == "a success, x success, b failed, c queued"


@pytest.mark.usefixtures("narrow")
def test_who_waits_without_a_run_is_corrupt():
    """Nothing is guessed about it."""
    shop = Shop([dag("a, b, c")], {})
    shop.do("go", "etl")
    del shop.db.runs[RunId("run-1")]
    shop.restart()
    shop.db.queues[QueueName("default")] = QueueRow(queue=QueueName("default"), waiting=2)
    snapshot = Snapshot()
    snapshot.changes.looks.add(queue_room(QueueName("default")))
    with pytest.raises(Corrupt, match="task instance b has no run run-1"):
        choose(snapshot, Shelf(shop.db, snapshot))


def test_a_batch_that_ends_early_says_what_is_to_be_looked_at():
    """Rooms that something changed in, and those of queues."""
    snapshot = Snapshot()
    snapshot.changes.looks.add(pool_room("db"))
    snapshot.changes.queues[QueueName("io")] = QueueDelta(queued=-1)
    assert looks_left(snapshot) == {"pool/db", "queue/io"}


def test_a_task_is_published_though_another_leaves_its_queue_in_the_same_batch():
    """The queue's counters stand where they stood, and there is room all the same."""
    world = running("a, b", a={"over": (1, 2), **ONE}, b={"retries": 1, "retry_delay": 60.0})
    world.play("b", exit_code=1)
    timer = world.timer("b", "retry")
    assert timer is not None
    world.now = timer.due
    world.tell_all(world.due(timer), world.cancel("a[1]"))
    assert (world.states()["b"], world.states()["a[1]"]) == ("queued", "cancelled")
