"""Trigger rules as a table: how the upstreams stand, and what becomes of the task that waits for them."""

import msgspec
import pytest

from headway.protocol.states import FINAL_TASK_STATES, TaskState
from headway.scheduler.core.rules import Edge, Ends, Verdict, ends_of, judge, move_counters
from world import running

LETTERS = {
    "s": TaskState.SUCCESS,
    "f": TaskState.FAILED,
    "c": TaskState.CANCELLED,
    "u": TaskState.UPSTREAM_FAILED,
    "k": TaskState.SKIPPED,
}
"""How an upstream ended; a dot is one that has not."""

VERDICTS = {"run": Verdict.READY, "wait": Verdict.WAIT, "skip": Verdict.SKIP, "fall": Verdict.UPSTREAM_FAILED}

CASES = """
    all_success  ..  wait    all_success  s.  wait    all_success  ss  run
    all_success  f.  fall    all_success  c.  fall    all_success  u.  fall
    all_success  k.  skip    all_success  sk  skip    all_success  kf  fall

    all_failed   ..  wait    all_failed   f.  wait    all_failed   fu  run     all_failed  fc  run
    all_failed   s.  skip    all_failed   k.  skip    all_failed   fs  skip

    all_done     s.  wait    all_done     f.  wait    all_done     fk  run     all_done    us  run

    all_done_min_one_success  s.  wait    all_done_min_one_success  sf  run    all_done_min_one_success  fu  fall
    all_done_min_one_success  f.  wait    all_done_min_one_success  k.  skip   all_done_min_one_success  sk  skip

    all_done_setup_success    s.  wait    all_done_setup_success    fk  run

    all_skipped  k.  wait    all_skipped  kk  run
    all_skipped  s.  skip    all_skipped  f.  skip    all_skipped  u.  skip

    one_success  ..  wait    one_success  f.  wait    one_success  s.  run     one_success  fs  run
    one_success  kk  skip    one_success  kf  fall    one_success  fu  fall

    one_failed   s.  wait    one_failed   f.  run     one_failed   u.  run     one_failed   c.  run
    one_failed   ss  skip    one_failed   sk  skip

    one_done     ..  wait    one_done     u.  wait    one_done     k.  wait
    one_done     s.  run     one_done     f.  run     one_done     uk  skip

    none_failed  ..  wait    none_failed  k.  wait    none_failed  kk  run     none_failed  sk  run
    none_failed  f.  fall    none_failed  ku  fall

    none_failed_min_one_success  s.  wait    none_failed_min_one_success  sk  run
    none_failed_min_one_success  kk  skip    none_failed_min_one_success  f.  fall

    none_skipped  s.  wait   none_skipped  sf  run    none_skipped  uu  run    none_skipped  k.  skip

    always        ..  run    always        f.  run
"""
WORDS = CASES.split()
ROWS = list(zip(WORDS[::3], WORDS[1::3], WORDS[2::3], strict=True))


def heard(ends: str, edge: Edge = Edge.PLAIN) -> Ends:
    """Return the counters of a task that has heard these ends, one after the other."""
    task = running("a").task("a")
    for letter in ends.replace(".", ""):
        task = msgspec.structs.replace(task, **move_counters(task, edge, new=LETTERS[letter]))
    return ends_of(task)


@pytest.mark.parametrize(("rule", "ends", "verdict"), ROWS)
def test_a_rule_says_what_becomes_of_a_task(rule, ends, verdict):
    """Two upstreams each; a failure or a skip counts as soon as it is heard."""
    assert judge(rule, heard(ends), 2) is VERDICTS[verdict]


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [("ss", "run"), ("fs", "run"), ("ff", "fall"), ("fk", "fall"), ("kk", "skip"), ("uk", "fall"), ("s", "wait")],
)
def test_a_teardown_runs_if_one_of_its_setups_did(ends, verdict):
    """Both of its upstreams are setups here."""
    assert judge("all_done_setup_success", heard(ends, Edge.SETUP), 2, setups=2) is VERDICTS[verdict]


@pytest.mark.parametrize(
    ("above", "setups", "verdict"),
    [("ff", "ss", "run"), ("ff", "s", "wait"), ("..", "f", "fall"), ("..", "k", "skip"), ("ss", "fk", "fall")],
)
def test_a_setup_further_up_must_have_succeeded_whatever_the_rule(above, setups, verdict):
    """Two upstreams, and two setups that the task lies behind."""
    counted = {
        name: getattr(heard(setups, Edge.SCOPE), name) for name in ("setup_success", "setup_failed", "setup_skipped")
    }
    assert judge("all_done", heard(above)._replace(**counted), 2, setups=2) is VERDICTS[verdict]


@pytest.mark.parametrize("rule", ["all_success", "one_success", "always"])
def test_what_a_branch_does_not_choose_is_skipped_whatever_the_rule(rule):
    """The branch itself succeeded."""
    ends = heard("s", Edge.UNCHOSEN)
    assert (ends.success, ends.unchosen) == (1, 1)
    assert judge(rule, ends, 1) is Verdict.SKIP


def test_a_branch_that_fails_chooses_nothing():
    """Its downstreams hear of the failure and of nothing else."""
    assert heard("f", Edge.UNCHOSEN) == Ends(failed=1)


@pytest.mark.parametrize("edge", Edge)
@pytest.mark.parametrize("state", sorted(FINAL_TASK_STATES))
def test_an_end_that_is_taken_back_leaves_no_trace(edge, state):
    """Counters move both ways, and from one end to another."""
    task = running("a").task("a")
    there = move_counters(task, edge, new=state)
    moved = msgspec.structs.replace(task, **there)
    assert there
    assert ends_of(moved) != ends_of(task)
    assert set(move_counters(moved, edge, old=state).values()) == {0}
    assert move_counters(moved, edge, old=state, new=state) == there
