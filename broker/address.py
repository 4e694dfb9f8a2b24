"""Broker URLs: read, checked, and shown without their password."""

import re
from typing import Final, Literal
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from headway.protocol.errors import WrongSettings

SETTING: Final = "HEADWAY_BROKER_URL"
_PORTS: Final = {"amqp": 5672, "amqps": 5671, "kombu+amqp": 5672, "kombu+amqps": 5671}
_USER: Final = "guest"  # user and password where the URL names none, as RabbitMQ's specification of its URLs has it
_SECRET: Final = re.compile(
    r"""(?<=://)(?P<user>[^:/@]*):(?:
        .*@                          # a password ends at the last @, whatever was forgotten to be quoted in it
        | (?!\d*(?:[/?\#]|$))[^/]*   # without one, what cannot be a port may be a password
    )""",
    re.VERBOSE,
)


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a broker is and who we are to it. `url` is fit to be shown; `password` never is."""

    url: str
    host: str
    port: int
    vhost: str
    user: str
    password: str
    tls: bool
    library: Literal["pika", "kombu"]


def redact(url: str) -> str:
    """Return a URL with stars for its password, even where it is no URL."""
    return _SECRET.sub(lambda found: f"{found['user']}:***" + "@" * ("@" in found[0]), url)


def parse_url(url: str) -> Address:
    """Read `amqp://USER:PASSWORD@HOST:PORT/VHOST`, or `amqps://` for TLS; raise WrongSettings for anything else.

    With `kombu+` before it, kombu is to be used instead of pika.
    """
    parts = _split(url)
    if parts.scheme not in _PORTS:
        raise _wrong(url, "write amqp://USER:PASSWORD@HOST/VHOST, amqps:// for TLS, or memory:// for one process")
    if not parts.hostname:
        raise _wrong(url, "it names no host")
    if parts.query or parts.fragment:
        raise _wrong(url, "there are no options after '?' or '#', and in a password they are written %3F and %23")
    vhost = parts.path.removeprefix("/")
    if "/" in vhost:
        raise _wrong(url, "a slash in the name of a virtual host is written %2F")
    return Address(
        url=redact(url),
        host=parts.hostname,
        port=parts.port or _PORTS[parts.scheme],
        vhost=unquote(vhost) or "/",
        user=unquote(parts.username or _USER),
        password=unquote(_USER if parts.password is None else parts.password),
        tls=parts.scheme.endswith("s"),
        library="kombu" if parts.scheme.startswith("kombu") else "pika",
    )


def _split(url: str) -> SplitResult:
    """Split a URL; what makes no sense to Python's reader (a port that is none) is our user's mistake."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        # Python's own text may quote the password, so it is neither shown nor chained.
        raise _wrong(url, "it is not a URL: special characters in a password are written as %XX") from None
    return parts


def _wrong(url: str, detail: str) -> WrongSettings:
    return WrongSettings(name=SETTING, value=redact(url), detail=detail)
