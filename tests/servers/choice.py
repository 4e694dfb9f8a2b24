"""Chooses how each server is had; the only module that reads the HEADWAY_TEST_ variables."""

import os
from collections.abc import Callable, Mapping
from typing import TypeVar

from . import postgresql, rabbitmq
from .server import Server, Unavailable

AnyServer = TypeVar("AnyServer", bound=Server)
WAYS = ("env", "docker", "local")


def start_rabbitmq() -> rabbitmq.RabbitMQ:
    """Return a RabbitMQ node that answers; raise Unavailable where no way leads to one."""
    management_port = int(os.environ.get("HEADWAY_TEST_MANAGEMENT_PORT", "15672"))
    ways = {
        "env": lambda: rabbitmq.given(required("HEADWAY_TEST_BROKER_URL"), management_port),
        "docker": rabbitmq.in_container,
        "local": rabbitmq.private,
    }
    return first_that_starts("RabbitMQ", ways)


def start_postgresql() -> postgresql.PostgreSQL:
    """Return a PostgreSQL server that answers; raise Unavailable where no way leads to one."""
    ways = {
        "env": lambda: postgresql.given(required("HEADWAY_TEST_DATABASE_URL")),
        "docker": postgresql.in_container,
        "local": postgresql.private,
    }
    return first_that_starts("PostgreSQL", ways)


def required(variable: str) -> str:
    """Return an environment variable; raise Unavailable where it is not set."""
    if value := os.environ.get(variable):
        return value
    text = f"{variable} is not set"
    raise Unavailable(text)


def first_that_starts(name: str, ways: Mapping[str, Callable[[], AnyServer]]) -> AnyServer:
    """Return the server of the first allowed way that is open here; that it then starts is not optional."""
    allowed = os.environ.get("HEADWAY_TEST_SERVERS", "auto")
    if allowed not in {"auto", *WAYS}:
        text = f"HEADWAY_TEST_SERVERS is {allowed!r}; it must be auto, {', '.join(WAYS)}"
        raise Unavailable(text)
    reasons = []
    for way in WAYS if allowed == "auto" else (allowed,):
        try:
            server = started(ways[way])
        except Unavailable as error:
            reasons.append(f"{way}: {error}")
        else:
            server.origin = "; ".join([server.origin, *reasons])
            return server
    text = f"no {name} to test with ({'; '.join(reasons)})"
    raise Unavailable(text)


def started(make: Callable[[], AnyServer]) -> AnyServer:
    """Make a server and start it; one that does not answer is removed."""
    server = make()
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return server
