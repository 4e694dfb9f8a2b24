"""Mapped tasks: what they are mapped over, how their instances' ends count, slices, cancelling and reducing."""

from typing import Any

import msgspec
import pytest

from headway.protocol.dag import Argv, OutputRef, Shell
from headway.protocol.errors import Corrupt
from headway.protocol.limits import INPUT_BYTES_MAX, MAP_ITEMS_MAX
from headway.protocol.names import TaskId
from headway.protocol.states import EndReason, TaskState
from headway.scheduler.core.mapping import count_end, ending_of
from headway.scheduler.core.rows import Mapped, TaskKey
from world import RUN, World, cut_slices, dag, name_of, running
from world.audit import audit

A = TaskId("a")


def over(*path: str | int, source: str = "a") -> dict[str, Any]:
    """Map a task over this part of the output of another."""
    return {"over": OutputRef(task_id=TaskId(source), path=path)}


def raw(text: str | bytes) -> msgspec.Raw:
    """Return an output."""
    return msgspec.Raw(text if isinstance(text, bytes) else text.encode())


def after(output: str | None, **fields: Any) -> World:
    """Return a world in which `a` wrote this and `b`, which has these fields, is next, with `c` behind it."""
    world = running("a >> b >> c", b=fields)
    world.start("a")
    world.tell(world.finished("a", output=None if output is None else raw(output)))
    return world


def items(world: World, task: str = "b") -> list[Any]:
    """Return the items that were published for the instances of a task, in their order."""
    messages = {
        one.message.map_index: msgspec.json.decode(one.message.item)
        for one in world.published
        if one.message.task_id == task
    }
    assert list(messages) == sorted(messages)
    return list(messages.values())


def end(world: World, name: str, output: str | None = None, exit_code: int = 0) -> None:
    """Let an instance run to its end."""
    world.start(name)
    world.tell(world.finished(name, exit_code, output=None if output is None else raw(output)))


# --- what it is mapped over -------------------------------------------------------------------------------------------

LISTS = [
    ('["x", 1, null, {"y": [2]}]', (), ["x", 1, None, {"y": [2]}]),
    ('{"parts": [3, 4]}', ("parts",), [3, 4]),
    ('[0, {"parts": [[5], 6]}]', (1, "parts"), [[5], 6]),
    (" [ 7 , 8 ] ", (), [7, 8]),
]


@pytest.mark.parametrize(("output", "path", "wanted"), LISTS)
def test_each_item_of_a_list_gets_an_instance(output: str, path: tuple[str | int, ...], wanted: list[Any]):
    """Wherever in the output the list stands."""
    world = after(output, **over(*path))
    assert items(world) == wanted
    assert world.task("b").state == "mapped"
    assert [world.task(f"b[{index}]").state for index in range(len(wanted))] == ["queued"] * len(wanted)
    assert world.states()["c"] == "waiting"


def test_a_list_of_the_file_needs_no_upstream():
    """Its instances begin with the run."""
    world = running("a", a={"over": ("x", {"y": 1})})
    assert items(world, "a") == ["x", {"y": 1}]
    for index in range(2):
        end(world, f"a[{index}]")
    assert (world.states()["a"], world.run_state()) == ("success", "success")
    assert audit(world) == []


NO_LISTS = [
    (None, (), "task 'a' wrote no output to HEADWAY_OUTPUT, and this task is mapped over it"),
    ("7", (), "the output of task 'a' is a number, and a task is mapped over a list"),
    ('"text"', (), "the output of task 'a' is text, and a task is mapped over a list"),
    ('{"x": {"y": 1}}', ("x",), "part ['x'] of the output of task 'a' is an object, and a task is mapped over a list"),
    ('{"x": null}', ("x",), "part ['x'] of the output of task 'a' is null, and a task is mapped over a list"),
    ("[true]", (0,), "part [0] of the output of task 'a' is true, and a task is mapped over a list"),
    ('{"x": 1}', ("y",), "the output of task 'a' has no part ['y']"),
    ("[1]", (1,), "the output of task 'a' has no part [1]"),
    ("[1]", ("x",), "the output of task 'a' has no part ['x']"),
    ("{}", (0,), "the output of task 'a' has no part [0]"),
    (
        f"[{','.join(['1'] * (MAP_ITEMS_MAX + 1))}]",
        (),
        f"the output of task 'a' is a list of {MAP_ITEMS_MAX + 1} items, and a task may be mapped over {MAP_ITEMS_MAX}",
    ),
]


