"""A cluster whose every misfortune comes from a seed; docs/proof.md says what is covered and what was found."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from simulation.cluster import simulate
from simulation.plan import Fault, Plan, plan_of

SEEDS = 1_000


def calm(seed: int, *faults: Fault, **changed: object) -> Plan:
    """Return a seed's plan in which nothing goes wrong but these faults."""
    nothing = {"kills": 0.0, "stops": 0.0, "refused_publishes": 0.0, "lost_answers": 0.0, "refuses": 0.0}
    return msgspec.structs.replace(plan_of(seed), faults=faults, **(nothing | changed))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_whatever_goes_wrong_all_that_must_hold_holds():
    """A thousand seeds, over all cores; a broken one is printed with the command that shows it."""
    done = subprocess.run(
        [sys.executable, "-m", "simulation", "--seeds", str(SEEDS)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{SEEDS} seeds in ")


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_is_the_same_every_time(seed: int):
    """Otherwise no failure could be seen twice."""
    traces: list[list[str]] = [[], []]
    for trace in traces:
        simulate(seed, log=trace.append)
    assert traces[0] == traces[1]
    assert traces[0]


@pytest.mark.parametrize("seed", range(5))
def test_an_alarm_longer_than_every_lease_loses_no_worker(seed: int):
    """While the broker reads nothing from anybody, silence says nothing, and leases begin anew after it."""
    lines: list[str] = []
    alarm = Fault(at=5.0, kind="block", seconds=45.0)
    result = simulate(seed, plan=calm(seed, alarm, runs=((4.0, "run0", "dag0"),)), log=lines.append)
    assert result.error == ""
    assert any("--- block" in line for line in lines)
    assert not [line for line in lines if " worker_lost " in line]
