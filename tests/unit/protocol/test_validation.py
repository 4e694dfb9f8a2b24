"""Validation: every fault is found, told in one sentence, and all of them at once."""

import time
from datetime import UTC, datetime

import msgspec
import pytest

from headway.protocol.dag import Argv, Dag, ItemRef, OutputRef, Python, Shell, Task
from headway.protocol.limits import COMMAND_BYTES_MAX, DAG_BYTES_MAX, ITEM_BYTES_MAX, TASKS_PER_DAG_MAX
from headway.protocol.params import Param
from headway.protocol.validation import PROBLEMS_MAX, Problem, validate


def task(name="a", *upstream, **fields):
    """Return a task that is legal unless `fields` say otherwise."""
    return Task(task_id=name, upstream=upstream, **{"command": Shell(script="true"), **fields})


def dag_of(*tasks, **fields):
    """Return a DAG of these tasks."""
    return Dag(**{"dag_id": "d", "tasks": tasks, **fields})


def argv(*args):
    """Return a task that runs these arguments, with something upstream to refer to."""
    return task("t", "a", command=Argv(args=args))


def messages(dag):
    """Return what is wrong."""
    return [problem.message for problem in validate(dag)]


JANUARY, FEBRUARY = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)

LEGAL = dag_of(
    task("a", env={"PGHOST": "db"}, cwd="/srv", timeout=0.5, queued_timeout=60.0, retries=1_000, priority=-1_000),
    task("b", "a", command=Argv(args=("x", "{{ ds }} {{params.region}}", OutputRef(task_id="a", path=("rows", 0))))),
    task("c", "b", inputs=("a",), retry_delay=3600.0, retry_backoff=2.0),
    task("m", "a", over=OutputRef(task_id="a", path=("parts",)), command=Argv(args=("x", "{{ item }}", ItemRef()))),
    task("n", "m", over=OutputRef(task_id="m", path=(0, "x"))),
    params={"region": "EU", "rate": 0.5, "limit": 2**63 - 1, "note": None, "full": True},
)


def test_a_legal_dag_has_no_problem():
    """Outputs may come from afar."""
    assert validate(LEGAL) == ()


