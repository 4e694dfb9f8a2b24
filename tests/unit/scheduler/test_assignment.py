"""The task message: complete in itself, and refused where its inputs are not."""

from datetime import timedelta

import msgspec
import pytest

from headway.protocol.dag import Argv, Code, OutputRef, Python, Shell
from headway.protocol.limits import INPUT_BYTES_MAX
from headway.protocol.names import QueueName, TaskId
from headway.protocol.topology import QueueLimits
from world import START, World, running
from world.audit import audit
from world.dags import dag


def message_of(world: World, name: str):
    """Return what was published last for a task."""
    return [one.message for one in world.published if one.message.task_id == name][-1]


def after(output: str | None, **fields: object) -> World:
    """Return a world in which `a` wrote this output and `b`, which has these fields, may be next."""
    world = running("a >> b", b=fields)
    world.start("a")
    world.tell(world.finished("a", output=None if output is None else msgspec.Raw(output.encode())))
    return world


def takes(*path: str | int) -> dict:
    """Return a command that takes a part of the output of `a`."""
    return {"command": Argv(args=("load", OutputRef(task_id=TaskId("a"), path=path)))}


def test_a_message_says_all_that_a_worker_must_know():
    """It needs no database and no DAG (P7)."""
    fields = {"command": Shell(script="x"), "env": {"K": "v"}, "cwd": "/tmp", "timeout": 9.0, "queue": "gpu"}  # noqa: S108
    world = running("a", a=fields, params={"region": "EU", "size": 1})
    message = message_of(world, "a")
    assert (message.command, message.env, message.cwd) == (fields["command"], {"K": "v"}, fields["cwd"])
    assert (message.timeout_seconds, message.queue, message.fence, message.try_number) == (9.0, "gpu", 1, 1)
    assert message.token == world.attempt("a").token
    assert (message.context.logical_date, message.context.params) == (START, {"region": "EU", "size": 1})


def test_a_runs_parameters_go_before_the_dags():
    """What the trigger does not give has the DAG's value."""
    world = running("a", params={"region": "EU", "size": 1})
    world.tell(world.trigger("run-2", region="US"))
    assert message_of(world, "a").context.params == {"region": "US", "size": 1}


def test_the_fence_rises_with_each_attempt():
    """A system that checks it turns the earlier one away."""
    world = running("a")
    world.start("a")
    world.tell(world.worker_lost("a"))
    assert [one.message.fence for one in world.published] == [1, 2]


def test_a_queue_with_a_ttl_of_its_own_is_waited_for_as_long():
    """And a minute; an audit, which knows no limits, decides the same."""
    limits = {QueueName("io"): QueueLimits(ttl_seconds=5.5)}
    world = World(dag("a, b", a={"queue": "io"}), limits=limits)
    world.tell(world.online())
    world.tell(world.trigger())
    assert world.timer("a", "queued_deadline").due == world.now + timedelta(seconds=65.5)
    assert world.timer("b", "queued_deadline").due == world.now + timedelta(seconds=660)
    world.ring("a", "queued_deadline")
    assert [one.publication for one in world.published if one.message.task_id == "a"] == [1, 2]
    assert audit(world) == []


def test_inputs_travel_in_the_message():
    """Those of `inputs` and those that arguments refer to, each whole and once."""
    world = after('{"rows": [7]}', **takes("rows", 0), inputs=("a",))
    assert message_of(world, "b").inputs == {"a": msgspec.Raw(b'{"rows": [7]}')}


def test_the_fence_rises_with_each_attempt_and_not_with_a_publication():
    """A system that checks it lets an older child do nothing."""
    world = running("a")
    world.tell(world.expired("a"))
    world.start("a")
    world.tell(world.worker_lost("a"))
    assert [one.message.fence for one in world.published] == [1, 1, 2]


@pytest.mark.parametrize("again", ["expired", "delivery_limit", "missing", "queued_deadline", "republish"])
def test_inputs_travel_with_every_publication(again: str):
    """A message that is published again is the same message."""
    world = after("[1]", inputs=("a",))
    world.restart()
    if again in ("republish", "delivery_limit"):
        world.tell(world.unroutable("b") if again == "republish" else world.delivery_limit("b"))
        again = "republish"
    if again in ("expired", "missing"):
        assert world.tell(getattr(world, again)("b")).applied
    else:
        assert world.ring("b", again).applied
    first, second = [one for one in world.published if one.message.task_id == "b"]
    assert (first.message, second.publication) == (second.message, 2)


@pytest.mark.parametrize(
    ("output", "path"),
    [("7", ()), ("null", ()), ('{"a": {"b": 1}}', ("a", "b")), ("[1, [2]]", (1, 0)), ("[1]", (-1,)), ('{"0": 1}', "0")],
)
def test_a_part_that_is_there_is_taken(output: str, path: tuple):
    """By name in an object, by place in a list, from the end if negative."""
    world = after(output, **takes(*path))
    if output == "null":
        assert world.states()["b"] == "failed"  # the message cannot tell null from no output
    else:
        assert world.states()["b"] == "queued"


@pytest.mark.parametrize(
    ("output", "path"),
    [
        ("7", ("a",)),
        ('{"a": 1}', ("b",)),
        ("[1]", (1,)),
        ("[1]", (-2,)),
        ("[1]", ("a",)),
        ("{}", (0,)),
        ('"text"', (0,)),
    ],
)
def test_a_part_that_is_not_there_fails_the_task(output: str, path: tuple):
    """With a sentence that names it."""
    world = after(output, **takes(*path))
    shown = "".join(f"[{part!r}]" for part in path)
    assert (world.task("b").state, world.task("b").detail) == ("failed", f"the output of task 'a' has no part {shown}")


@pytest.mark.parametrize("letter", ["x", "é"])
def test_too_much_input_fails_the_task(letter: str):
    """Its size is counted in bytes, as it travels."""
    size = INPUT_BYTES_MAX // len(letter.encode())
    fits = after(f'"{letter * (size - 2)}"', inputs=("a",))
    assert fits.states()["b"] == "queued"
    world = after(f'"{letter * size}"', inputs=("a",))
    assert world.task("b").detail.startswith("what it takes in has 2621")
    assert "bytes, and may have 262144" in world.task("b").detail


def calls(*path: str | int) -> dict:
    """Return a function that takes a part of the output of `a`."""
    ref = {"kind": "output", "task_id": "a", "path": list(path)}
    code = Code(kind="file", ref="jobs.py", digest="sha256:0")
    return {"command": Python(function="f", kwargs={"rows": [ref]}), "code": code}


def test_a_function_travels_with_its_code_and_what_it_takes():
    """As the DAG version has it; an output that has no such part is told before anybody starts it."""
    world = after('{"rows": [7]}', **calls("rows", 0))
    message = message_of(world, "b")
    assert (message.code, message.command) == (calls("rows", 0)["code"], calls("rows", 0)["command"])
    assert message.inputs == {"a": msgspec.Raw(b'{"rows": [7]}')}
    world = after('{"rows": [7]}', **calls("no"))
    assert "has no part ['no']" in world.task("b").detail
