"""Trigger rules: whether a task that waits begins, is skipped, or falls with its upstreams.

Only counters are looked at, so that the end of one upstream costs the same whatever their number. Names and meanings
are Airflow's. A rule is a row of RULES: its conditions are asked in order, and the first that holds gives the verdict;
where none does, the task waits on. Cancelled counts as failed; a task that fell with its upstreams is apart.
"""

from collections.abc import Callable
from enum import Enum, StrEnum, auto
from typing import Final, NamedTuple

from headway.protocol.dag import TriggerRule
from headway.protocol.states import TaskState

from .rows import TaskInstance


class Verdict(Enum):
    """What becomes of a task that waits."""

    READY = auto()
    WAIT = auto()
    SKIP = auto()
    UPSTREAM_FAILED = auto()


class Ends(NamedTuple):
    """How many upstreams of a task ended how, and how many of its setups; see TaskInstance."""

    success: int = 0
    failed: int = 0
    upstream_failed: int = 0
    skipped: int = 0
    unchosen: int = 0
    setup_success: int = 0
    setup_failed: int = 0
    setup_skipped: int = 0


class Edge(StrEnum):
    """What an upstream is to a task that hears of its end."""

    PLAIN = auto()
    UNCHOSEN = auto()  # a branch that goes another way, if it succeeds
    SETUP = auto()  # a direct upstream that the rule all_done_setup_success looks at
    SCOPE = auto()  # a setup further up: the task lies between it and its teardown


_Condition = Callable[[Ends, int, int], bool]


def _all_done(ends: Ends, total: int, _setups: int) -> bool:
    return ends.success + ends.failed + ends.upstream_failed + ends.skipped >= total


def _all_skipped(ends: Ends, total: int, _setups: int) -> bool:
    return ends.skipped >= total


def _any_success(ends: Ends, _total: int, _setups: int) -> bool:
    return ends.success > 0


def _any_skipped(ends: Ends, _total: int, _setups: int) -> bool:
    return ends.skipped > 0


def _any_failure(ends: Ends, _total: int, _setups: int) -> bool:
    return ends.failed + ends.upstream_failed > 0


def _any_ran(ends: Ends, _total: int, _setups: int) -> bool:
    return ends.success + ends.failed > 0


def _done_without_success(ends: Ends, total: int, setups: int) -> bool:
    return not ends.success and _all_done(ends, total, setups)


def _done_with_setups_skipped(ends: Ends, total: int, setups: int) -> bool:
    return 0 < setups <= ends.setup_skipped and _all_done(ends, total, setups)


def _done_without_setup(ends: Ends, total: int, setups: int) -> bool:
    return setups > 0 and not ends.setup_success and _all_done(ends, total, setups)


def _at_once(_ends: Ends, _total: int, _setups: int) -> bool:
    return True


_READY, _SKIP, _FALL = Verdict.READY, Verdict.SKIP, Verdict.UPSTREAM_FAILED

RULES: Final[dict[TriggerRule, tuple[tuple[_Condition, Verdict], ...]]] = {
    "all_success": ((_any_failure, _FALL), (_any_skipped, _SKIP), (_all_done, _READY)),
    "all_failed": ((_any_success, _SKIP), (_any_skipped, _SKIP), (_all_done, _READY)),
    "all_done": ((_all_done, _READY),),
    "all_done_min_one_success": ((_any_skipped, _SKIP), (_done_without_success, _FALL), (_all_done, _READY)),
    "all_done_setup_success": (
        (_done_with_setups_skipped, _SKIP),
        (_done_without_setup, _FALL),
        (_all_done, _READY),
    ),
    "all_skipped": ((_any_ran, _SKIP), (_any_failure, _SKIP), (_all_done, _READY)),
    "one_success": ((_any_success, _READY), (_all_skipped, _SKIP), (_all_done, _FALL)),
    "one_failed": ((_any_failure, _READY), (_all_done, _SKIP)),
    "one_done": ((_any_ran, _READY), (_all_done, _SKIP)),
    "none_failed": ((_any_failure, _FALL), (_all_done, _READY)),
    "none_failed_min_one_success": ((_any_failure, _FALL), (_all_skipped, _SKIP), (_all_done, _READY)),
    "none_skipped": ((_any_skipped, _SKIP), (_all_done, _READY)),
    "always": ((_at_once, _READY),),
}


