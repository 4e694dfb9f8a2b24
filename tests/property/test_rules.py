"""Trigger rules against a direct evaluation of what they say, for all ways in which up to four upstreams may stand."""

from itertools import product
from typing import get_args

import pytest

from headway.protocol.dag import TriggerRule
from headway.scheduler.core.rules import Ends, Verdict, judge

UPSTREAMS_MAX = 4
RULES = get_args(TriggerRule)

STATES = ("success", "failed", "upstream_failed", "skipped", None)
BAD = {"failed", "upstream_failed"}

RUNS_AT = {"one_success": {"success"}, "one_failed": BAD, "one_done": {"success", "failed"}}
"""Ends of one upstream that are enough for a task to begin."""

FALLS_AT = {"all_success": BAD, "none_failed": BAD, "none_failed_min_one_success": BAD}
"""Ends of one upstream that are enough for a task to fall with it."""

SKIPS_AT = {
    "all_success": {"skipped"},
    "all_done_min_one_success": {"skipped"},
    "none_skipped": {"skipped"},
    "all_failed": {"success", "skipped"},
    "all_skipped": {"success", *BAD},
}
"""Ends of one upstream that are enough for a task to be skipped."""

WITHOUT_SUCCESS = {"one_success": "UPSTREAM_FAILED", "all_done_min_one_success": "UPSTREAM_FAILED"}
WITH_SKIPS_ALONE = {"one_success": "SKIP", "none_failed_min_one_success": "SKIP"}
"""What becomes of a task whose upstreams have all ended, none of them well, or all of them skipped."""


def evaluate(rule: str, states: tuple[str | None, ...]) -> str:
    """Say what a rule says in words, of the states of all upstreams."""
    seen = set(states)
    at_once = [(RUNS_AT, "READY"), (FALLS_AT, "UPSTREAM_FAILED"), (SKIPS_AT, "SKIP")]
    found = [verdict for table, verdict in at_once if seen & table.get(rule, set())]
    if rule == "always" or found:
        return found[0] if found else "READY"
    if None in seen:
        return "WAIT"
    if seen == {"skipped"} and rule in WITH_SKIPS_ALONE:
        return WITH_SKIPS_ALONE[rule]
    if "success" not in seen and rule in WITHOUT_SUCCESS:
        return WITHOUT_SUCCESS[rule]
    return "SKIP" if rule in RUNS_AT else "READY"


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
