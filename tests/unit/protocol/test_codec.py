"""The codec: what is written reads back, and whatever does not fit is MalformedMessage and nothing else."""

from typing import get_args

import msgspec
import pytest

from golden import FOLDER, as_text
from golden.messages_v1 import MESSAGES
from headway.protocol.codec import (
    decode_address,
    decode_dag,
    decode_event,
    decode_log_chunk,
    decode_order,
    decode_task,
    encode,
)
from headway.protocol.dag import Dag, Shell
from headway.protocol.dag import Task as TaskSpec
from headway.protocol.errors import MalformedMessage
from headway.protocol.kinds import Event, kind_of
from headway.protocol.limits import DAG_BYTES_MAX, MESSAGE_BYTES_MAX
from headway.protocol.log_chunk import LogChunk
from headway.protocol.messages import Task, WorkerOrder

READERS = {
    **dict.fromkeys(get_args(Event), decode_event),
    **dict.fromkeys(get_args(WorkerOrder), decode_order),
    Task: decode_task,
    LogChunk: decode_log_chunk,
}
DEEP = b"[" * 100_000 + b"]" * 100_000
STARTED = encode(MESSAGES["started"])


def with_field(name: str, value: bytes, message: bytes = STARTED) -> bytes:
    """Return a message with a field set to this JSON."""
    fields = msgspec.json.decode(message, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({**fields, name: msgspec.Raw(value)})


def test_there_is_a_golden_file_for_every_kind():
    """Each kind has a file, and each file a value."""
    kinds = {kind_of(message) for message in READERS}
    assert {name.split(".")[0] for name in MESSAGES} == kinds
    assert {path.stem for path in FOLDER.iterdir()} == set(MESSAGES)


@pytest.mark.parametrize("name", MESSAGES)
def test_golden_files_decode_to_their_value(name):
    """A message that an earlier version wrote means the same for ever."""
    body = msgspec.json.format((FOLDER / f"{name}.json").read_bytes(), indent=-1)
    assert READERS[type(MESSAGES[name])](body) == MESSAGES[name]


@pytest.mark.parametrize("name", MESSAGES)
def test_values_encode_to_their_golden_file(name):
    """Every field of the file is still written, with the same value; new ones may stand beside it."""
    then = msgspec.json.decode((FOLDER / f"{name}.json").read_bytes())
    now = msgspec.json.decode(encode(MESSAGES[name]))
    assert {**now, **then} == now
    assert as_text(MESSAGES[name]).endswith("}\n")


@pytest.mark.parametrize("name", MESSAGES)
def test_unknown_fields_are_ignored(name):
    """A newer writer may say more than we understand."""
    body = with_field("invented", b'{"a":[1]}', encode(MESSAGES[name]))
    assert READERS[type(MESSAGES[name])](body) == MESSAGES[name]


@pytest.mark.parametrize("name", MESSAGES)
def test_a_field_that_is_missing_takes_its_default_or_is_refused(name):
    """Whatever is left out, the reader says either a message or MalformedMessage."""
    body = encode(MESSAGES[name])
    read = READERS[type(MESSAGES[name])]
    for field in msgspec.json.decode(body):
        less = {key: value for key, value in msgspec.json.decode(body).items() if key != field}
        try:
            assert read(msgspec.json.encode(less))
        except MalformedMessage as error:
            assert f"`{field}`" in str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (with_field("kind", b'"invented"'), "Invalid value 'invented'"),
        (with_field("kind", b'"grant"'), "Invalid value 'grant'"),
        (with_field("v", b"2"), "version 2 of a kind known up to version 1"),
        (with_field("v", b"0"), "version 0"),
        (with_field("seq", b'"1"'), "Expected `int`"),
        (with_field("invented", DEEP), "recursion"),
        (with_field("invented", b'"\xff"'), "utf-8"),
        (with_field("worker", b'"\xff"'), "utf-8"),
        (with_field("worker", b'"\\ud800"'), "Not a message"),
        (b"", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `kind`"),
        (b"\xff\xfe", "utf-8"),
        (b"not json", "malformed"),
        (STARTED[:-1], "truncated"),
        (b" " * (MESSAGE_BYTES_MAX + 1), f"a message may have {MESSAGE_BYTES_MAX}"),
    ],
)
def test_what_does_not_fit_is_malformed(body, why):
    """No bytes make a reader raise anything else, however they were made."""
    with pytest.raises(MalformedMessage, match=why):
        decode_event(body)


def test_a_time_without_offset_is_malformed():
    """Nobody could say when it is."""
    with pytest.raises(MalformedMessage, match="timezone"):
        decode_event(with_field("logical_date", b'"2026-01-01T00:00:00"', encode(MESSAGES["trigger"])))


def test_null_is_no_output():
    """A task that wrote none and one that wrote null are the same, before and after the wire."""
    silent = MESSAGES["finished.signal"]
    assert decode_event(encode(silent)).output is None
    assert msgspec.structs.replace(silent, output=msgspec.Raw(b"null")).output is None


def test_outputs_of_any_shape_arrive_as_they_were_written():
    """An output is not read on its way."""
    for output in (b"[1, 2]", b'"text"', b"0", b"false", b'{"a" : null}'):
        body = with_field("output", output, encode(MESSAGES["finished"]))
        assert bytes(decode_event(body).output) == output


def test_the_address_of_a_task_message_can_be_read_alone():
    """Who only wants to know which attempt a message is about need not understand its command."""
    body = with_field("command", b'{"kind":"invented"}', encode(MESSAGES["task"]))
    with pytest.raises(MalformedMessage):
        decode_task(body)
    address = decode_address(body)
    assert (address.task_id, address.token) == ("load", MESSAGES["task"].token)


def test_a_dag_reads_back():
    """The value that is stored is the value that was parsed."""
    dag = Dag(dag_id="d", tasks=(TaskSpec(task_id="a", command=Shell(script="true")),), params={"big": 10**15})
    assert decode_dag(encode(dag)) == dag


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"dag_id":"d"}', "missing required field `tasks`"),
        (b'{"dag_id":"d","tasks":[],"invented":1}', "unknown field"),
        (b'{"dag_id":"\xff","tasks":[]}', "utf-8"),
        (b'{"dag_id":"d","tasks":' + DEEP + b"}", "Not a message"),
        (b" " * (DAG_BYTES_MAX + 1), f"a DAG value may have {DAG_BYTES_MAX}"),
    ],
)
def test_what_is_no_dag_is_malformed(body, why):
    """DAG values are strict: they are ours, and a misspelt field must not be lost."""
    with pytest.raises(MalformedMessage, match=why):
        decode_dag(body)
