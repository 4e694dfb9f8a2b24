"""Schedules, backfills, pauses and triggers in any order, delivered late and twice: each date comes to one run."""

from collections import Counter
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.protocol.dag_events import Pause, ScheduleTimer, Unpause
from headway.protocol.names import DagId
from headway.protocol.states import FINAL_RUN_STATES, RunKind
from world import World, cut_slices, dag
from world.audit import audit
from world.players import Players
from world.reference import Outcome

ETL = DagId("etl")
STEPS = 80


def outcome(seed: int, run_id: str, task_id: str, number: int) -> Outcome:
    """Some first attempts fail; each task has a retry, so all end well."""
    return Random(f"{seed} {run_id} {task_id}").choice(("output", "output", "failure")) if number == 1 else "output"


class Timekeepers(Players):
    """Players with a clock that tells of schedules, and operators who pause, trigger and backfill."""

    def step(self) -> None:
        """Let one of them do something."""
        self.random.choice([super().step] * 6 + [self.tick, self.tick, self.tick, self.operate])()
        self.listen()

    def end(self) -> None:
        """Let everybody answer, and nothing rest any more."""
        self.flying = [envelope for envelope in self.flying if not isinstance(envelope.event, Pause)]
        self.fly(Unpause(dag_id=ETL))
        super().end()

    def tick(self) -> None:
        """Tell of the date that the DAG is due, perhaps of the one before, as a clock that was late."""
        row = self.world.db.dags[ETL]
        if row.next_date is not None:
            self.world.now = max(self.world.now, row.next_date)
            self.fly(ScheduleTimer(dag_id=ETL, due=self.random.choice([row.next_date, row.last_date or row.next_date])))

    def operate(self) -> None:
        """Let an operator do something."""
        number = len(self.world.db.runs)
        backfill = self.world.backfill(4, backfill_id=f"b{number}", max_active=self.random.choice([1, 2]))
        reprocess = self.random.choice(["none", "completed"])
        events = [Pause(dag_id=ETL), Unpause(dag_id=ETL), self.world.trigger(f"r{number}")]
        self.fly(self.random.choice([*events, msgspec.structs.replace(backfill, reprocess=reprocess)]))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 1000]), st.integers(1, 3), st.booleans(), st.booleans())
def test_each_date_comes_to_one_run(seed: int, slice_rows: int, active: int, catchup: bool, past: bool):  # noqa: FBT001
    """All runs end, those that depend on the past in their order, and the record of each says the same again."""
    with pytest.MonkeyPatch.context() as patch:
        cut_slices(patch, slice_rows)
        patch.setattr("headway.scheduler.core.backfills.STEP_DATES_MAX", 2)
        each = {"retries": 1, "retry_delay": 0.0, "queue": "q", "deadline": 7200.0}
        value = dag("a >> b, c", "a >> d", each=each, b={"depends_on_past": past})
        keywords = {"schedule": "@hourly", "max_active_runs": active, "catchup": catchup, "deadline": 3600.0}
        world = World(msgspec.structs.replace(value, **keywords), settling=False)
        players = Timekeepers(world, Random(seed), lambda *of: outcome(seed, *of))
        for _ in range(STEPS):
            players.step()
        players.end()
        assert {run_id: found for run_id in world.db.runs if (found := audit(world, run_id))} == {}
    assert {run.state for run in world.db.runs.values()} <= {"success"}
    assert all(row.finished_at is not None for row in world.db.backfills.values())
    scheduled = [run for run in world.db.runs.values() if run.kind is RunKind.SCHEDULED]
    assert set(Counter(run.logical_date for run in scheduled).values()) <= {1}
    for run in scheduled:
        before = world.db.runs.get(run.previous) if run.previous is not None else None
        assert before is None or world.task("b", before.run_id).since <= world.task("b", run.run_id).since
    assert all(run.state in FINAL_RUN_STATES for run in world.db.runs.values())
