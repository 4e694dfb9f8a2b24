"""Every setting, read from the environment and headway.toml, here and nowhere else.

A setting is a variable, a key in the file, a default, a reader and a sentence; a value that its reader refuses raises
WrongSettings, or WrongConfig where it stands in the file. The environment wins. An empty text counts as absent, as
composed environments pass what is not set.

The file is the one that HEADWAY_CONFIG names, else headway.toml in the home, else the machine's. Never that of the
current folder: who runs a command in somebody else's folder would take orders, and a broker's address, from there.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from headway.broker.connecting import MEMORY, is_memory
from headway.protocol.durations import parse_duration
from headway.protocol.errors import InvalidDuration, WrongConfig, WrongSettings
from headway.protocol.names import QueueName
from headway.protocol.topology import QueueLimits

from .config_file import NO_CONFIG, Config, read_config
from .crash_points import VARIABLE as CRASH_AT
from .crash_points import CrashAt, read_crash_at

LEVELS: Final = ("debug", "info", "warning", "error")
INHERITED: Final = ("PATH", "HOME", "LANG", "TZ")
"""What children of a worker get of its environment, and nothing else."""

HEARTBEATS_PER_LEASE_MIN: Final = 3
"""A lease must outlast two heartbeats that get lost."""

_BYTES: Final = re.compile(r"(\d+)\s*([KMG]i?B?|B)?", re.IGNORECASE)
_UNITS: Final = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


SYSTEM_CONFIG: Final = Path("/etc/headway/headway.toml")
"""What is read where the home holds no file and HEADWAY_CONFIG names none."""

CONFIG_NAME: Final = "headway.toml"


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
    config: Path | None
    queues: dict[QueueName, QueueLimits] | None
    pools: dict[str, int]
    remarks: tuple[str, ...]
    crash_at: CrashAt | None

    @property
    def limits(self) -> dict[QueueName, QueueLimits]:
        """Return the limits of queues that have their own."""
        return self.queues or {}

    @property
    def is_embedded(self) -> bool:
        """Whether the broker is within one process."""
        return is_memory(self.broker_url)


class Setting(NamedTuple):
    """One setting: the default as a user would write it (None: absent), the reader, and what it means.

    Its key in the file is made of its name: HEADWAY_WORKER_LEASE is `lease` of table `worker`, where `key` is empty.
    """

    default: str | None
    read: Callable[[str], Any]
    meaning: str
    key: str = ""


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


_ONLY_TEXT: Final[tuple[Callable[[str], Any], ...]] = (str, _folder, _level)
"""Readers of what is no number: in the file, such a value must stand in quotes."""

SETTINGS: Final[dict[str, Setting]] = {
    "HEADWAY_HOME": Setting(
        None,
        _folder,
        "folder for spool, logs and the SQLite database; without it ~/.local/share/headway or XDG_DATA_HOME/headway",
    ),
    "HEADWAY_BROKER_URL": Setting(
        MEMORY,
        str,
        "the broker: amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps:// for TLS; memory:// is within one process, for "
        "`headway run` and `headway standalone`",
    ),
    "HEADWAY_DATABASE_URL": Setting(
        None,
        str,
        "the database, as SQLAlchemy writes it: postgresql+psycopg://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE; "
        "without it the file headway.db in HEADWAY_HOME",
    ),
    "HEADWAY_DAGS": Setting(None, _folder, "folder of DAG files; without it none are read", "dags.folder"),
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


def key_of(name: str) -> str:
    """Return the key that a setting has in the file: `home`, or `worker.lease`."""
    return SETTINGS[name].key or name.removeprefix("HEADWAY_").lower().replace("_", ".", 1)


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Return all settings; raise WrongSettings or WrongConfig for the first value that makes no sense."""
    path = _find_config(environment)
    keys = {key_of(name): setting.read not in _ONLY_TEXT for name, setting in SETTINGS.items()}
    config = read_config(path, keys) if path is not None else NO_CONFIG
    values = {name: _read(name, environment, config) for name in SETTINGS}
    home = values["HEADWAY_HOME"] or _default_home(environment)
    if home is None:
        detail = "it is not set, and neither is HOME: say where Headway may keep its files"
        raise WrongSettings(name="HEADWAY_HOME", value="", detail=detail)
    lease, heartbeat = values["HEADWAY_WORKER_LEASE"], values["HEADWAY_WORKER_HEARTBEAT"]
    if lease < HEARTBEATS_PER_LEASE_MIN * heartbeat:
        detail = (
            f"it must be at least {HEARTBEATS_PER_LEASE_MIN} times HEADWAY_WORKER_HEARTBEAT, which is {heartbeat:g} s"
        )
        raise WrongSettings(name="HEADWAY_WORKER_LEASE", value=f"{lease:g}s", detail=detail)
    return Settings(
        home=home,
        broker_url=values["HEADWAY_BROKER_URL"],
        database_url=values["HEADWAY_DATABASE_URL"] or own_database(home),
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
        config=config.path,
        queues=config.queues,
        pools=config.pools,
        remarks=config.remarks,
        crash_at=read_crash_at(environment.get(CRASH_AT)),  # of the environment alone: no file makes services crash
    )


def own_database(home: Path) -> str:
    """Return the URL of the SQLite database in a home."""
    return f"sqlite:///{home}/headway.db"


def runs_under_systemd(environment: Mapping[str, str] = os.environ) -> bool:
    """Say whether stderr goes to the journal, which notes the time of each line by itself."""
    return "JOURNAL_STREAM" in environment


def _find_config(environment: Mapping[str, str]) -> Path | None:
    """Return the one file to read; what HEADWAY_CONFIG names must be there."""
    named = environment.get("HEADWAY_CONFIG")
    if named:
        return _folder(named)
    home = _read("HEADWAY_HOME", environment, NO_CONFIG) or _default_home(environment)
    files = (home / CONFIG_NAME, SYSTEM_CONFIG) if home is not None else (SYSTEM_CONFIG,)
    return next((file for file in files if os.access(file, os.F_OK)), None)


def _read(name: str, environment: Mapping[str, str], config: Config) -> Any:  # noqa: ANN401 - as the setting's reader says
    setting, key = SETTINGS[name], key_of(name)
    given, in_file = environment.get(name), config.texts.get(key)
    text = given or in_file or setting.default
    if text is None:
        return None
    try:
        return setting.read(text)
    except (ValueError, RuntimeError, InvalidDuration) as error:  # RuntimeError: there is no such home folder
        detail = 'write a duration like "90s" or "5m"' if isinstance(error, InvalidDuration) else str(error)
        if given or not in_file:
            raise WrongSettings(name=name, value=text, detail=detail) from error
        raise WrongConfig(place=config.place(key), detail=f"{key} = {text!r} is not usable: {detail}") from error


def _credentials(environment: Mapping[str, str]) -> Path | None:
    """Return the folder that systemd puts a service's credentials into, if it has any."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    return Path(folder) if folder else None


def _default_home(environment: Mapping[str, str]) -> Path | None:
    data = environment.get("XDG_DATA_HOME")
    if data and Path(data).is_absolute():
        return Path(data) / "headway"
    home = environment.get("HOME")
    return Path(home).absolute() / ".local/share/headway" if home else None