@pytest.mark.parametrize(
    ("dag", "message"),
    [
        (dag_of(task("a", command=Python(function="f"))), "task 'a': it does not say where its function stands"),
        (dag_of(), "DAG 'd' has no task: make one with shell(), argv() or python()"),
        (dag_of(task(), dag_id="a b"), "DAG id 'a b' is not a legal name: use letters"),
        (dag_of(task(), params={"a-b": 1}), "parameter 'a-b' is not a legal name"),
        (dag_of(task(), params={"p": float("nan")}), "parameter 'p' is nan, which JSON cannot say"),
        (dag_of(task(), params={"p": float("inf")}), "parameter 'p' is inf, which JSON cannot say"),
        (dag_of(task(), params={"p": 2**63}), "parameter 'p' is beyond 64 bits: write it as text"),
        (dag_of(task(), params={"p": "\0"}), "parameter 'p' holds a NUL character"),
        (dag_of(task(), params={"p": Param(type="integer", default="x")}), "parameter 'p' is a whole number, and 'x'"),
        (dag_of(task(), params={"p": Param(minimum=2, maximum=1)}), "its minimum 2 is above its maximum 1"),
        (dag_of(task(), params={"p": Param(enum=())}), "parameter 'p' can have no value: its enum is empty"),
        (dag_of(task(), params={"p": Param()}, schedule="@daily"), "'p' has no default: give it a value, for a sched"),
        (dag_of(task(), schedule="61 * * * *"), "DAG 'd': '61 * * * *' is not cron: bad minute"),
        (dag_of(task(), timezone="Mars"), "DAG 'd': timezone: 'Mars' is not a known time zone"),
        (dag_of(task(), start_date=FEBRUARY, end_date=JANUARY), "end_date 2026-01-01T00:00:00+00:00 is before start"),
        (
            dag_of(task(), schedule="0 0 15 5 *", start_date=JANUARY, end_date=FEBRUARY),
            "no date of schedule '0 0 15",
        ),
        (dag_of(task(), catchup=True), "catchup is set without a schedule"),
        (dag_of(task(), run_timeout=0.0), "run_timeout is 0 s, and may be from 0.001 s on"),
        (dag_of(task(), max_active_runs=0), "max_active_runs is 0, and may be from 1 to 1000"),
        (dag_of(task(), schedule=()), "DAG 'd': schedule lists 0 dates, and may list 1 to 1000"),
        (dag_of(task(), schedule="@listed"), "there is no schedule '@listed'"),
        (dag_of(task(), schedule="@continuous"), "'@continuous' begins a run when the one before it has ended"),
        (dag_of(task(), owner="\ud800"), "DAG 'd': a text in it holds half a character"),
        (dag_of(task("a"), task("a")), "task id 'a' is used more than once: give each task its own"),
        (dag_of(task("a", "a")), "task 'a': it waits for itself"),
        (dag_of(task("a"), task("b", "a", "a")), "task 'b': it waits for 'a' more than once"),
        (
            dag_of(task("extract"), task("load", "extrct")),
            "task 'load': it waits for 'extrct', which is no task of this DAG (did you mean 'extract'?)",
        ),
        (dag_of(task("a"), task("b", "zzz")), "task 'b': it waits for 'zzz', which is no task of this DAG"),
        (
            dag_of(task("a", "c"), task("b", "a"), task("c", "b")),
            "3 tasks wait for each other, 'b' -> 'c' -> 'a' -> 'b': remove one of these dependencies",
        ),
        (dag_of(task("a", inputs=("a",))), "task 'a': it takes its own output"),
        (dag_of(task("a", over=OutputRef(task_id="a"))), "task 'a': it takes its own output"),
        (
            dag_of(task("extract"), task("b", over=OutputRef(task_id="extrac"))),
            "task 'b': it takes the output of 'extrac', which is no task of this DAG (did you mean 'extract'?)",
        ),
        (
            dag_of(task("a"), task("b", over=OutputRef(task_id="a"))),
            "task 'b': it takes the output of 'a', which is not upstream: let it wait for 'a'",
        ),
        (
            dag_of(task("a"), task("b", "a", over=OutputRef(task_id="a", path=(-1,)))),
            "task 'b': the path [-1] into the output of 'a' counts from the end: count from 0",
        ),
        (
            dag_of(task("a", over=(1,)), task("b", "a", over=OutputRef(task_id="a", path=("x",)))),
            "task 'b': the path ['x'] into the output of 'a' has no index: that task is mapped, and its output is a",
        ),
        (
            dag_of(task("a", over=(1,), command=Argv(args=("x", ItemRef(path=(-1,)))))),
            "task 'a': the path [-1] into its item counts from the end: count from 0",
        ),
        (dag_of(task("a"), argv("x", ItemRef())), "task 't': it takes an item, and only a task with `over` has one"),
        (dag_of(task("a"), argv("x", "{{ item }}")), "task 't': there is no placeholder 'item'"),
        (dag_of(task("a", over=(1,), branch=True)), "task 'a': it is a branch and mapped: let one task choose"),
        (dag_of(task("a", over=())), "task 'a': it is mapped over a list of 0 items, and may be over 1 to 10000"),
        (dag_of(task("a", over=(0,) * 10_001)), "task 'a': it is mapped over a list of 10001 items"),
        (
            dag_of(task("a", over=("x" * ITEM_BYTES_MAX,))),
            f"task 'a': item 0 of `over` takes {ITEM_BYTES_MAX + 2} bytes, and may take {ITEM_BYTES_MAX}: put the",
        ),
        (
            dag_of(task("a", over=("x" * (ITEM_BYTES_MAX - 2),) * 17)),
            f"task 'a': the list that it is mapped over takes {17 * ITEM_BYTES_MAX} bytes, and may",
        ),
        (dag_of(task("a", over=(1, "x\0"))), "task 'a': item 1 of `over` holds a NUL character"),
        (dag_of(task("a", over=("\ud800",))), "task 'a': item 0 of `over` holds half a character"),
        (
            dag_of(task("extract"), task("b", "extract", inputs=("extrac",))),
            "task 'b': it takes the output of 'extrac', which is no task of this DAG (did you mean 'extract'?)",
        ),
        (
            dag_of(task("a"), task("b", inputs=("a",))),
            "task 'b': it takes the output of 'a', which is not upstream: let it wait for 'a'",
        ),
        (
            dag_of(task("a"), task("t", command=Argv(args=("x", OutputRef(task_id="a"))))),
            "task 't': it takes the output of 'a', which is not upstream: let it wait for 'a'",
        ),
        (dag_of(task("a b")), "task 'a b': task id 'a b' is not a legal name"),
        (dag_of(task(queue="IO")), "task 'a': queue 'IO' is not a legal name"),
        (dag_of(task(command=Shell(script=" \n"))), "task 'a': its script is empty"),
        (dag_of(task(command=Shell(script="x {{ ds }}"))), "task 'a': its script holds '{{', but scripts are never"),
        (dag_of(task(command=Shell(script="x\0"))), "task 'a': its script holds a NUL character"),
        (dag_of(task(command=Shell(script="\ud800"))), "task 'a': a text in it holds half a character"),
        (dag_of(task(command=Shell(script="x" * COMMAND_BYTES_MAX))), f"and may take {COMMAND_BYTES_MAX}: put the"),
        (dag_of(task(), argv()), "task 't': its argv is empty: the first argument names the program"),
        (dag_of(task(), argv("")), "task 't': its argv is empty"),
        (dag_of(task(), argv("x", "\0")), "task 't': its argument '\\x00' holds a NUL character"),
        (dag_of(task(), argv("x", "{{ ds")), "task 't': its argument '{{ ds' holds '{{' without a name and '}}'"),
        (dag_of(task(), argv("x", "{{ dss }}")), "task 't': there is no placeholder 'dss' (did you mean 'ds'?); there"),
        (dag_of(task(), argv("{{ params.x }}")), "task 't': there is no placeholder 'params.x'"),
        (dag_of(task(), argv("x", "{{ ds|upper }}")), "task 't': there is no placeholder 'ds|upper'"),
        (
            dag_of(task(), argv("x", OutputRef(task_id="a", path=(-1,)))),
            "task 't': the path [-1] into the output of 'a' counts from the end: count from 0",
        ),
        (dag_of(task(env={"A-B": ""})), "task 'a': environment variable 'A-B' is not a legal name"),
        (dag_of(task(env={"HEADWAY_X": ""})), "task 'a': it sets 'HEADWAY_X', and names that start with HEADWAY_ are"),
        (dag_of(task(env={"A": "\0"})), "task 'a': its environment variable 'A' holds a NUL character"),
        (dag_of(task(secrets=("A-B",))), "task 'a': secret 'A-B' is not a legal name"),
        (
            dag_of(task(secrets=("HEADWAY_X",))),
            "task 'a': it names the secret 'HEADWAY_X', and this environment",
        ),
        (
            dag_of(task(secrets=("PATH",))),
            "task 'a': it names the secret 'PATH', and this environment variable",
        ),
        (dag_of(task(secrets=("A", "A"))), "task 'a': it sets the environment variable 'A' twice"),
        (dag_of(task(secrets=("A",), env={"A": ""})), "task 'a': it sets the environment variable 'A' twice"),
        (dag_of(task(cwd="")), "task 'a': cwd '' is no folder"),
        (dag_of(task(cwd="/\0")), "task 'a': cwd '/\\x00' is no folder"),
        (dag_of(task(priority=1_001)), "task 'a': priority is 1001, and may be from -1000 to 1000"),
        (dag_of(task(pool="Db")), "task 'a': pool 'Db' is not a legal name"),
        (dag_of(task(pool="db", pool_slots=0)), "task 'a': pool_slots is 0, and may be from 1 to 1e+06"),
        (dag_of(task(pool_slots=2)), "task 'a': it takes 2 slots of no pool: name its pool"),
        (dag_of(task(max_active=0)), "task 'a': max_active is 0, and may be from 1 to 100000"),
        (
            msgspec.structs.replace(dag_of(task()), max_active_tasks=0),
            "max_active_tasks is 0, and may be from 1 to 100000",
        ),
        (dag_of(task(retries=-1)), "task 'a': retries is -1, and may be from 0 to 1000"),
        (dag_of(task(infra_retries=1_001)), "task 'a': infra_retries is 1001, and may be from 0 to 1000"),
        (dag_of(task(retry_delay=-1.0)), "task 'a': retry_delay is -1, and may be from 0ms to 366d"),
        (dag_of(task(retry_backoff=0.5)), "task 'a': retry_backoff is 0.5, and may be from 1 to 100"),
        (dag_of(task(retry_backoff=float("nan"))), "task 'a': retry_backoff is nan, and may be from 1 to 100"),
        (dag_of(task(retry_delay_max=1e12)), "task 'a': retry_delay_max is 1e+12, and may be from 0ms to 366d"),
        (dag_of(task(timeout=0.0)), "task 'a': timeout is 0, and may be from 1ms to 366d"),
        (dag_of(task(queued_timeout=0.0)), "task 'a': queued_timeout is 0, and may be from 1ms to 366d"),
        (dag_of(task(retry_timeout=0.0)), "task 'a': retry_timeout is 0, and may be from 1ms to 366d"),
        (dag_of(task(poll_every=0.01)), "task 'a': poll_every is 0.01, and may be from 100ms to 366d"),
        (dag_of(task(poll_every=1.0, poll_timeout=0.0)), "task 'a': poll_timeout is 0, and may be from 1ms to 366d"),
        (dag_of(task(poll_timeout=9.0)), "task 'a': it says poll_timeout without poll_every, how often to ask"),
        (
            dag_of(task(exit_codes={3: "poll", 4: "fail"})),
            "task 'a': its exit code 3 means 'poll', and poll_every does not say how often to ask",
        ),
        (
            dag_of(task(poll_every=1.0, exit_codes={75: "fail"})),
            "task 'a': it says poll_every, and no exit code means 'poll': its exit_codes give 75 another meaning",
        ),
        (dag_of(task(setup=True, teardown=True)), "task 'a': it is a setup and a teardown: make two tasks"),
        (dag_of(task(setup=True, branch=True)), "task 'a': it is a branch and a setup: make two tasks"),
        (dag_of(task(teardown=True, branch=True)), "task 'a': it is a branch and a teardown: make two tasks"),
        (
            dag_of(task(teardown=True, trigger_rule="all_done")),
            "task 'a': its trigger_rule is 'all_done', and that of a teardown is always 'all_done_setup_success'",
        ),
        (dag_of(task(on_failure_fail_dagrun=True)), "task 'a': on_failure_fail_dagrun is for a teardown: any other"),
        (
            dag_of(task(retry_delay=7200.0)),
            "task 'a': retry_delay 2h is above retry_delay_max 1h: raise retry_delay_max",
        ),
    ],
)
def test_a_fault_is_told_in_one_sentence(dag, message):
    """And nothing else is said of a DAG that has no other."""
    (found,) = messages(dag)
    assert message in found


