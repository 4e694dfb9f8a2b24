"""Branches, setups and teardowns in a run: who is followed, who is skipped, and what decides the run."""

import msgspec
import pytest

from headway.protocol.dag import Shell, Task
from headway.protocol.errors import Corrupt
from headway.protocol.names import TaskId
from headway.scheduler.core.graph import compile_graph
from headway.scheduler.core.rows import Output, TaskKey
from world import RUN, World, cut_slices, dag, running
from world.audit import audit

BRANCH = {"branch": True}


def chosen(world: World, name: str, output: object) -> World:
    """Let a branch end with this output."""
    world.start(name)
    raw = None if output is None else msgspec.Raw(msgspec.json.encode(output))
    world.tell(world.finished(name, output=raw))
    assert audit(world) == []
    return world


def skipped(world: World) -> set[str]:
    """Return who is skipped."""
    return {name for name, state in world.states().items() if state == "skipped"}


@pytest.mark.parametrize(
    ("output", "left_out"),
    [
        ("b", {"c", "g.d", "g.h.e"}),
        (["b", "c"], {"g.d", "g.h.e"}),
        ("g", {"b", "c"}),
        (["g.h", "c"], {"b", "g.d"}),
        (True, set()),
        (False, {"b", "c", "g.d", "g.h.e"}),
        ([], {"b", "c", "g.d", "g.h.e"}),
        (None, {"b", "c", "g.d", "g.h.e"}),
    ],
)
@pytest.mark.parametrize("rows", [1, 2, 1000])
def test_a_branch_skips_whom_it_does_not_choose(output, left_out, rows, monkeypatch):
    """A task, a list, a group, all by true, none by false; a fan-out that goes on by slices finds the choice again."""
    cut_slices(monkeypatch, rows)
    world = chosen(running("a >> b, c, g.d, g.h.e", a=BRANCH), "a", output)
    assert skipped(world) == left_out
    for name in left_out:
        assert (world.task(name).reason, world.task(name).detail) == ("not_chosen", "branch a chose other ways")


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("d", "it chose 'd', which is not directly downstream; there are: b, c"),
        (["b", "cc"], "it chose 'cc', which is not directly downstream (did you mean 'c'?); there are: b, c"),
        (7, "its output is 7, and a branch writes the id of a task directly downstream, a list of such ids, true or"),
        ([["b"]], 'its output is [["b"]], and a branch writes'),
        ({"x": "y" * 80}, f'its output is {{"x":"{"y" * 54}..., and a branch writes'),
    ],
)
def test_a_choice_that_nobody_can_follow_fails_the_branch(output, told):
    """With the sentence as its reason; a retry would be one more try of the author's code."""
    world = chosen(running("a >> b, c >> d", a=BRANCH), "a", output)
    assert (world.task("a").state, world.task("a").reason) == ("failed", "bad_output")
    assert world.task("a").detail.startswith(told)
    assert world.attempt("a").state == "failed"
    assert world.states()["b"] == "upstream_failed"
    assert not world.db.outputs


def test_a_branch_of_nothing_can_choose_nothing():
    """It says so, and names a few where there are many."""
    assert "there are: none" in chosen(running("a", a=BRANCH), "a", "b").task("a").detail
    many = ", ".join(f"t{number}" for number in range(11))
    assert chosen(running(f"a >> {many}", a=BRANCH), "a", "t").task("a").detail.endswith("t8, t9, ...")


def test_what_the_chosen_lead_to_is_followed_too():
    """A join directly behind a branch and behind its ways is run for whichever is chosen, as in Airflow."""
    world = chosen(running("a >> b >> c >> join", "a >> d", "a >> join", a=BRANCH, join={}), "a", "b")
    assert skipped(world) == {"d"}
    world.play("b", "c", "join")
    assert world.run_state() == "success"
    world = chosen(running("a >> b >> c >> join", "a >> d", "a >> join", a=BRANCH), "a", "d")
    assert skipped(world) == {"b", "c", "join"}


