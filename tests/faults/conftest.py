"""What the tests of faults share: a cluster with short leases, and the line that each of them reports.

A cluster is started once for each file, on a virtual host and a database of its own: what one fault left is what the
next one meets, as in life. `Trial.judge` ends a test: it judges the runs and audits, and its line is shown at the end.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers.gate import Gate
from cluster import Cluster
from servers import PostgreSQL, RabbitMQ
from trial import Say, Trial

LINES: pytest.StashKey[list[str]] = pytest.StashKey()
SHORT = {"HEADWAY_WORKER_LEASE": "6s", "HEADWAY_WORKER_HEARTBEAT": "1s"}
"""A silent worker is lost after 8 s: its lease and two heartbeats."""


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the lines."""
    config.stash[LINES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show what each fault came to."""
    for line in config.stash[LINES]:
        terminalreporter.write_line(line)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder for one file of tests."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def vhost(rabbitmq: RabbitMQ) -> Iterator[str]:
    """Give the name of a virtual host for one file of tests."""
    rabbitmq.start()
    name = rabbitmq.create_vhost()
    yield name
    rabbitmq.start()
    rabbitmq.delete_vhost(name)


@pytest.fixture(scope="module")
def database(postgresql: PostgreSQL) -> Iterator[str]:
    """Give the name of a database for one file of tests."""
    postgresql.start()
    name = postgresql.create_database()
    yield name
    postgresql.start()
    postgresql.drop_database(name)


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, home: Path, vhost: str, database: str) -> Iterator[Cluster]:
    """Give a scheduler and two workers of four slots for all tests of a file, which may have SETTINGS and CONFIG."""
    rabbitmq, postgresql = request.getfixturevalue("rabbitmq"), request.getfixturevalue("postgresql")
    settings = SHORT | getattr(request.module, "SETTINGS", {})
    (home / "headway.toml").write_text(getattr(request.module, "CONFIG", ""))
    with Cluster(home, rabbitmq.url(vhost), postgresql.url(database), **settings) as cluster:
        cluster.start_scheduler()
        cluster.start_worker("w1")
        cluster.start_worker("w2")
        cluster.wait_for(lambda: len(cluster.json("workers")) == 2)
        yield cluster


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    """Give the cluster with everything running, whatever the test before left; what this one adds goes with it."""
    for service in shared.services.values():
        if not service.is_running():
            service.start()
    usual = set(shared.services)
    shared.wait_for(
        lambda: {"w1", "w2"} <= {one["worker"] for one in shared.json("workers") if one["state"] == "online"}
    )
    yield shared
    shared.retire(*(set(shared.services) - usual))


@pytest.fixture
def broker_gate(rabbitmq: RabbitMQ) -> Iterator[Gate]:
    """Give an open gate on the way to RabbitMQ."""
    gate = Gate(rabbitmq.host, rabbitmq.port)
    gate.open()
    yield gate
    gate.shut()


@pytest.fixture
def database_gate(postgresql: PostgreSQL) -> Iterator[Gate]:
    """Give an open gate on the way to PostgreSQL."""
    gate = Gate(postgresql.host, postgresql.port)
    gate.open()
    yield gate
    gate.shut()


@pytest.fixture
def say(pytestconfig: pytest.Config) -> Say:
    """Give what keeps a line for the summary."""
    return pytestconfig.stash[LINES].append


@pytest.fixture
def trial(cluster: Cluster, tmp_path: Path, say: Say) -> Trial:
    """Give the trial of one fault."""
    return Trial(cluster, tmp_path, say)