def test_problems_name_the_task_they_are_about():
    """So whoever knows the lines can say where."""
    assert validate(dag_of(task("a", "a"), task("b", cwd=""))) == (
        Problem("task 'a': it waits for itself", "a"),
        Problem("task 'b': cwd '' is no folder", "b"),
    )


def test_all_problems_are_told_at_once():
    """Those of the DAG and of each task, in a cycle too."""
    dag = dag_of(
        task("a", "b", retries=-1, queue="Q"),
        task("b", "a", inputs=("c",), command=Shell(script="")),
        task("c"),
        dag_id="",
    )
    assert len(messages(dag)) == 5


def test_a_long_cycle_is_told_by_its_first_tasks():
    """Nobody reads a thousand names."""
    dag = dag_of(*(task(f"t{i}", f"t{(i - 1) % 1000}") for i in range(1000)))
    (found,) = messages(dag)
    assert found.startswith("1000 tasks wait for each other, 't1' -> 't2'")
    assert found.endswith("'t10' -> ... -> 't1': remove one of these dependencies")


def test_too_many_problems_are_cut_with_a_word():
    """The last sentence says that there are more."""
    found = messages(dag_of(*(task(f"t{i}", cwd="") for i in range(PROBLEMS_MAX + 1))))
    assert len(found) == PROBLEMS_MAX + 1
    assert found[-1] == f"there are more than {PROBLEMS_MAX} problems; these are the first"