@pytest.mark.parametrize(("output", "path", "sentence"), NO_LISTS, ids=[row[2] for row in NO_LISTS])
def test_what_is_no_list_fails_the_task(output: str | None, path: tuple[str | int, ...], sentence: str):
    """With a sentence, before any instance is made; retries would find the same."""
    world = after(output, **over(*path), retries=3)
    task = world.task("b")
    assert (task.state, task.reason, task.detail) == ("failed", EndReason.BAD_INPUT, sentence)
    assert world.states() == {"a": "success", "b": "failed", "c": "upstream_failed"}
    assert (world.run_state(), audit(world)) == ("failed", [])


def test_nothing_to_map_over_skips_the_task():
    """And, by the usual rule, what waits for it."""
    world = after("[]", **over())
    assert (world.task("b").reason, world.states()) == (
        "no_items",
        {"a": "success", "b": "skipped", "c": "skipped"},
    )
    assert (world.run_state(), audit(world)) == ("success", [])


@pytest.mark.parametrize("path", [(), (1,)])
def test_a_task_is_mapped_over_a_mapped_one(path: tuple[int, ...]):
    """Each instance over what one of the other wrote; with an index over the list that this one wrote."""
    world = running("a >> b", a={"over": (0, 0, 0)}, b=over(*path))
    for index, output in enumerate(['"x"', "[7, 8]", None]):
        end(world, f"a[{index}]", output)
    assert items(world, "b") == ([7, 8] if path else ["x", [7, 8], None])
    assert audit(world) == []


def test_an_output_of_a_mapped_task_that_has_not_ended_is_none():
    """A task that does not wait for its end has nothing to take in."""
    world = running("a >> b >> c", a={"over": (1, 2)}, b={"trigger_rule": "always"}, c=over())
    world.play("b")
    assert "wrote no output" in world.task("c").detail


# --- how instances end ------------------------------------------------------------------------------------------------

ENDS = [
    ([0, 0, 0], "success", None),
    ([0, 1, 0], "failed", "1 of its 3 instances did not succeed"),
    ([1, 1, 1], "failed", "3 of its 3 instances did not succeed"),
]


@pytest.mark.parametrize(("codes", "state", "detail"), ENDS)
def test_the_last_instance_ends_the_task(codes: list[int], state: str, detail: str | None):
    """Others see one upstream: failed if any instance failed."""
    world = after("[1, 2, 3]", **over())
    for index, code in enumerate(codes):
        assert (world.states()["b"], world.states()["c"]) == ("mapped", "waiting")
        end(world, f"b[{index}]", exit_code=code)
    assert (world.states()["b"], world.task("b").detail) == (state, detail or "")
    assert world.states()["c"] == ("queued" if state == "success" else "upstream_failed")
    assert audit(world) == []


COUNTS = [
    ({"success": 1, "skipped": 2}, "succeed", None, ""),
    ({"skipped": 3}, "skip", "instances", "all of its 3 instances were skipped"),
    ({"failed": 1, "skipped": 2}, "fail", "instances", "1 of its 3 instances did not succeed"),
]


@pytest.mark.parametrize(("counts", "change", "reason", "detail"), COUNTS)
def test_skipped_instances_count_for_nothing(counts: dict[str, int], change: str, reason: str | None, detail: str):
    """Unless all of them were: then the task is skipped."""
    mapped = Mapped(size=3)
    for name, number in counts.items():
        for _ in range(number):
            mapped = count_end(mapped, TaskState("skipped" if name == "skipped" else name), None)
    node = after("[1]", **over()).task("b")
    assert ending_of(node, mapped) == (change, reason, detail)
    assert mapped.output_bytes == 3 * len("null,")


