"""Every state of one task instance, within bounds; see model.py and docs/proof.md."""

import pytest

from simulation.model import Model

ALL = 1_000
"""More messages than there are."""


@pytest.mark.parametrize(("faults", "doubles"), [(0, ALL), (1, 1)])
def test_no_reachable_state_breaks_what_must_hold(faults: int, doubles: int):
    """One grant, one child, true counters and a stored reason, whatever comes in whatever order."""
    model = Model(faults=faults, doubles=doubles)
    model.explore()
    print(f"{len(model.visited)} states, {model.steps} steps, {model.ends} of them ends")  # noqa: T201
    assert model.ends