def test_a_dag_has_bounds():
    """Of tasks and of bytes."""
    many = dag_of(*[task()] * (TASKS_PER_DAG_MAX + 1))
    assert f"DAG 'd' has {TASKS_PER_DAG_MAX + 1} tasks, and may have {TASKS_PER_DAG_MAX}: split it" in messages(many)
    (large,) = messages(dag_of(task(), description="x" * DAG_BYTES_MAX))
    assert f"and may take {DAG_BYTES_MAX}: split it" in large


def test_names_are_suggested_only_among_a_few():
    """A look through thousands for each fault would take longer than the author's."""
    dag = dag_of(*(task(f"task_{i}") for i in range(1_000)), task("last", "tsk_1"))
    assert messages(dag) == ["task 'last': it waits for 'tsk_1', which is no task of this DAG"]


def test_time_grows_with_tasks_and_edges_only():
    """Four times the tasks take about four times as long, not sixteen."""

    def seconds(count):
        tasks = (
            task(
                f"t{i}",
                *(f"t{j}" for j in range(max(0, i - 3), i)),
                command=Argv(args=("x", "{{ ds }}", *([OutputRef(task_id=f"t{i - 9}")] if i > 9 else []))),
            )
            for i in range(count)
        )
        dag = dag_of(*tasks)
        begin = time.process_time()
        assert validate(dag) == ()
        return time.process_time() - begin

    assert seconds(10_000) < 10 * seconds(2_500)


def test_values_stay_as_they_are():
    """Validation changes nothing."""
    before = msgspec.json.encode(LEGAL)
    validate(LEGAL)
    assert msgspec.json.encode(LEGAL) == before