def judge(rule: TriggerRule, ends: Ends, total: int, setups: int = 0) -> Verdict:
    """Say what becomes of a waiting task with `total` upstreams, so many of which ended how `ends` says.

    `setups` are those upstreams that are setups, for the rule all_done_setup_success; for any other the setups further
    up between which and their teardowns the task lies: all of them must have succeeded, whatever the rule.
    """
    if ends.unchosen:
        return Verdict.SKIP
    bound = setups > 0 and rule != "all_done_setup_success"
    if bound and ends.setup_failed:
        return Verdict.UPSTREAM_FAILED
    if bound and ends.setup_skipped:
        return Verdict.SKIP
    for holds, verdict in RULES[rule]:
        if holds(ends, total, setups):
            is_early = bound and verdict is Verdict.READY and ends.setup_success < setups
            return Verdict.WAIT if is_early else verdict
    return Verdict.WAIT


def ends_of(task: TaskInstance) -> Ends:
    """Return what a task has heard of its upstreams."""
    return Ends(
        task.up_success,
        task.up_failed,
        task.up_upstream_failed,
        task.up_skipped,
        task.up_unchosen,
        task.setup_success,
        task.setup_failed,
        task.setup_skipped,
    )


_OF_UPSTREAM: Final = {
    TaskState.SUCCESS: "up_success",
    TaskState.FAILED: "up_failed",
    TaskState.CANCELLED: "up_failed",
    TaskState.UPSTREAM_FAILED: "up_upstream_failed",
    TaskState.SKIPPED: "up_skipped",
}
_OF_SETUP: Final = {
    TaskState.SUCCESS: "setup_success",
    TaskState.FAILED: "setup_failed",
    TaskState.CANCELLED: "setup_failed",
    TaskState.UPSTREAM_FAILED: "setup_failed",
    TaskState.SKIPPED: "setup_skipped",
}
_COUNTERS: Final[dict[Edge, dict[TaskState, tuple[str, ...]]]] = {
    Edge.PLAIN: {state: (name,) for state, name in _OF_UPSTREAM.items()},
    Edge.UNCHOSEN: {
        state: (name, "up_unchosen") if state is TaskState.SUCCESS else (name,) for state, name in _OF_UPSTREAM.items()
    },
    Edge.SETUP: {state: (name, _OF_SETUP[state]) for state, name in _OF_UPSTREAM.items()},
    Edge.SCOPE: {state: (name,) for state, name in _OF_SETUP.items()},
}


def move_counters(
    task: TaskInstance, edge: Edge, *, old: TaskState | None = None, new: TaskState | None = None
) -> dict[str, int]:
    """Return the counters of `task` that change, with their values, as an upstream's final state goes from old to new.

    None stands for a state that is not final: an end that comes has no `old`, one that is taken back no `new`.
    """
    counters = _COUNTERS[edge]
    if old is None and new is not None:
        return {name: getattr(task, name) + 1 for name in counters[new]}
    moved: dict[str, int] = {}
    for state, step in ((old, -1), (new, 1)):
        for name in counters[state] if state is not None else ():
            moved[name] = moved.get(name, getattr(task, name)) + step
    return moved


def explain_end(rule: TriggerRule, edge: Edge, above: TaskInstance) -> str:
    """Say why the end of an upstream is also that of a task with this rule which never began."""
    if edge is Edge.UNCHOSEN and above.state is TaskState.SUCCESS:
        return f"branch {above.task_id} chose other ways"
    what = "setup" if edge is Edge.SCOPE else "upstream"
    return f"{what} task {above.task_id} ended as {above.state}, and the trigger rule is {rule}"
