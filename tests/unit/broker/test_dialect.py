"""What RabbitMQ's versions understand differently."""

import pytest

from headway.broker.dialect import arguments_for, version_of
from headway.protocol.topology import event_queue, task_queue


@pytest.mark.parametrize(
    ("text", "version"),
    [("3.10.8", (3, 10)), ("4.1.0-rc.2", (4, 1)), ("4.0", (4, 0)), ("", ()), ("unknown", ())],
)
def test_a_version_is_read_as_far_as_it_matters(text: str, version: tuple[int, ...]):
    """An unknown one counts as older than all."""
    assert version_of(text) == version


@pytest.mark.parametrize(("version", "sent"), [((3, 10), False), ((3, 13), False), ((4, 0), True), ((4, 3), True)])
def test_no_limit_is_said_only_where_it_is_understood(version: tuple[int, ...], *, sent: bool):
    """Before 4.0 a delivery limit of -1 drops each message that is returned once."""
    queue = event_queue(0)
    got = arguments_for(queue, version)
    assert ("x-delivery-limit" in got) == sent
    assert got.items() <= queue.arguments.items()
    assert len(queue.arguments) - len(got) == (not sent)


def test_a_real_limit_is_always_said():
    """Only -1 is special."""
    assert arguments_for(task_queue("q"), (3, 10)) == task_queue("q").arguments
