"""docs/protocol.md says what the code does, wherever a program can compare them."""

import re

import msgspec
import pytest

from golden import FOLDER, PROTOCOL, examples_in
from golden.messages_v1 import MESSAGES
from headway.protocol.kinds import ROLE_OF_KIND, kind_of
from headway.protocol.limits import MESSAGE_BYTES_MAX, OUTPUT_BYTES_MAX, TAIL_BYTES_MAX
from headway.protocol.names import partition_label, partition_of
from headway.protocol.placeholders import CONTEXT_NAMES
from headway.protocol.topology import EXCHANGES, LOG_QUEUE, control_queue, event_queue, task_queue

PAGE = PROTOCOL.read_text("utf-8")


def test_every_message_has_its_example():
    """The examples are the golden files: `PYTHONPATH=tests python -m golden` brings them in line."""
    assert examples_in(PAGE) == {name: (FOLDER / f"{name}.json").read_text("utf-8") for name in MESSAGES}


def test_the_table_of_senders_is_ours():
    """Each kind stands with its role."""
    rows = re.findall(r"^\| (worker|operator|clock|scheduler|broker) \| (`.*) \|$", PAGE, re.MULTILINE)
    said = {kind: role for role, kinds in rows for kind in re.findall(r"`(\w+)`", kinds)}
    assert said == {kind_of(message): role for message, role in ROLE_OF_KIND.items()}


@pytest.mark.parametrize("queue", [task_queue("<queue>"), event_queue(0), LOG_QUEUE, control_queue("<worker>")])
def test_queues_stand_there_with_their_arguments(queue):
    """Whoever declares one with others is refused by the broker."""
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| `{queue.name}`")]
    (row,) = [row for row in rows if "topic, durable" not in row]  # the exchange of this name
    assert all(f"`{name}` {str(value).lower()}" in row for name, value in queue.arguments.items())
    assert all(f"`{binding.exchange}`" in row and f"`{binding.pattern}`" in row for binding in queue.bindings)


def test_exchanges_stand_there():
    """Each with its alternate."""
    for exchange in EXCHANGES:
        (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{exchange.name}` | topic")]
        assert (exchange.alternate or "") in row


def test_the_partitions_it_names_are_right():
    """They are test data for whoever writes a worker."""
    said = re.findall(r"`([\w-]+)`(?: is)? in\s+`(p\d\d)`", PAGE)
    assert len(said) == 4
    assert all(partition_label(partition_of(dag_id)) == label for dag_id, label in said)


def test_placeholders_and_limits_stand_there():
    """Every name, and every size that a worker must keep."""
    assert all(f"`{name}`" in PAGE for name in CONTEXT_NAMES)
    assert (MESSAGE_BYTES_MAX, OUTPUT_BYTES_MAX, TAIL_BYTES_MAX) == (1 << 20, 64 << 10, 4 << 10)
    assert all(size in PAGE for size in ("1 MiB", "64 KiB", "4 KiB"))


def test_what_may_be_left_out_is_what_has_a_default():
    """The sentence about it lists these fields and no others."""
    said = {
        "task": {"env", "cwd", "timeout_seconds", "on_partition", "inputs", "item", "code", "secrets"}
        | {"poll", "success_codes"},
        "finished": _fields_after("seq", "finished"),
        "trigger": {"params"},
        "cancel": {"task_id"},
        "capacity": {"to", "room", "detail"},
        "continue": {"task_id"},
        "run_due": {"previous", "backfill_id", "params"},
        "backfill": _fields_after("end", "backfill"),
        "dag_version": {"schedule", "max_active_runs"},
        "log_chunk": {"eof", "poll"},
    }
    for name, message in MESSAGES.items():
        optional = {field.encode_name for field in msgspec.structs.fields(message) if not field.required}
        assert optional - {"v", "map_index", "held"} == said.get(name.split(".")[0], set())


def _fields_after(field, name):
    names = list(msgspec.json.decode((FOLDER / f"{name}.json").read_bytes()))
    return set(names[names.index(field) + 1 :])