def test_each_instance_has_retries_of_its_own():
    """The others do not wait for it; the item is the same each time."""
    world = after('["x", "y"]', **over(), retries=1)
    end(world, "b[0]", exit_code=1)
    end(world, "b[1]")
    assert (world.states()["b[0]"], world.states()["b"]) == ("up_for_retry", "mapped")
    world.ring("b[0]", "retry")
    assert msgspec.json.decode(world.published[-1].message.item) == "x"
    end(world, "b[0]")
    assert (world.states()["b"], audit(world)) == ("success", [])


def test_an_instance_is_published_again_with_its_item():
    """Whoever loses its message, or lets it expire, loses nothing."""
    world = after('["x", "y"]', **over())
    world.tell(world.expired("b[1]"))
    assert msgspec.json.decode(world.published[-1].message.item) == "y"
    assert world.published[-1].message.map_index == 1


def test_a_lost_instance_is_run_again():
    """From its own budget; the task waits for it."""
    world = after('["x", "y"]', **over(), infra_retries=1)
    for _ in range(2):
        world.start("b[0]")
        world.tell(world.worker_lost("b[0]"))
    assert (world.states()["b[0]"], world.states()["b"]) == ("failed", "mapped")
    world.play("b[1]")
    assert world.states()["b"] == "failed"


def test_an_instance_of_no_mapped_task_is_corrupt():
    """Nobody but a stranger leaves such a row."""
    world = after("[1]", **over())
    world.start("b[0]")
    finished = world.finished("b[0]")
    key = TaskKey(RUN, TaskId("b"))
    world.db.tasks[key] = msgspec.structs.replace(world.db.tasks[key], mapped=None)
    world.restart()
    with pytest.raises(Corrupt, match="belongs to no mapped task"):
        world.tell(finished)


# --- slices -----------------------------------------------------------------------------------------------------------


def sliced(monkeypatch: pytest.MonkeyPatch, size: int, **fields: Any) -> World:
    """Return a world of which nothing goes on by itself, in which a task of so many instances is next."""
    cut_slices(monkeypatch, 2)
    world = World(dag("a", a={"over": tuple(range(size))} | fields), settling=False, rounds_max=0)
    world.tell(world.online())
    world.tell(world.trigger())
    return world


def go_on(world: World) -> str:
    """Let the next slice be done; return what is owed then."""
    assert world.tell(world.owed.pop(0)).applied
    return " ".join(f"{event.step}:{event.cursor}" for event in world.owed)


def test_no_instance_begins_before_the_last_is_made(monkeypatch: pytest.MonkeyPatch):
    """A crash in between leaves nothing half begun; each slice is done once, however often it is told."""
    world = sliced(monkeypatch, 5)
    seen = []
    while world.owed:
        event = world.owed[0]
        seen.append(go_on(world))
        states = [row.state for row in world.db.tasks.values() if row.map_index >= 0]
        assert len(states) == 5 or set(states) == {"waiting"}
        assert not world.tell(event).applied
    assert seen == ["expand:2", "expand:4", "expand_release:0", "expand_release:2", "expand_release:4", ""]
    assert items(world, "a") == [0, 1, 2, 3, 4]
    world.settling = True
    world.play(*(f"a[{index}]" for index in range(5)))
    assert (world.run_state(), audit(world)) == ("success", [])


def test_an_instance_that_was_cancelled_is_not_released(monkeypatch: pytest.MonkeyPatch):
    """The slice that comes to it leaves it as it is."""
    world = sliced(monkeypatch, 3)
    while len(world.db.tasks) < 4:
        go_on(world)
    world.tell(world.cancel("a[0]"))
    world.settle()
    assert world.states() == {"a": "mapped", "a[0]": "cancelled", "a[1]": "queued", "a[2]": "queued"}


