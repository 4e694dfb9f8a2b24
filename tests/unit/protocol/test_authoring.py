"""Authoring: what a DAG file in Python says becomes the DAG value; what it cannot mean is refused where it stands."""

import inspect
import sys
from functools import partial
from types import ModuleType
from typing import get_type_hints

import pytest

from headway import DAG, argv, group, item, python, shell
from headway.protocol.authoring import DAGS_MADE, DagKeywords, Place, TaskKeywords
from headway.protocol.dag import Argv, Code, ItemRef, OutputRef, Python, Shell, output_refs
from headway.protocol.errors import InvalidDag
from headway.protocol.keywords import DAG_KEYWORDS, TASK_KEYWORDS


def built(dag):
    """Return the tasks of a DAG by id."""
    value, _ = dag.build()
    return {task.task_id: task for task in value.tasks}


def upstream(dag):
    """Return who waits for whom."""
    return {name: task.upstream for name, task in built(dag).items()}


def test_a_dag_is_built_with_what_was_said():
    """Keywords of the DAG, commands and dependencies reach the value."""
    with DAG("d", description="text", owner="me", tags=["a"], params={"p": 1}) as dag:
        extract = shell("extract", "run")
        load = argv("load", ["load", "{{ ds }}"])
        extract >> load
    value, _ = dag.build()
    assert (value.dag_id, value.description, value.owner, value.tags, value.params) == (
        "d", "text", "me", ("a",), {"p": 1},
    )  # fmt: skip
    assert [task.command for task in value.tasks] == [Shell(script="run"), Argv(args=("load", "{{ ds }}"))]
    assert upstream(dag) == {"extract": (), "load": ("extract",)}


def test_durations_become_seconds():
    """Text and numbers say the same."""
    with DAG("d") as dag:
        shell("t", "x", timeout="1h30m", retry_delay=5, queued_timeout=None)
    task = built(dag)["t"]
    assert (task.timeout, task.retry_delay, task.queued_timeout) == (5400.0, 5.0, None)


def test_defaults_hold_unless_a_task_says_otherwise():
    """They are applied once, so the value needs none."""
    with DAG("d", defaults={"retries": 2, "queue": "io"}) as dag:
        shell("a", "x")
        shell("b", "x", retries=0)
    assert [(task.retries, task.queue) for task in built(dag).values()] == [(2, "io"), (0, "io")]


def test_arrows_take_tasks_and_lists_on_either_side():
    """`a >> [b, c] >> d` and its mirror mean what they look like."""
    with DAG("d") as dag:
        a, b, c, d, e, f = (shell(name, "x") for name in "abcdef")
        a >> [b, c] >> d
        f << [e] << d
        d >> (f,)
    assert upstream(dag) == {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ("d",), "f": ("e", "d")}


def test_a_group_stands_for_its_first_and_last_tasks():
    """Its name is put before their ids; groups may be nested, and whatever a list holds."""
    with DAG("d") as dag:
        start, end = shell("start", "x"), shell("end", "x")
        with group("g") as g:
            a, b = shell("a", "x"), shell("b", "x")
            with group("inner") as inner:
                c = shell("c", "x")
            a >> b >> inner
        [start] >> g >> [end]
    assert upstream(dag) == {
        "start": (),
        "end": ("g.inner.c",),
        "g.a": ("start",),
        "g.b": ("g.a",),
        "g.inner.c": ("g.b",),
    }
    assert (c.task_id, g.name, inner.name) == ("g.inner.c", "g", "g.inner")


def test_a_teardown_is_not_waited_for_with_its_group():
    """As in Airflow: what comes next need not wait until it is cleared up; a group of nothing else is waited for."""
    with DAG("d") as dag:
        with group("g") as g:
            made, work = shell("make", "x", setup=True), shell("work", "x")
            gone = shell("gone", "x", teardown=True)
            made >> work >> gone
            made >> gone
        with group("h") as h:
            shell("gone", "x", teardown=True)
        g >> shell("next", "x") << h
    assert upstream(dag)["next"] == ("g.work", "h.gone")


def test_a_dependency_said_twice_counts_once():
    """Order of the first mention."""
    with DAG("d") as dag:
        a, b = shell("a", "x"), shell("b", "x")
        a >> b
        b << a
    assert upstream(dag)["b"] == ("a",)


