"""What a child is given, and that it is nothing of the worker's own."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from headway.protocol.dag import Argv, ItemRef, OutputRef, Python, Shell
from headway.protocol.messages import RunContext
from headway.protocol.placeholders import CONTEXT_NAMES
from headway.worker.environment import BadInput, call_of, command_of, environment_of
from shopfloor import task

OUTPUT = Path("/tasks/t1.output")
CONTEXT = RunContext(
    ds="2026-03-01",
    logical_date=datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2))),
    data_interval_start=datetime(2026, 2, 28, tzinfo=UTC),
    data_interval_end=datetime(2026, 3, 1, 0, 0, 0, 500, tzinfo=UTC),
    params={"region": "EU", "rows": 5, "share": 0.5, "dry": True, "none": None},
)


def placeholder(name):
    """Write a placeholder."""
    return "{{ " + name + " }}"


def argv(*args, **changed):
    """Return the command of an argv task."""
    made = task(command=Argv(args=args), context=CONTEXT, **changed)
    return command_of(made, made.command)


def test_the_environment_is_exactly_the_contract():
    """The worker's PATH, HOME, LANG and TZ, the task's variables, and Headway's."""
    inherited = {"PATH": "/bin", "HOME": "/h", "LANG": "C", "HEADWAY_BROKER_URL": "amqp://u:secret@b", "EDITOR": "vi"}
    found = environment_of(task(env={"A": "1", "LANG": "de"}, context=CONTEXT), inherited, output=OUTPUT, inputs=None)
    assert found == {
        "PATH": "/bin",
        "HOME": "/h",
        "LANG": "de",
        "A": "1",
        "HEADWAY_DAG_ID": "d",
        "HEADWAY_RUN_ID": "r",
        "HEADWAY_TASK_ID": "task-t1",
        "HEADWAY_MAP_INDEX": "-1",
        "HEADWAY_TRY": "1",
        "HEADWAY_FENCE": "1",
        "HEADWAY_POLL": "1",
        "HEADWAY_DS": "2026-03-01",
        "HEADWAY_LOGICAL_DATE": "2026-02-28T23:30:00Z",
        "HEADWAY_DATA_INTERVAL_START": "2026-02-28T00:00:00Z",
        "HEADWAY_DATA_INTERVAL_END": "2026-03-01T00:00:00.000500Z",
        "HEADWAY_PARAM_region": "EU",
        "HEADWAY_PARAM_rows": "5",
        "HEADWAY_PARAM_share": "0.5",
        "HEADWAY_PARAM_dry": "true",
        "HEADWAY_PARAM_none": "",
        "HEADWAY_OUTPUT": "/tasks/t1.output",
    }


MAPPED = {"map_index": 2, "item": msgspec.Raw(b'{"name": "x", "rows": [1, null]}')}


@pytest.mark.parametrize(
    ("item", "text"), [(b'"a b"', "a b"), (b"null", ""), (b"1.5", "1.5"), (b'{"x": [1, "y"]}', '{"x":[1,"y"]}')]
)
def test_an_instance_has_its_item(item, text):
    """A text as it is, nothing for null, the rest as JSON; a task that is not mapped has none."""
    made = task(map_index=2, item=msgspec.Raw(item), command=Argv(args=("x", placeholder("item"), ItemRef())))
    found = environment_of(made, {}, output=OUTPUT, inputs=None)
    assert (found["HEADWAY_ITEM"], found["HEADWAY_MAP_INDEX"]) == (text, "2")
    assert command_of(made, made.command) == ["x", text, text]


def test_a_part_of_an_item_is_an_argument():
    """Of a program as text, of a function as it is; one that is not there is a bad input."""
    assert argv("x", ItemRef(path=("name",)), ItemRef(path=("rows", 0)), **MAPPED) == ["x", "x", "1"]
    assert argv("x", ItemRef(path=("no",)), **MAPPED) == BadInput("its item has no part ['no']")
    command = Python(function="f", args=({"kind": "map_item", "path": ["rows"]}, {"kind": "map_item"}))
    called = msgspec.json.decode(call_of(task(**MAPPED), command))
    assert called["args"] == [[1, None], {"kind": "map_item"}]