def test_a_run_is_cancelled_while_a_task_is_expanded(monkeypatch: pytest.MonkeyPatch):
    """What is made is cancelled, what is not never will be."""
    world = sliced(monkeypatch, 5)
    go_on(world)
    go_on(world)
    world.tell(world.cancel())
    world.settle()
    assert world.states() == {"a": "cancelled"} | {f"a[{index}]": "cancelled" for index in range(4)}
    assert (world.task("a").detail, world.run_state()) == ("cancelled by somebody", "cancelled")
    assert audit(world) == []


def test_a_mapped_task_is_cancelled_in_slices(monkeypatch: pytest.MonkeyPatch):
    """What runs is told to stop, and the task ends with the last; a second order changes nothing."""
    world = sliced(monkeypatch, 5)
    world.settle()
    world.start("a[3]")
    assert world.tell(world.cancel("a")).applied
    assert [event.step for event in world.owed] == ["expand_cancel"]
    world.tell(world.cancel("a"))
    world.settle()
    assert [name_of(row) for row in world.db.tasks.values() if row.state == "cancelled"] == [
        f"a[{index}]" for index in (0, 1, 2, 4)
    ]
    assert (world.states()["a"], len(world.orders)) == ("mapped", 2)  # a grant and a stop
    world.tell(world.finished("a[3]", None, signal="SIGTERM", reason=EndReason.CANCELLED))
    assert (world.states()["a"], world.task("a").reason, world.run_state()) == ("cancelled", "cancelled", "failed")
    assert audit(world) == []


def test_a_task_is_cancelled_before_its_first_instance(monkeypatch: pytest.MonkeyPatch):
    """It ends at once; the expansion that is owed finds nothing to do."""
    world = sliced(monkeypatch, 5)
    world.tell(world.cancel("a"))
    assert (world.states(), world.run_state()) == ({"a": "cancelled"}, "failed")
    assert not world.tell(world.owed.pop(0)).applied


def test_all_that_is_made_may_be_cancelled_one_by_one(monkeypatch: pytest.MonkeyPatch):
    """Then the cancel of the task has nobody to wait for."""
    world = sliced(monkeypatch, 5)
    go_on(world)
    for name in ("a[0]", "a[1]"):
        world.tell(world.cancel(name))
    assert world.states()["a"] == "mapped"
    world.tell(world.cancel("a"))
    assert world.states() == {"a": "cancelled", "a[0]": "cancelled", "a[1]": "cancelled"}


def test_one_instance_is_cancelled():
    """It counts as failed, the others go on."""
    world = after("[1, 2]", **over())
    assert world.tell(world.cancel("b[0]")).applied
    assert world.tell(world.cancel("b[7]")).reason == "the run has no task b[7]"
    assert (world.states()["b[0]"], world.states()["b"]) == ("cancelled", "mapped")
    world.play("b[1]")
    assert (world.states()["b"], audit(world)) == ("failed", [])


# --- reduce -----------------------------------------------------------------------------------------------------------


def reduced(*outputs: str | None, **fields: Any) -> World:
    """Return a world in which the instances of `b` wrote this, and `c` takes it in."""
    world = running("b >> c", b={"over": tuple(range(len(outputs)))}, c={"inputs": (TaskId("b"),)} | fields)
    for index, output in enumerate(outputs):
        end(world, f"b[{index}]", output)
    return world


def test_the_output_of_a_mapped_task_is_a_list():
    """Of what its instances wrote, in their order whatever the order of their ends; null where one wrote nothing."""
    world = running("b >> c", b={"over": (0, 0, 0)}, c={"inputs": (TaskId("b"),)})
    for index, output in ((2, '"z"'), (0, '{"x": 1}'), (1, None)):
        end(world, f"b[{index}]", output)
    assert world.published[-1].message.inputs == {"b": msgspec.Raw(b'[{"x": 1},null,"z"]')}
    world.tell(world.expired("c"))
    assert world.published[-1].message.inputs == {"b": msgspec.Raw(b'[{"x": 1},null,"z"]')}
    assert audit(world) == []


