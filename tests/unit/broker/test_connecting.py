"""From a URL to a broker, and what docs/transports.md says of each."""

from pathlib import Path

import msgspec
import pytest

from brokers import Listener
from headway.broker.connecting import connect, is_memory
from headway.broker.port import Broker, Capabilities
from headway.broker.portable import Hub
from headway.protocol.errors import OneProcessOnly, WrongSettings

PAGE = Path(__file__).parents[3] / "docs" / "transports.md"
WORDS = {True: "yes", False: "no"}


def brokers() -> dict[str, Broker]:
    """Return a broker that is not open for each kind of URL."""
    sink = Listener()
    made = {scheme: connect(f"{scheme}u:p@h/v", name="test", sink=sink) for scheme in ("amqp://", "kombu+amqp://")}
    return made | {"memory://": Hub().connect(name="test", sink=sink)}


def table() -> dict[str, dict[str, str]]:
    """Return the page's table of capabilities: by transport, then by name."""
    lines = PAGE.read_text("utf-8").split("## What each gives")[1].strip().split("\n\n")[0].splitlines()
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    return {name: {row[0]: row[place] for row in rows[2:]} for place, name in enumerate(rows[0][1:4], start=1)}


def test_the_page_tells_what_the_adapters_say_of_themselves():
    """Each capability of each transport, no more and no less."""
    for name, broker in brokers().items():
        said = {key: WORDS.get(value, value) for key, value in msgspec.structs.asdict(broker.capabilities).items()}
        assert table()[name] == said
    assert list(table()["memory://"]) == list(Capabilities.__struct_fields__)


def test_a_broker_knows_its_user():
    """That of the URL; in memory all are one."""
    assert {name: broker.user for name, broker in brokers().items()} == {
        "amqp://": "u",
        "kombu+amqp://": "u",
        "memory://": "headway",
    }


@pytest.mark.parametrize("url", ["memory://", "memory:", "memory:///"])
def test_memory_is_for_one_process(url: str):
    """A process of its own would wait for ever for the others, so it is refused."""
    assert is_memory(url)
    with pytest.raises(OneProcessOnly, match="joins the services of one process"):
        connect(url, name="test", sink=Listener())


@pytest.mark.parametrize("url", ["redis://h", "kombu+redis://h", "memory", ""])
def test_another_url_is_refused(url: str):
    """With what may be written."""
    assert not is_memory(url)
    with pytest.raises(WrongSettings, match="write amqp://"):
        connect(url, name="test", sink=Listener())
