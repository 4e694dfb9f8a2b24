"""Names are legal or refused with their rule, and partitions and keys never move."""

import pytest

from headway.protocol.errors import InvalidName
from headway.protocol.names import (
    WORKERS_PARTITION,
    check_name,
    event_key,
    log_key,
    partition_label,
    partition_of,
    task_key,
)


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("DAG id", "nightly_sales"),
        ("DAG id", "1000genome-chameleon"),
        ("task id", "NFCORE.RNASEQ_1"),
        ("task id", "_"),
        ("task id", "x" * 200),
        ("run id", "d.2026-01-01T00:00:00+00:00"),
        ("queue", "io-2_a"),
        ("queue", "q" * 63),
        ("worker name", "Host1-1"),
        ("parameter", "region"),
        ("environment variable", "_PATH"),
    ],
)
def test_legal_names_pass(what, value):
    """A legal name comes back as it is."""
    assert check_name(what, value) == value


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("DAG id", ""),
        ("DAG id", "a b"),
        ("DAG id", ".hidden"),
        ("DAG id", "a\n"),
        ("DAG id", None),
        ("task id", "x" * 201),
        ("task id", "a/b"),
        ("task id", "é"),
        ("run id", "a#b"),
        ("queue", "IO"),
        ("queue", "a.b"),
        ("queue", "q" * 64),
        ("worker name", "a.b"),
        ("worker name", "a*"),
        ("parameter", "1st"),
        ("environment variable", "A-B"),
    ],
)
def test_other_names_are_refused_with_their_rule(what, value):
    """What means something in a file name, a routing key or a pattern is no part of a name."""
    with pytest.raises(InvalidName, match=f"^{what} .* is not a legal name: use ") as caught:
        check_name(what, value)
    assert caught.value.fields["value"] == value


@pytest.mark.parametrize(
    ("dag_id", "partition"), [("nightly_sales", 4), ("a", 3), ("d1", 6), ("bwa-chameleon-large-001", 15)]
)
def test_partitions_never_move(dag_id, partition):
    """The partition of a DAG is the crc32 of its id modulo 16, in every version."""
    assert partition_of(dag_id) == partition


def test_the_key_of_output_names_its_user():
    """The broker's topic permissions compare it."""
    assert log_key("headway-db1") == "log.headway-db1"


def test_keys_end_in_their_partition():
    """Tasks, events about them and events about workers are found by the last word of their key."""
    assert task_key("io", "nightly_sales") == "task.io.p04"
    assert event_key("w1", "started", 12) == "event.w1.started.p12"
    assert event_key("w1", "online", WORKERS_PARTITION) == "event.w1.online.workers"
    assert partition_label(3) == "p03"
