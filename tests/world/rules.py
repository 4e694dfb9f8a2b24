"""What trigger rules, branches, setups and teardowns come to, told without counters and compiled graphs.

Tasks are judged by the states of all their upstreams, and whatever may be heard first is tried: which of a failed and a
skipped upstream is heard first decides whether a task falls or is skipped, as in Airflow.
"""

from random import Random
from typing import Any

from headway.protocol.dag import Dag, Task, rule_of
from headway.protocol.names import TaskId

States = dict[TaskId, str]

BAD = {"failed", "upstream_failed", "cancelled"}

RUNS_AT = {"one_success": {"success"}, "one_failed": BAD, "one_done": {"success", "failed", "cancelled"}}
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
    """Say what a rule says in words, of the states of all upstreams; None has not ended."""
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
    return "SKIP" if rule in RUNS_AT and states else "READY"


def verdicts(dag: Dag, task: Task, states: States, choices: dict[TaskId, Any]) -> set[str]:
    """Return what may become of a task whose upstreams all ended as `states` says, in whatever order it hears so."""
    if not task.upstream:
        return {"READY"}
    tasks = {one.task_id: one for one in dag.tasks}
    setups = _setups_above(dag, task) - set(task.upstream)
    unchosen = {name for name in choices.keys() & set(task.upstream) if _leaves_out(dag, name, task, choices)}

    def judge(heard: frozenset[TaskId]) -> str:
        above = tuple(states[name] if name in heard else None for name in task.upstream)
        if unchosen & heard and not task.teardown:
            return "SKIP"
        if rule_of(task) == "all_done_setup_success":
            own = [state for name, state in zip(task.upstream, above, strict=True) if tasks[name].setup]
            return evaluate("all_done", above) if None in above or not own else _of_teardown(own)
        ends = {states[name] for name in setups & heard}
        if ends & BAD or "skipped" in ends:
            return "UPSTREAM_FAILED" if ends & BAD else "SKIP"
        verdict = evaluate(task.trigger_rule, above)
        return "WAIT" if verdict == "READY" and not setups <= heard else verdict

    found: set[str] = set()
    waiting = {frozenset[TaskId]()}
    while waiting:
        heard = waiting.pop()
        verdict = judge(heard)
        if verdict == "WAIT":
            waiting |= {heard | {name} for name in (set(task.upstream) | setups) - heard}
        else:
            found.add(verdict)
    return found


def _of_teardown(setups: list[str | None]) -> str:
    if set(setups) == {"skipped"}:
        return "SKIP"
    return "READY" if "success" in setups else "UPSTREAM_FAILED"


def _setups_above(dag: Dag, task: Task) -> set[TaskId]:
    """Return the setups that a task lies behind, and in front of whose teardowns, if they have any."""
    if rule_of(task) in ("all_done_setup_success", "always"):
        return set()
    behind = _relatives(dag, task.task_id, down=True)
    found = set()
    for setup in (one for one in dag.tasks if one.setup and one.task_id in _relatives(dag, task.task_id, down=False)):
        teardowns = {one.task_id for one in dag.tasks if one.teardown and setup.task_id in one.upstream}
        if not teardowns or teardowns & behind:
            found.add(setup.task_id)
    return found


def _relatives(dag: Dag, name: TaskId, *, down: bool) -> set[TaskId]:
    edges = [(above, task.task_id) for task in dag.tasks for above in task.upstream]
    found: set[TaskId] = set()
    new = {name}
    while new:
        new = {(b if down else a) for a, b in edges if (a if down else b) in new} - found
        found |= new
    return found


def follow(dag: Dag, branch: TaskId, choice: object) -> set[TaskId]:
    """Return the direct downstreams of a branch that its choice does not leave out."""
    ways = {task.task_id for task in dag.tasks if branch in task.upstream}
    names = [choice] if isinstance(choice, str) else choice
    if isinstance(names, list):
        chosen = {way for way in ways for name in names if f"{way}.".startswith(f"{name}.")}
    else:
        chosen = ways if choice is True else set()
    return ways & chosen.union(*(_relatives(dag, name, down=True) for name in chosen))


def _leaves_out(dag: Dag, branch: TaskId, task: Task, choices: dict[TaskId, Any]) -> bool:
    return task.task_id not in follow(dag, branch, choices[branch])


def draw_choice(dag: Dag, branch: TaskId, number: int) -> object:
    """Return what an attempt of a branch chooses, always the same; now and then no task of those it may choose."""
    ways = sorted(task.task_id for task in dag.tasks if branch in task.upstream)
    random = Random(f"{branch} {number}")
    some = random.sample(ways, random.randint(0, len(ways)))
    return random.choice([some, some, some, (some or [None])[0], True, False, None, ["nobody"]])


def deciders_of(dag: Dag) -> set[TaskId]:
    """Return who decides what becomes of a run: leaves, if one takes away the teardowns that count for nothing."""
    counting = [task for task in dag.tasks if not task.teardown or task.on_failure_fail_dagrun] or list(dag.tasks)
    inner = {name for task in counting for name in task.upstream}
    return {task.task_id for task in counting} - inner