def test_an_argument_takes_what_one_instance_wrote():
    """By its index; one that is not there fails the task with a sentence."""
    ref = OutputRef(task_id=TaskId("b"), path=(1, "n"))
    world = reduced("1", '{"n": 2}', inputs=(), command=Argv(args=("echo", ref)))
    assert world.states()["c"] == "queued"
    world = reduced("1", inputs=(), command=Argv(args=("echo", ref)))
    assert world.task("c").detail == "the output of task 'b' has no part [1]['n']"


def test_nothing_was_mapped_is_an_empty_list():
    """For whoever runs all the same."""
    world = running("a >> b >> c", b=over(), c={"inputs": (TaskId("b"),), "trigger_rule": "none_failed"})
    end(world, "a", "[]")
    assert world.published[-1].message.inputs == {"b": msgspec.Raw(b"[]")}


def test_too_much_of_many_fails_the_task():
    """The list is not even put together; a byte less would have done."""
    half = INPUT_BYTES_MAX // 2
    world = reduced(f'"{"x" * (half - 4)}"', f'"{"x" * (half - 3)}"')
    assert world.states()["c"] == "queued"
    assert len(bytes(world.published[-1].message.inputs[TaskId("b")])) == INPUT_BYTES_MAX
    world = reduced(f'"{"x" * (half - 3)}"', f'"{"x" * (half - 3)}"')
    assert f"has {INPUT_BYTES_MAX + 1} bytes, and may have {INPUT_BYTES_MAX}" in world.task("c").detail


# --- what an instance takes in ----------------------------------------------------------------------------------------


def test_item_and_inputs_together_are_bounded():
    """They travel in one message."""
    world = running("a >> b", b={"over": ("x", "y" * 100), "inputs": (A,)})
    end(world, "a", f'"{"x" * (INPUT_BYTES_MAX - 5)}"')
    assert (world.states()["b[0]"], world.states()["b[1]"]) == ("queued", "failed")
    assert f"has {INPUT_BYTES_MAX + 99} bytes" in world.task("b[1]").detail


def test_an_item_that_no_variable_can_hold_fails_its_instance():
    """A text with a NUL character; within a list or an object it is written as an escape."""
    world = after(r'["a\u0000b", ["a\u0000b"], "a\\u0000b"]', **over())
    assert [world.states()[f"b[{index}]"] for index in range(3)] == ["failed", "queued", "queued"]
    assert world.task("b[0]").detail == "its item holds a NUL character, which no environment variable can"


@pytest.mark.parametrize(("output", "detail"), [("[1]", "has no item 1 any more"), ("{}", "is an object")])
def test_an_item_that_is_gone_fails_its_instance(output: str, detail: str):
    """As after its source was run again and wrote a shorter list, or none."""
    world = after('["x", "y"]', **over(), retries=1, command=Shell(script="true"))
    end(world, "b[1]", exit_code=1)
    key = TaskKey(RUN, A)
    world.db.outputs[key] = msgspec.structs.replace(world.db.outputs[key], value=output)
    world.tell(world.expired("b[0]"))
    assert world.published[-1].message.item == raw("1" if output == "[1]" else "null")
    world.ring("b[1]", "retry")
    assert detail in world.task("b[1]").detail


def test_a_list_that_is_gone_is_left_out():
    """The reducing task was admitted with it; published again, it says what is missing on its worker."""
    world = reduced("1")
    key = TaskKey(RUN, TaskId("b"))
    world.checked = False
    world.db.tasks[key] = msgspec.structs.replace(world.db.tasks[key], mapped=None)
    world.restart()
    world.tell(world.expired("c"))
    assert world.published[-1].message.inputs == {}