def test_nobody_overrides_what_is_headways():
    """A task that sets such a variable, past all checks, is not heard."""
    found = environment_of(task(env={"HEADWAY_TRY": "9"}), {}, output=OUTPUT, inputs=None)
    assert found["HEADWAY_TRY"] == "1"


def test_inputs_are_named_where_there_are_any():
    """By the file that holds them."""
    found = environment_of(task(), {}, output=OUTPUT, inputs=Path("/in"))
    assert found["HEADWAY_INPUTS"] == "/in"


def test_a_script_is_not_rendered():
    """It is handed to bash as it is."""
    script = "echo '{{ ds }}' $HEADWAY_DS"
    assert command_of(task(), Shell(script=script)) == ["/bin/bash", "-euo", "pipefail", "-c", script]


def test_placeholders_are_filled_in():
    """Each name of the context, and parameters."""
    names = ["ds", "ds_nodash", "ts", "data_interval_start", "dag_id", "run_id", "task_id", "map_index", "try"]
    assert argv("x", *map(placeholder, names), "{{params.region}}/{{ params.rows }}") == [
        "x",
        "2026-03-01",
        "20260301",
        "2026-02-28T23:30:00Z",
        "2026-02-28T00:00:00Z",
        "d",
        "r",
        "task-t1",
        "-1",
        "1",
        "EU/5",
    ]


def test_every_name_of_the_protocol_has_a_value():
    """Whatever validation lets pass can be filled in here."""
    assert not isinstance(argv(*map(placeholder, CONTEXT_NAMES)), BadInput)


def test_a_placeholder_without_a_value_is_a_bad_input():
    """In a sentence that names it."""
    assert argv("x", "{{ params.no }}") == BadInput(
        "there is no value for the placeholder 'params.no' in its argument '{{ params.no }}'"
    )


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), '{"rows":[1,"two",null],"ok":true}'),
        (("rows",), '[1,"two",null]'),
        (("rows", 1), "two"),
        (("rows", 2), ""),
        (("ok",), "true"),
    ],
)
def test_an_output_reference_becomes_text(path, text):
    """Text as it is, nothing for null, all else as JSON."""
    inputs = {"up": msgspec.Raw(b'{"rows": [1, "two", null], "ok": true}')}
    assert argv("x", OutputRef(task_id="up", path=path), inputs=inputs) == ["x", text]


@pytest.mark.parametrize("path", [("no",), (0,), ("rows", 3), ("rows", -1), ("rows", "0"), ("rows", 1, 0)])
def test_a_part_that_is_not_there_is_a_bad_input(path):
    """Whatever the reason."""
    inputs = {"up": msgspec.Raw(b'{"rows": [1, "two", null]}')}
    assert argv("x", OutputRef(task_id="up", path=path), inputs=inputs) == BadInput(
        f"the output of task 'up' has no part {list(path)!r}"
    )


def test_an_output_that_was_not_written_is_a_bad_input():
    """The scheduler checks that; a worker believes nobody."""
    assert argv("x", OutputRef(task_id="up")) == BadInput("it takes in the output of task 'up', which wrote none")


def test_a_call_gets_outputs_as_they_are():
    """JSON stays JSON; placeholders are no more than text."""
    ref = {"kind": "output", "task_id": "up", "path": ["rows", 1]}
    command = Python(function="f", args=(1, [ref], "{{ ds }}"), kwargs={"all": {"of": ref | {"path": []}}})
    inputs = {"up": msgspec.Raw(b'{"rows": [1, null]}')}
    assert msgspec.json.decode(call_of(task(inputs=inputs), command)) == {
        "function": "f",
        "args": [1, [None], "{{ ds }}"],
        "kwargs": {"all": {"of": {"rows": [1, None]}}},
    }
    assert call_of(task(), command) == BadInput("it takes in the output of task 'up', which wrote none")
