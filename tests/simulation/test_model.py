"""Every state of one task instance, within bounds; see model.py and docs/proof.md."""

import pytest

from simulation.model import Model

HOLE = "a boot may be granted an attempt between the end of its lease and the decision that it is lost: docs/proof.md"


@pytest.mark.parametrize(
    ("faults", "times"), [(0, 2), pytest.param(1, 1, marks=pytest.mark.xfail(reason=HOLE, raises=AssertionError))]
)
def test_no_reachable_state_breaks_what_must_hold(faults: int, times: int):
    """One grant, one child, true counters and a stored reason, whatever comes in whatever order."""
    model = Model(faults=faults, times=times)
    model.explore()
    print(f"{len(model.visited)} states, {model.steps} steps, {model.ends} of them ends")  # noqa: T201
    assert model.ends
