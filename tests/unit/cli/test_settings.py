"""The environment as settings: defaults, readers, and a sentence for each value that makes no sense."""

from pathlib import Path

import pytest

from headway.cli.settings import SETTINGS, Settings, read_settings
from headway.protocol.errors import WrongSettings

HOME = {"HOME": "/users/somebody", "HEADWAY_CONFIG": "/dev/null"}


def read(**environment: str) -> Settings:
    """Read settings from a home and these variables."""
    return read_settings(HOME | environment)


def test_without_any_variable_there_are_defaults():
    """A broker on this machine, and a file for the database."""
    settings = read()
    assert settings.home == Path("/users/somebody/.local/share/headway")
    assert settings.database_url == "sqlite:////users/somebody/.local/share/headway/headway.db"
    assert settings.broker_url == "memory://"
    assert settings.dags is None
    assert (settings.worker_lease, settings.worker_heartbeat, settings.worker_drain) == (300.0, 5.0, None)


def test_secrets_are_in_a_folder_of_ones_own_or_in_that_of_systemd():
    """The first wins; without either there are none."""
    assert read().secrets is None
    assert read(CREDENTIALS_DIRECTORY="/run/c").secrets == Path("/run/c")
    assert read(CREDENTIALS_DIRECTORY="/run/c", HEADWAY_SECRETS="/s").secrets == Path("/s")


def test_an_empty_variable_counts_as_absent():
    """Composed environments pass what is not set as nothing."""
    assert read(HEADWAY_DAGS="", HEADWAY_DATABASE_URL="", HEADWAY_WORKER_LEASE="") == read()


def test_the_home_is_where_one_says():
    """HEADWAY_HOME first, then XDG_DATA_HOME, then the home folder."""
    assert read(HEADWAY_HOME="/srv/h", XDG_DATA_HOME="/data").home == Path("/srv/h")
    assert read(XDG_DATA_HOME="/data").home == Path("/data/headway")
    assert read(XDG_DATA_HOME="relative").home == Path("/users/somebody/.local/share/headway")


def test_the_database_lies_in_the_home():
    """A home of one's own moves the SQLite file too."""
    assert read(HEADWAY_HOME="/srv/h").database_url == "sqlite:////srv/h/headway.db"


def test_without_any_home_one_is_asked_for():
    """A process without HOME is told what to set."""
    with pytest.raises(WrongSettings, match="say where Headway may keep its files"):
        read_settings({"HEADWAY_CONFIG": "/dev/null"})


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("HEADWAY_WORKER_LEASE", "1h30m", "worker_lease", 5400.0),
        ("HEADWAY_WORKER_LEASE", "45", "worker_lease", 45.0),
        ("HEADWAY_WORKER_HEARTBEAT", "0.5", "worker_heartbeat", 0.5),
        ("HEADWAY_WORKER_DRAIN", "10s", "worker_drain", 10.0),
        ("HEADWAY_LOGS_KEEP", "90d", "logs_keep", 90 * 86400.0),
        ("HEADWAY_DAGS_MEMORY", "512M", "dags_memory", 512 * 1024**2),
        ("HEADWAY_DAGS_MEMORY", "3 GiB", "dags_memory", 3 * 1024**3),
        ("HEADWAY_DAGS_MEMORY", "1000000", "dags_memory", 1_000_000),
        ("HEADWAY_LOG_LEVEL", "DEBUG", "log_level", "debug"),
        ("HEADWAY_DAGS", "/srv/dags", "dags", Path("/srv/dags")),
    ],
)
def test_a_value_is_read(name: str, text: str, field: str, value: object):
    """As people write it."""
    assert getattr(read(**{name: text}), field) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("HEADWAY_WORKER_LEASE", "soon"),
        ("HEADWAY_WORKER_LEASE", "0"),
        ("HEADWAY_WORKER_LEASE", "-5s"),
        ("HEADWAY_WORKER_LEASE", "10s"),  # less than three heartbeats
        ("HEADWAY_WORKER_HEARTBEAT", "1000d"),
        ("HEADWAY_DAGS_MEMORY", "much"),
        ("HEADWAY_LOG_LEVEL", "loud"),
        ("HEADWAY_HOME", "~nobody-of-that-name/x"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(name: str, text: str):
    """The sentence holds the variable, its value and what to write."""
    with pytest.raises(WrongSettings) as raised:
        read(**{name: text})
    assert name in str(raised.value)
    assert text in str(raised.value)


def test_only_four_variables_reach_children():
    """What else a worker's environment holds stays there."""
    inherited = read(PATH="/bin", LANG="C", SECRET="x").inherited
    assert inherited == {"PATH": "/bin", "LANG": "C", "HOME": "/users/somebody"}


def test_every_setting_says_what_it_means():
    """One sentence each, and every variable is one of ours."""
    assert all(name.startswith("HEADWAY_") and setting.meaning for name, setting in SETTINGS.items())