def test_a_join_of_ways_runs_by_its_rule():
    """Behind the ways alone it hears of one success and one skip."""
    world = chosen(running("a >> b, c >> d", a=BRANCH, d={"trigger_rule": "none_failed_min_one_success"}), "a", "b")
    world.play("b", "d")
    assert (skipped(world), world.run_state()) == ({"c"}, "success")


def test_a_short_circuit_skips_all_behind_it_by_their_rules():
    """Rules further down are kept: what waits for all to be done runs."""
    world = chosen(running("a >> b >> c >> d", a=BRANCH, d={"trigger_rule": "all_done"}), "a", output=False)
    assert skipped(world) == {"b", "c"}
    world.play("d")
    assert world.run_state() == "success"


def test_a_run_whose_leaves_are_skipped_succeeds():
    """Nothing has failed."""
    assert chosen(running("a >> b", a=BRANCH), "a", output=False).run_state() == "success"


def test_a_branch_never_skips_a_teardown():
    """What was set up is taken down whatever was chosen."""
    world = running("s >> a >> w, t", "s >> t", s={"setup": True}, a=BRANCH, t={"teardown": True})
    world.play("s")
    chosen(world, "a", "w")
    assert skipped(world) == set()
    world.play("w", "t")
    assert world.run_state() == "success"


def test_a_branch_without_a_stored_choice_is_followed_everywhere():
    """An operator marked it; a stored choice that makes no sense is corrupt."""
    world = running("a >> b, c", a=BRANCH)
    world.start("a")
    world.settling = False
    with pytest.MonkeyPatch.context() as patch:
        cut_slices(patch, 1)
        world.rounds_max = 0
        world.tell(world.finished("a", output=msgspec.Raw(b"[]")))
        key = TaskKey(world.run().run_id, TaskId("a"))
        slice_ = world.owed.pop(0)
        world.checked = False
        world.db.outputs[key] = Output(**key._asdict(), value='"z"')
        with pytest.raises(Corrupt, match="task a chose, and it chose 'z', which is not directly downstream"):
            world.tell(slice_)
        world.restart()
        del world.db.outputs[key]
        world.tell(slice_)
    assert (world.states()["b"], world.states()["c"]) == ("skipped", "queued")


def test_always_begins_with_the_roots():
    """Whatever its upstreams come to, and it is not begun again when they have."""
    world = running("a >> b", b={"trigger_rule": "always"})
    assert world.states() == {"a": "queued", "b": "queued"}
    world.play("b")
    world.play("a", exit_code=1)
    assert (world.states()["b"], world.task("b").up_failed, world.run_state()) == ("success", 1, "success")


# --- setups and teardowns ---------------------------------------------------------------------------------------------

SETUP, TEARDOWN = {"setup": True}, {"teardown": True}
CLEAN = ("s >> w >> t", "s >> t")


def test_a_teardown_runs_though_the_work_failed_and_the_work_decides():
    """The failure of the work fails the run, and that of the teardown does not."""
    world = running(*CLEAN, s=SETUP, t=TEARDOWN)
    world.play("s")
    world.play("w", exit_code=1)
    world.play("t")
    assert world.run_state() == "failed"
    world = running(*CLEAN, s=SETUP, t=TEARDOWN)
    world.play("s", "w")
    world.play("t", exit_code=1)
    assert (world.states()["t"], world.run_state()) == ("failed", "success")


def test_a_teardown_may_decide_if_told():
    """Then it is a leaf, and the work before it is none."""
    world = running(*CLEAN, s=SETUP, t=TEARDOWN | {"on_failure_fail_dagrun": True})
    world.play("s")
    world.play("w", exit_code=1)
    world.play("t")
    assert world.run_state() == "success"
    assert compile_graph(dag("t", t=TEARDOWN), 1).deciders == {0}


def test_nothing_is_taken_down_that_was_not_set_up():
    """A setup that failed takes its teardown with it; one that was skipped skips it."""
    world = running(*CLEAN, s=SETUP, t=TEARDOWN)
    world.play("s", exit_code=1)
    assert (world.states()["w"], world.states()["t"], world.run_state()) == ("upstream_failed",) * 2 + ("failed",)
    world = chosen(running("a >> s", *CLEAN, a=BRANCH, s=SETUP, t=TEARDOWN), "a", output=False)
    assert skipped(world) == {"s", "w", "t"}


