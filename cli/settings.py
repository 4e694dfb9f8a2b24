"""Every setting, read from the environment here and nowhere else.

A setting is a variable, a default, a reader and a sentence; a value that its reader refuses raises WrongSettings. An
empty variable counts as absent, as composed environments pass what is not set.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from headway.protocol.durations import parse_duration
from headway.protocol.errors import InvalidDuration, WrongSettings

LEVELS: Final = ("debug", "info", "warning", "error")
INHERITED: Final = ("PATH", "HOME", "LANG", "TZ")
"""What children of a worker get of its environment, and nothing else."""

HEARTBEATS_PER_LEASE_MIN: Final = 3
"""A lease must outlast two heartbeats that get lost."""

_BYTES: Final = re.compile(r"(\d+)\s*([KMG]i?B?|B)?", re.IGNORECASE)
_UNITS: Final = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What this process was told. All durations are seconds."""

    home: Path
    broker_url: str
    database_url: str
    dags: Path | None
    dags_scan: float
    dags_timeout: float
    dags_memory: int
    worker_lease: float
    worker_heartbeat: float
    worker_drain: float | None
    secrets: Path | None
    logs_keep: float
    log_level: str
    inherited: dict[str, str]


class Setting(NamedTuple):
    """One setting: the default as a user would write it (None: absent), the reader, and what it means."""

    default: str | None
    read: Callable[[str], Any]
    meaning: str


def _folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _level(text: str) -> str:
    if text.lower() not in LEVELS:
        raise ValueError(f"use one of {', '.join(LEVELS)}")
    return text.lower()


def _positive(text: str) -> float:
    seconds = parse_duration(text if not text.replace(".", "", 1).isdigit() else float(text))
    if not seconds:
        raise ValueError("it must be longer than nothing")
    return seconds


def _bytes(text: str) -> int:
    found = _BYTES.fullmatch(text.strip())
    if found is None:
        raise ValueError('write bytes as a number, or like "512M" or "2G"')
    return int(found[1]) * _UNITS[(found[2] or "").lower()[:1]]


SETTINGS: Final[dict[str, Setting]] = {
    "HEADWAY_HOME": Setting(
        None,
        _folder,
        "folder for spool, logs and the SQLite database; without it ~/.local/share/headway or XDG_DATA_HOME/headway",
    ),
    "HEADWAY_BROKER_URL": Setting(
        "amqp://guest:guest@localhost:5672/",
        str,
        "the broker: amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps:// for TLS",
    ),
    "HEADWAY_DATABASE_URL": Setting(
        None,
        str,
        "the database, as SQLAlchemy writes it: postgresql+psycopg://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE; "
        "without it the file headway.db in HEADWAY_HOME",
    ),
    "HEADWAY_DAGS": Setting(None, _folder, "folder of DAG files; without it none are read"),
    "HEADWAY_DAGS_SCAN": Setting("30s", _positive, "how often the scheduler looks for changed DAG files"),
    "HEADWAY_DAGS_TIMEOUT": Setting("30s", _positive, "time that reading one DAG file may take"),
    "HEADWAY_DAGS_MEMORY": Setting("2G", _bytes, "memory that reading one DAG file may take"),
    "HEADWAY_WORKER_LEASE": Setting(
        "5m", _positive, "how long a silent worker is believed alive; its children are dead by then"
    ),
    "HEADWAY_WORKER_HEARTBEAT": Setting("5s", _positive, "how often a worker says that it lives"),
    "HEADWAY_WORKER_DRAIN": Setting(
        None, _positive, "how long a worker that was asked to end waits for its children; without it, until they end"
    ),
    "HEADWAY_SECRETS": Setting(
        None,
        _folder,
        "folder of the secrets that tasks of this worker may name, a file for each; without it systemd's credentials",
    ),
    "HEADWAY_LOGS_KEEP": Setting("30d", _positive, "how long the logkeeper keeps what tasks wrote"),
    "HEADWAY_LOG_LEVEL": Setting("info", _level, f"what the services write: {', '.join(LEVELS)}"),
}


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Return all settings; raise WrongSettings for the first value that makes no sense."""
    values = {name: _read(name, setting, environment) for name, setting in SETTINGS.items()}
    home = values["HEADWAY_HOME"] or _default_home(environment)
    lease, heartbeat = values["HEADWAY_WORKER_LEASE"], values["HEADWAY_WORKER_HEARTBEAT"]
    if lease < HEARTBEATS_PER_LEASE_MIN * heartbeat:
        detail = (
            f"it must be at least {HEARTBEATS_PER_LEASE_MIN} times HEADWAY_WORKER_HEARTBEAT, which is {heartbeat:g} s"
        )
        raise WrongSettings(name="HEADWAY_WORKER_LEASE", value=f"{lease:g}s", detail=detail)
    return Settings(
        home=home,
        broker_url=values["HEADWAY_BROKER_URL"],
        database_url=values["HEADWAY_DATABASE_URL"] or f"sqlite:///{home}/headway.db",
        dags=values["HEADWAY_DAGS"],
        dags_scan=values["HEADWAY_DAGS_SCAN"],
        dags_timeout=values["HEADWAY_DAGS_TIMEOUT"],
        dags_memory=values["HEADWAY_DAGS_MEMORY"],
        worker_lease=lease,
        worker_heartbeat=heartbeat,
        worker_drain=values["HEADWAY_WORKER_DRAIN"],
        secrets=values["HEADWAY_SECRETS"] or _credentials(environment),
        logs_keep=values["HEADWAY_LOGS_KEEP"],
        log_level=values["HEADWAY_LOG_LEVEL"],
        inherited={name: environment[name] for name in INHERITED if name in environment},
    )


def runs_under_systemd(environment: Mapping[str, str] = os.environ) -> bool:
    """Say whether stderr goes to the journal, which notes the time of each line by itself."""
    return "JOURNAL_STREAM" in environment


def _read(name: str, setting: Setting, environment: Mapping[str, str]) -> Any:  # noqa: ANN401 - as the reader says
    text = environment.get(name) or setting.default
    if text is None:
        return None
    try:
        return setting.read(text)
    except InvalidDuration as error:
        raise WrongSettings(name=name, value=text, detail='write a duration like "90s" or "5m"') from error
    except (ValueError, RuntimeError) as error:  # RuntimeError: there is no such home folder
        raise WrongSettings(name=name, value=text, detail=str(error)) from error


def _credentials(environment: Mapping[str, str]) -> Path | None:
    """Return the folder that systemd puts a service's credentials into, if it has any."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    return Path(folder) if folder else None


def _default_home(environment: Mapping[str, str]) -> Path:
    data = environment.get("XDG_DATA_HOME")
    if data and Path(data).is_absolute():
        return Path(data) / "headway"
    home = environment.get("HOME")
    if not home:
        detail = "it is not set, and neither is HOME: say where Headway may keep its files"
        raise WrongSettings(name="HEADWAY_HOME", value="", detail=detail)
    return Path(home).absolute() / ".local/share/headway"
