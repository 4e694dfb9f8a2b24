"""Real servers for the tests: a RabbitMQ and a PostgreSQL, found or started, and always ended again.

Each is looked for in three ways, in this order: `env`, the one that HEADWAY_TEST_BROKER_URL or
HEADWAY_TEST_DATABASE_URL names; `docker`, a container, where an engine answers and has or gets the image; `local`, a
private one run from the installed programs, on free ports of 127.0.0.1 and in a folder of its own.
HEADWAY_TEST_SERVERS=env|docker|local allows only that way. Where none works, `Unavailable` says why and what to do.

A server that was started here ends with the process that started it, even when that is killed. See server.py for what a
test may do to one, and conftest.py for the fixtures.
"""

from .choice import start_postgresql, start_rabbitmq
from .postgresql import PostgreSQL
from .rabbitmq import RabbitMQ
from .server import Unavailable

__all__ = ["PostgreSQL", "RabbitMQ", "Unavailable", "start_postgresql", "start_rabbitmq"]