@pytest.mark.parametrize("rows", [1, 1000])
def test_a_setup_binds_all_that_lies_in_its_scope(rows, monkeypatch):
    """Also what would run by its own rule: nothing works on what was not set up. Behind the teardown it binds none."""
    cut_slices(monkeypatch, rows)
    late = {"trigger_rule": "all_done"}
    world = running("s >> w >> x >> t >> y", "s >> t", s=SETUP, x=late, t=TEARDOWN, y=late)
    world.play("s", exit_code=1)
    assert world.states() == {
        "s": "failed",
        "w": "upstream_failed",
        "x": "upstream_failed",
        "t": "upstream_failed",
        "y": "queued",
    }
    assert world.task("x").setup_failed == 1
    assert audit(world) == []


def test_who_is_bound_by_a_setup():
    """Directly behind it a task has its own rule; one that falls with its upstreams anyway needs no second reason."""
    value = dag(
        "s >> direct >> x >> plain",
        "s >> direct2 >> plain2 >> plain3",
        "s >> any >> z >> t",
        s=SETUP,
        direct={"trigger_rule": "all_done"},
        x={"trigger_rule": "one_done"},
        any={"trigger_rule": "always"},
        z={"trigger_rule": "all_done_setup_success"},
        t=TEARDOWN,
    )
    graph = compile_graph(value, 1)
    assert graph.ids(sorted(graph.scopes[graph.position[TaskId("s")]])) == ["x"]
    assert graph.ids(graph.downstream_of(TaskId("s"))) == ["direct", "direct2", "any", "x"]
    assert graph.setups == {graph.position[TaskId(name)]: count for name, count in (("x", 1), ("z", 0), ("t", 0))}


def test_an_all_success_task_behind_one_that_runs_anyway_is_bound():
    """Else it would run on what was not set up."""
    world = running("s >> always >> x", s=SETUP, always={"trigger_rule": "always"})
    world.play("always")
    world.play("s", exit_code=1)
    assert (world.states()["x"], world.task("x").detail) == (
        "upstream_failed",
        "setup task s ended as failed, and the trigger rule is all_success",
    )


def test_large_dags_compile_in_time_proportional_to_their_size():
    """100,000 tasks behind a setup, and 1,000 branches of ten ways and a join each: no pass for each of them."""
    names = [TaskId(f"t{number}") for number in range(20_000)]
    script = Shell(script="true")
    tasks = [Task(task_id=TaskId("s"), command=script, setup=True)]
    tasks += [Task(task_id=name, command=script, upstream=(TaskId("s"),), branch=True) for name in names[:1_000]]
    for at, branch in enumerate(names[:1_000]):
        ways = names[1_000 + at * 11 :][:11]
        tasks += [Task(task_id=name, command=script, upstream=(branch,)) for name in ways[:10]]
        tasks.append(Task(task_id=ways[10], command=script, upstream=(branch, *ways[:10]), trigger_rule="none_failed"))
    graph = compile_graph(dag("x").__class__(dag_id="d", tasks=tuple(tasks)), 1)
    assert len(graph.leads) == 1_000
    assert set(graph.leads[1].values()) == {(1 << 10) - 1}
    assert len(graph.scopes[0]) == 1_000


def test_a_run_of_its_own_is_named_by_its_run():
    """Choices of one run are not those of another."""
    world = World(dag("a >> b, c", a=BRANCH))
    world.tell(world.online())
    for run in (RUN, "run-2"):
        world.tell(world.trigger(run))
    for run, choice in ((RUN, b'"b"'), ("run-2", b'"c"')):
        world.tell(world.started("a", run_id=run))
        world.tell(world.finished("a", run_id=run, output=msgspec.Raw(choice)))
    assert [sorted(n for n, s in world.states(run).items() if s == "skipped") for run in (RUN, "run-2")] == [
        ["c"],
        ["b"],
    ]