def test_what_a_task_takes_in_it_waits_for():
    """Outputs among the arguments and inputs, as tasks or ids, imply the dependency."""
    with DAG("d") as dag:
        a, b, _ = (shell(name, "x") for name in "abc")
        argv("t", ["x", a.output, a.output["rows"][0]])
        shell("u", "x", inputs=[b, "c"])
    tasks = built(dag)
    assert tasks["t"].command.args == ("x", OutputRef(task_id="a"), OutputRef(task_id="a", path=("rows", 0)))
    assert tasks["t"].upstream == ("a",)
    assert tasks["u"].inputs == tasks["u"].upstream == ("b", "c")


def test_a_task_knows_its_line():
    """The line in the file that made the DAG, even if a function made the task."""
    with DAG("d") as dag:
        first = inspect.currentframe().f_lineno + 1
        shell("a", "x")
        make_from_afar = compile("\n\ndef make(shell): shell('b', 'x')", "afar.py", "exec")
        names = {}
        exec(make_from_afar, names)  # noqa: S102 - a file that only exists here
        names["make"](shell)
    _, places = dag.build()
    assert places == {"a": Place(__file__, first), "b": Place(__file__, first + 4)}
    assert dag.place == Place(__file__, first - 2)


def test_a_task_made_outside_the_file_of_its_dag_knows_where():
    """Nobody in the DAG's file led there."""
    names = {"DAG": DAG}
    exec(compile("dag = DAG('d')", "afar.py", "exec"), names)  # noqa: S102 - a file that only exists here
    line = inspect.currentframe().f_lineno + 1
    shell("a", "x", dag=names["dag"])
    _, places = names["dag"].build()
    assert places == {"a": Place(__file__, line)}


def test_dags_can_be_nested_and_named():
    """The innermost `with` counts, unless dag= says otherwise."""
    with DAG("outer") as outer:
        with DAG("inner") as inner:
            shell("a", "x")
            shell("b", "x", dag=outer)
        shell("c", "x")
    assert (list(built(outer)), list(built(inner))) == (["b", "c"], ["a"])


def test_whoever_reads_a_file_may_learn_of_every_dag():
    """Else nobody keeps a list."""
    made = []
    token = DAGS_MADE.set(made)
    dag = DAG("d")
    DAGS_MADE.reset(token)
    DAG("e")
    assert made == [dag]


def cross_dags():
    """Let a task wait for one of another DAG."""
    a, b = shell("a", "x", dag=DAG("one")), shell("b", "x", dag=DAG("two"))
    a >> b


def within_itself():
    """An arrow to a group that is not closed yet."""
    with DAG("d"), group("g") as g:
        shell("a", "x") >> g


