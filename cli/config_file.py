"""headway.toml, read strictly: a key that is not known or has the wrong type is a mistake, told with its line.

Which settings there are, and what a text of theirs means, is for `settings.py` to say. Here are the file itself and its
two tables of tables:

    [queues.io]          ttl: how long a task message stands in the queue; window: how many are published at a time
    [pools.warehouse]    slots: how many its tasks may take at a time
"""

import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from headway.protocol.durations import format_duration, parse_duration
from headway.protocol.errors import InvalidDuration, InvalidName, WrongConfig, WrongSettings
from headway.protocol.keywords import did_you_mean
from headway.protocol.limits import POOL_SLOTS_MAX, TASKS_PER_DAG_MAX
from headway.protocol.names import QueueName, check_name
from headway.protocol.topology import TASK_TTL_SECONDS, TTL_SECONDS_MAX, QueueLimits

CONFIG_BYTES_MAX: Final = 1024 * 1024
"""More is no file that a person wrote."""

WINDOW_MAX: Final = TASKS_PER_DAG_MAX
"""Messages published to one queue: more would move the backlog, which the database holds, to the broker."""

TTL_SECONDS_MIN: Final = 1.0
"""A worker that is there needs less to take a message, and one that is not comes no sooner for it."""

_TABLES: Final = ("queues", "pools")
_PASSWORD: Final = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_HEADER: Final = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?")
_KEY: Final = re.compile(r"\s*([\w.\"'-]+)\s*=")
_AT: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says: settings by key, as text; the two tables; and what is worth a remark.

    `queues` is None where the file has no such table, and so says nothing of which queues there are.
    """

    path: Path | None = None
    texts: dict[str, str] = {}
    lines: dict[str, int] = {}
    queues: dict[QueueName, QueueLimits] | None = None
    pools: dict[str, int] = {}
    remarks: tuple[str, ...] = ()

    def place(self, key: str) -> str:
        """Return file and line of a key, or of the table that it stands in."""
        while key and key not in self.lines:
            key = key.rpartition(".")[0]
        return f"{self.path}:{self.lines[key]}" if key else str(self.path)


NO_CONFIG: Final = Config()


def read_config(path: Path, settings: Mapping[str, bool]) -> Config:
    """Read a file; raise WrongConfig or WrongSettings. `settings` are the keys there are, and which may be numbers."""
    text, mode = _open(path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _AT.search(str(error))
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        raise WrongConfig(place=f"{path}:{line}", detail=f"not TOML: {_AT.sub('', str(error))}") from error
    config = Config(path=path, lines=dict(_lines(text)))
    texts = dict(_texts(config, content, settings))
    queues, pools = (_table(config, content, name) for name in _TABLES)
    limits = {QueueName(name): _queue(config, name, queues[name]) for name in queues}
    return msgspec.structs.replace(
        config,
        texts=texts,
        queues=limits if "queues" in content else None,
        pools={name: _pool(config, name, pools[name]) for name in pools},
        remarks=tuple(_remarks(path, mode, texts)),
    )


def _open(path: Path) -> tuple[str, int]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            body = file.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        detail = f"the file cannot be read ({error.strerror}): name another, or /dev/null to do without"
        raise WrongSettings(name="HEADWAY_CONFIG", value=str(path), detail=detail) from error
    if len(body) > CONFIG_BYTES_MAX:
        raise WrongConfig(place=path, detail=f"it has more than {CONFIG_BYTES_MAX} bytes, and is no configuration")
    try:
        return body.decode(), mode
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise WrongConfig(place=f"{path}:{line}", detail=f"not UTF-8: {error.reason}") from error


def _lines(text: str) -> Iterator[tuple[str, int]]:
    """Yield keys and tables with their lines; tomllib keeps none. A wrong one would only point elsewhere."""
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            table = header[1].replace('"', "").replace(" ", "")
            yield table, number
        elif key := _KEY.match(line):
            yield ".".join(filter(None, (table, key[1].replace('"', "")))), number


def _texts(config: Config, content: Mapping[str, Any], settings: Mapping[str, bool]) -> Iterator[tuple[str, str]]:
    """Yield settings as an environment would hold them."""
    tables = {key.partition(".")[0] for key in settings if "." in key}
    for name, value in content.items():
        if name in _TABLES:
            continue
        inner = value if isinstance(value, dict) and name in tables else {"": value}
        for word, found in inner.items():
            key = f"{name}.{word}".rstrip(".")
            _refuse_unknown(config, key, key, (*settings, *_TABLES))
            text = _text(config, key, found, numbers=settings[key])
            if text:
                yield key, text


def _text(config: Config, key: str, value: object, *, numbers: bool) -> str:
    if isinstance(value, str):
        return value
    if numbers and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    wanted = "text in quotes, or a number" if numbers else "text in quotes"
    raise _wrong(config, key, f"{key} must be {wanted}, and is {_kind(value)}")


def _table(config: Config, content: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """Return a table of tables, with legal names."""
    found = content.get(name, {})
    if not isinstance(found, dict):
        raise _wrong(config, name, f"{name} must be a table, [{name}.NAME], and is {_kind(found)}")
    for word, value in found.items():
        key = f"{name}.{word}"
        try:
            check_name(name.removesuffix("s"), word)
        except InvalidName as error:
            raise _wrong(config, key, str(error).rstrip(".")) from error
        if not isinstance(value, dict):
            raise _wrong(config, key, f"{key} must be a table, [{key}], and is {_kind(value)}")
    return found


def _queue(config: Config, name: str, table: Mapping[str, object]) -> QueueLimits:
    for word in table:
        _refuse_unknown(config, f"queues.{name}.{word}", word, ("ttl", "window"))
    ttl, window = table.get("ttl", TASK_TTL_SECONDS), table.get("window")
    key = f"queues.{name}.ttl"
    try:
        seconds = parse_duration(ttl)
    except InvalidDuration as error:
        raise _wrong(config, key, str(error).rstrip(".")) from error
    if not TTL_SECONDS_MIN <= seconds <= TTL_SECONDS_MAX:
        low, high = format_duration(TTL_SECONDS_MIN), format_duration(TTL_SECONDS_MAX)
        raise _wrong(config, key, f"{key} = {ttl!r} is not usable: it may be from {low} to {high}")
    if window is not None:
        window = _count(config, f"queues.{name}.window", window, WINDOW_MAX)
    return QueueLimits(ttl_seconds=seconds, window=window)


def _pool(config: Config, name: str, table: Mapping[str, object]) -> int:
    for word in table:
        _refuse_unknown(config, f"pools.{name}.{word}", word, ("slots",))
    if "slots" not in table:
        raise _wrong(config, f"pools.{name}", f"pool {name!r} has no slots: write slots = NUMBER")
    return _count(config, f"pools.{name}.slots", table["slots"], POOL_SLOTS_MAX)


def _count(config: Config, key: str, value: object, highest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= highest:
        raise _wrong(config, key, f"{key} must be a whole number from 1 to {highest}, and is {_kind(value)}")
    return value


def _remarks(path: Path, mode: int, texts: Mapping[str, str]) -> Iterator[str]:
    if mode & stat.S_IROTH and stat.S_ISREG(mode) and any(map(_PASSWORD.search, texts.values())):
        yield f"{path} holds a password, and everybody may read it: chmod o-r it, and change the password."


def _refuse_unknown(config: Config, key: str, word: str, legal: Iterable[str]) -> None:
    legal = tuple(legal)
    if word not in legal:
        near = did_you_mean(word, legal)
        raise _wrong(config, key, f"there is no key {word!r}{near}; there are {', '.join(legal)}")


def _wrong(config: Config, key: str, detail: str) -> WrongConfig:
    return WrongConfig(place=config.place(key), detail=detail)


_KINDS: Final[tuple[tuple[type, Callable[[Any], str]], ...]] = (
    (dict, lambda _: "a table"),
    (list, lambda _: "a list"),
    (bool, lambda value: str(value).lower()),
    (object, repr),
)


def _kind(value: object) -> str:
    """Name a value in the words of TOML."""
    return next(say for kind, say in _KINDS if isinstance(value, kind))(value)
