"""Broker URLs: what they say, what is refused, and that no password is ever shown."""

import pytest

from headway.broker.address import Address, parse_url, redact
from headway.protocol.errors import WrongSettings


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://localhost", ("localhost", 5672, "/", "guest", "guest", False)),
        ("amqp://localhost/", ("localhost", 5672, "/", "guest", "guest", False)),
        ("amqp://u:p@h:1234/%2F", ("h", 1234, "/", "u", "p", False)),
        ("amqps://u:p@h/team", ("h", 5671, "team", "u", "p", True)),
        ("amqp://u%40x:p%2F%3Aq@[::1]:1/a%2Fb", ("::1", 1, "a/b", "u@x", "p/:q", False)),
        ("amqp://u:@h", ("h", 5672, "/", "u", "", False)),
        ("kombu+amqp://u:p@h/team", ("h", 5672, "team", "u", "p", False)),
        ("kombu+amqps://u:p@h/team", ("h", 5671, "team", "u", "p", True)),
    ],
)
def test_a_url_is_read(url: str, expected: tuple[object, ...]):
    """Scheme, host, port, virtual host and login, with RabbitMQ's defaults."""
    got = parse_url(url)
    assert (got.host, got.port, got.vhost, got.user, got.password, got.tls) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://localhost", "write amqp://"),
        ("localhost:5672", "write amqp://"),
        ("", "write amqp://"),
        ("amqp://", "names no host"),
        ("amqp://u:geheim@h/a/b", "written %2F"),
        ("amqp://u:geheim@h/?heartbeat=1", "no options"),
        ("amqp://u:12#geheim@h/", "no options"),
        ("amqp://u:geheim/x@h/", "is not a URL"),
        ("amqp://u:geheim", "is not a URL"),
        ("amqp://u:geheim@h:99999", "is not a URL"),
    ],
)
def test_what_is_no_broker_url_is_refused_without_showing_the_password(url: str, reason: str):
    """The error names the setting and says what to write."""
    with pytest.raises(WrongSettings, match="HEADWAY_BROKER_URL") as caught:
        parse_url(url)
    assert reason in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://u:geheim@h:1/v", "amqp://u:***@h:1/v"),
        ("amqp://h:1/v", "amqp://h:1/v"),
        ("amqp://h", "amqp://h"),
        ("amqp://u@h", "amqp://u@h"),
        ("amqp://u:ge@h:eim@h/v", "amqp://u:***@h/v"),
        ("amqp://u:geheim", "amqp://u:***"),
        ("amqp://:geheim@h", "amqp://:***@h"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str):
    """Stars for it, even where the URL is broken."""
    assert redact(url) == shown


def test_an_address_is_shown_by_its_url():
    """The redacted URL travels with it, for errors."""
    assert isinstance(parse_url("amqp://u:geheim@h"), Address)
    assert parse_url("amqp://u:geheim@h").url == "amqp://u:***@h"
