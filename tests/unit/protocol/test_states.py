"""The state machine: every row of the three tables leads where it says, and every other pair leads nowhere."""

from itertools import product

import pytest

from headway.protocol.states import (
    ATTEMPT_TRANSITIONS,
    FINAL_ATTEMPT_STATES,
    FINAL_RUN_STATES,
    FINAL_TASK_STATES,
    RUN_TRANSITIONS,
    TASK_TRANSITIONS,
    AttemptChange,
    AttemptState,
    RunChange,
    RunState,
    TaskChange,
    TaskState,
    next_attempt_state,
    next_run_state,
    next_task_state,
)

ROWS = {
    next_task_state: """
        waiting release scheduled
        waiting inherit_failure upstream_failed
        waiting skip skipped
        waiting cancel cancelled
        waiting expand mapped
        mapped succeed success
        mapped fail failed
        mapped skip skipped
        mapped cancel cancelled
        scheduled admit queued
        scheduled requeue scheduled
        scheduled succeed success
        scheduled skip skipped
        scheduled retry up_for_retry
        scheduled fail failed
        scheduled cancel cancelled
        queued grant running
        queued rerun scheduled
        queued requeue scheduled
        queued succeed success
        queued skip skipped
        queued retry up_for_retry
        queued fail failed
        queued cancel cancelled
        running succeed success
        running skip skipped
        running poll up_for_reschedule
        running fail failed
        running retry up_for_retry
        running rerun scheduled
        running cancel cancelled
        up_for_retry wake scheduled
        up_for_retry cancel cancelled
        up_for_reschedule wake scheduled
        up_for_reschedule fail failed
        up_for_reschedule cancel cancelled
    """,
    next_attempt_state: """
        queued grant running
        queued withdraw withdrawn
        queued refuse refused
        running succeed success
        running skip skipped
        running poll polling
        running fail failed
        running lose lost
        running cancel cancelled
        polling admit queued
        polling fail failed
        polling cancel cancelled
        lost succeed success
        lost skip skipped
        lost fail failed
    """,
    next_run_state: """
        queued start running
        queued cancel cancelled
        running succeed success
        running fail failed
        running cancel cancelled
    """,
}
ALPHABETS = {
    next_task_state: (TaskState, TaskChange),
    next_attempt_state: (AttemptState, AttemptChange),
    next_run_state: (RunState, RunChange),
}
EXPECTED = {
    follow: {(old, change): new for old, change, new in (line.split() for line in rows.strip().splitlines())}
    for follow, rows in ROWS.items()
}
PAIRS = [
    (follow, state, change)
    for follow, (states, changes) in ALPHABETS.items()
    for state, change in product(states, changes)
]


@pytest.mark.parametrize(("follow", "state", "change"), PAIRS)
def test_a_change_leads_where_its_row_says_and_nowhere_without_one(follow, state, change):
    """The tables are repeated here by hand: a row that is added or lost by mistake fails."""
    assert follow(state, change) == EXPECTED[follow].get((state, change))


@pytest.mark.parametrize(
    ("table", "states", "final"),
    [
        (TASK_TRANSITIONS, TaskState, FINAL_TASK_STATES),
        (ATTEMPT_TRANSITIONS, AttemptState, FINAL_ATTEMPT_STATES),
        (RUN_TRANSITIONS, RunState, FINAL_RUN_STATES),
    ],
)
def test_a_state_is_final_exactly_if_nothing_leads_out_of_it(table, states, final):
    """What counts as final is what the table says."""
    assert set(states) - {old for old, _ in table} == set(final)


@pytest.mark.parametrize(
    ("table", "first"),
    [
        (TASK_TRANSITIONS, TaskState.WAITING),
        (ATTEMPT_TRANSITIONS, AttemptState.QUEUED),
        (RUN_TRANSITIONS, RunState.QUEUED),
    ],
)
def test_every_state_can_be_reached(table, first):
    """From the first state a way leads to each."""
    reached = {first}
    for _ in table:
        reached |= {new for (old, _), new in table.items() if old in reached}
    assert reached == set(type(first))


@pytest.mark.parametrize("changes", [TaskChange, AttemptChange, RunChange])
def test_every_change_has_a_row(changes):
    """A change that no table knows could never happen."""
    known = {change for table in (TASK_TRANSITIONS, ATTEMPT_TRANSITIONS, RUN_TRANSITIONS) for _, change in table}
    assert set(changes) <= known
