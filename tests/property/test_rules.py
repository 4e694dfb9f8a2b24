"""Trigger rules against a direct evaluation of what they say, for all ways in which up to four upstreams may stand."""

from itertools import product
from typing import get_args

import pytest

from headway.protocol.dag import TriggerRule
from headway.scheduler.core.rules import Ends, Verdict, judge
from world.rules import evaluate

UPSTREAMS_MAX = 4
RULES = get_args(TriggerRule)
STATES = ("success", "failed", "upstream_failed", "skipped", None)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_means_what_it_says(rule):
    """All combinations; an upstream that has not ended is None."""
    for states in (one for count in range(1, UPSTREAMS_MAX + 1) for one in product(STATES, repeat=count)):
        ends = Ends(*(states.count(state) for state in STATES[:4]))
        assert judge(rule, ends, len(states)) is Verdict[evaluate(rule, states)], states


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_waits_once_all_upstreams_have_ended(rule):
    """Else a task would stand still for ever (P4)."""
    for states in (one for count in range(1, UPSTREAMS_MAX + 1) for one in product(STATES[:4], repeat=count)):
        ends = Ends(*(states.count(state) for state in STATES[:4]))
        assert judge(rule, ends, len(states)) is not Verdict.WAIT