def in_text():
    """Put an output into a text."""
    return f"{shell('a', 'x', dag=DAG('d')).output['rows']}"


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda: shell("a", "x"), r"task 'a' is in no DAG: make it inside `with DAG\(...\):`, or say dag="),
        (lambda: shell("a", "x", dag=DAG("d"), retires=1), r"no keyword 'retires' \(did you mean 'retries'\?\)"),
        (lambda: shell("a", "x", dag=DAG("d"), zzz=1), "no keyword 'zzz'; the legal ones are queue, priority,"),
        (lambda: shell("a", "x", dag=DAG("d"), retries="2"), "task 'a': retries: expected a whole number, got text"),
        (lambda: shell("a", "x", dag=DAG("d"), timeout="1w"), "task 'a': timeout: '1w' is not a duration"),
        (lambda: shell("a", "x", dag=DAG("d"), on_lost="x"), "on_lost: 'x' is none of 'retry', 'fail'"),
        (lambda: shell("a", "x", dag=DAG("d"), env=["a"]), "env: expected a mapping, got a list"),
        (lambda: shell("a", "x", dag=DAG("d"), env={"A": 1}), "env: expected text, got a whole number"),
        (lambda: shell("a", "x", dag=DAG("d"), inputs="b"), "inputs: expected a list, got text"),
        (lambda: shell("a", 1, dag=DAG("d")), "script: expected text, got a whole number"),
        (lambda: shell(1, "x", dag=DAG("d")), "task 1: task_id: expected text, got a whole number"),
        (lambda: argv("a", "sleep 1", dag=DAG("d")), "args: expected a list, got text"),
        (lambda: argv("a", ["sleep", 1], dag=DAG("d")), r"args\[1\]: expected text or an output, got a whole number"),
        (lambda: DAG("d", schedules="x"), "'schedules' .did you mean 'schedule'.*; the legal ones are description"),
        (lambda: DAG("d", tags="x"), "DAG 'd': tags: expected a list, got text"),
        (lambda: DAG("d", params={1: 2}), "keys of params: expected text, got a whole number"),
        (lambda: DAG("d", defaults={"retrys": 1}), "defaults: there is no keyword 'retrys'"),
        (lambda: DAG("d", defaults={"retries": "1"}), "defaults: retries: expected a whole number"),
        (lambda: DAG(1), "DAG 1: dag_id: expected text"),
        (lambda: shell("a", "x", dag=DAG("d")) >> "b", "only tasks, groups and lists of them can be.*'b' is"),
        (lambda: shell("a", "x", dag=DAG("d"), trigger_rule="any"), "trigger_rule: 'any' is none of 'all_success'"),
        (lambda: group("g"), "group 'g' is in no DAG"),
        (lambda: group("a b", dag=DAG("d")), "group 'a b': its name is no part of a task id"),
        (lambda: shell("a", "x", dag=DAG("d")) >> group("g", dag=DAG("d")), "group 'g' is not written yet: draw its"),
        (within_itself, "group 'g' is not written yet"),
        (lambda: [1] >> shell("a", "x", dag=DAG("d")), "and 1 is none of them"),
        (cross_dags, "task 'b' is in DAG 'two' and cannot wait for 'a', which is in DAG 'one'"),
        (in_text, r"the output of task 'a' is not known yet and cannot be part of a text: give it to argv\(\)"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(write, why):
    """The author's line raises InvalidDag, with the value and the remedy."""
    with pytest.raises(InvalidDag, match=why):
        write()


def test_an_output_cannot_be_looped_over():
    """Python would ask it for item after item without end."""
    with pytest.raises(TypeError, match="not iterable"):
        list(shell("a", "x", dag=DAG("d")).output)


def test_type_checkers_know_every_keyword():
    """The typed keywords are those that the values have."""
    assert set(get_type_hints(TaskKeywords)) == set(TASK_KEYWORDS)
    assert set(get_type_hints(DagKeywords)) == set(DAG_KEYWORDS)


def count(rows, *, limit=10):
    """Be a function at module level."""
    return rows, limit


async def wait():
    """Be no function that python() takes."""


class Shop:
    """Hold a method."""

    def sell(self):
        """Be a method."""


class Number(int):
    """Be called as a function is."""


double = lambda number: 2 * number  # noqa: E731 - what an author may write


def test_a_function_becomes_a_call_of_its_code():
    """By the module that has been imported; outputs within arguments are references, and imply the dependency."""
    with DAG("d") as dag:
        a, b = shell("a", "x"), shell("b", "x")
        python("t", count, args=[[1, a.output["rows"][0]]], kwargs={"limit": b.output}, retries=1)
        python("u", "shop.jobs:report", args=({"day": (1, None)},))
        python("v", "../jobs.py:report")
    t, u, v = (built(dag)[name] for name in "tuv")
    assert t.command == Python(
        function="count",
        args=([1, {"kind": "output", "task_id": "a", "path": ["rows", 0]}],),
        kwargs={"limit": {"kind": "output", "task_id": "b", "path": []}},
    )
    assert (t.code, t.upstream, t.retries) == (Code(kind="module", ref=__name__), ("a", "b"), 1)
    assert output_refs(t.command) == [OutputRef(task_id="a", path=("rows", 0)), OutputRef(task_id="b")]
    assert (u.code, u.command.args) == (Code(kind="module", ref="shop.jobs"), ({"day": [1, None]},))
    assert (v.code, v.command.function) == (Code(kind="file", ref="../jobs.py"), "report")


def test_a_task_is_mapped_over_a_list_or_an_output():
    """It waits for whose output that is; a range is a list, too."""
    with DAG("d") as dag:
        a = shell("a", "x")
        argv("b", ["x", item["name"][0]], over=a.output["parts"])
        shell("c", "x", over=range(2))
        shell("e", "x", over=("x", {"y": None}))
    b, c, e = (built(dag)[name] for name in "bce")
    assert (b.over, b.upstream) == (OutputRef(task_id="a", path=("parts",)), ("a",))
    assert b.command.args == ("x", ItemRef(path=("name", 0)))
    assert (c.over, c.upstream, e.over) == ((0, 1), (), ("x", {"y": None}))


def test_an_item_is_no_text_and_no_list():
    """It is known only when its instance runs."""
    with pytest.raises(InvalidDag, match=r"the item of a mapped task is not known yet .* or use \$HEADWAY_ITEM"):
        f"{item}"
    with pytest.raises(TypeError):
        list(item)


@pytest.mark.parametrize(
    ("over", "why"),
    [
        ([object()], "task 't': over: its item <object .*> is no JSON but object"),
        ([{"x": float("nan")}], "task 't': over: its item nan cannot be said in JSON"),
        (7, "task 't': over: expected an output or a list or nothing, got a whole number"),
    ],
)
def test_what_nothing_can_be_mapped_over_is_refused(over, why):
    """A list of JSON, or an output."""
    with pytest.raises(InvalidDag, match=why), DAG("d"):
        shell("t", "x", over=over)


def test_a_function_of_a_file_that_was_run_is_named_by_the_file(monkeypatch):
    """As DAG files are."""
    module = ModuleType("run_by_hand")
    module.__file__ = "/dags/d.py"
    monkeypatch.setitem(sys.modules, "run_by_hand", module)
    exec("def work(): pass", module.__dict__)  # noqa: S102 - a file that only exists here
    with DAG("d") as dag:
        python("t", module.work)
    assert built(dag)["t"].code == Code(kind="file", ref="/dags/d.py")


def test_a_function_written_in_c_is_taken_as_it_is():
    """It does not say what it takes."""
    with DAG("d") as dag:
        python("t", Number, args=["1"])
    assert built(dag)["t"].command == Python(function="Number", args=("1",))


def nested(depth):
    """Put lists into lists."""
    return [nested(depth - 1)] if depth else []


@pytest.mark.parametrize(
    ("function", "words", "why"),
    [
        (double, {"args": [1]}, "task 't': no worker can find '<lambda>' by its name: python"),
        (lambda: None, {}, "no lambda, no method and no function in a function"),
        (Shop().sell, {}, "no worker can find 'Shop.sell'"),
        (partial(count, []), {}, "no worker can find 'partial'"),
        (len, {"args": [[]]}, "no worker can find 'len'"),
        (wait, {}, r"wait\(\) is async: write a function that calls asyncio.run"),
        (count, {}, r"task 't': count\(\): missing a required argument: 'rows'"),
        (count, {"args": [1], "kwargs": {"limt": 1}}, r"count\(\): got an unexpected keyword argument 'limt'"),
        (1, {}, "1 names no function: write 'package.module:function' or 'file.py:function'"),
        ("jobs", {}, "'jobs' names no function"),
        ("jobs:", {}, "'jobs:' names no function"),
        ("job-s:f", {}, "'job-s:f' names no function"),
        ("m:f", {"args": "x"}, "task 't': args: expected a list, got text"),
        (count, {"args": 1}, "args: expected a list, got a whole number"),
        ("m:f", {"kwargs": [1]}, "kwargs: expected a mapping, got a list"),
        ("m:f", {"args": [{1}]}, r"its argument \{1\} is no JSON but set: use text, numbers"),
        ("m:f", {"args": [{1: 2}]}, r"its argument \{1: 2\} is no JSON but dict: use .* dicts with text as keys"),
        ("m:f", {"kwargs": {"a": {"b": print}}}, "is no JSON but builtin_function"),
        ("m:f", {"args": [float("inf")]}, "its argument inf cannot be said in JSON"),
        ("m:f", {"args": [2**63]}, "its argument 9223372036854775808 is beyond 64 bits: hand it over as text"),
        ("m:f", {"args": nested(60)}, "is nested deeper than 50 lists"),
        (
            "m:f",
            {"args": [{"kind": "output", "task_id": 1, "path": []}]},
            "a reference among its arguments: task_id: exp",
        ),
    ],
)
def test_what_no_worker_could_call_is_refused(function, words, why):
    """With the value, and what to write instead."""
    with pytest.raises(InvalidDag, match=why):
        python("t", function, dag=DAG("d"), **words)


def test_arguments_may_be_any_json():
    """Each kind of value, and a dict that only looks a little like an output."""
    args = [None, True, "x", 1, -1.5, [[]], {"kind": "output", "of": "mine"}, {"output": "x"}]
    with DAG("d") as dag:
        python("t", "m:f", args=args)
    assert built(dag)["t"].command.args == tuple(args)
