"""Secrets that a task names: resolved on the worker from files, and never put into a message or the database.

FOLDER/<name> holds the value; one newline at its end is not part of it. The folder is HEADWAY_SECRETS, or that of
systemd's credentials. It is read anew for each attempt, so a value that was changed is used from the next one on.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from .output import NO_WAIT

SECRET_BYTES_MIN: Final = 4
"""Masking a shorter value would hide every `1` of a log, and not the value: whoever has it may try all."""

SECRET_BYTES_MAX: Final = 8 * 1024
"""A key with its certificates. Far below a piece of output, in which a value is looked for."""


class BadSecret(msgspec.Struct, frozen=True):
    """Why a secret cannot be had."""

    detail: str


class SecretFiles:
    """The secrets of one worker. Without a folder it has none."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def resolve(self, names: Iterable[str]) -> dict[str, str] | BadSecret:
        """Return the value of each, or what is wrong with the first that cannot be had."""
        values = {}
        for name in names:
            value = self._read(name)
            if isinstance(value, BadSecret):
                return value
            values[name] = value
        return values

    def _read(self, name: str) -> str | BadSecret:
        if self._folder is None:
            return BadSecret(f"it wants the secret {name!r}, and this worker has none: HEADWAY_SECRETS is not set")
        path = self._folder / name
        try:
            file = os.open(path, NO_WAIT)
            try:
                data = os.read(file, SECRET_BYTES_MAX + 2)
            finally:
                os.close(file)
            value = data.decode().removesuffix("\n")
        except OSError as error:
            return BadSecret(f"the secret {name!r} cannot be read from {path}: {error.strerror}")
        except UnicodeDecodeError:
            return BadSecret(f"the secret {name!r} in {path} is no text in UTF-8")
        size = len(value.encode())
        if not SECRET_BYTES_MIN <= size <= SECRET_BYTES_MAX or "\0" in value:
            allowed = f"{SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes, none of them NUL"
            return BadSecret(f"the secret {name!r} in {path} is not usable: a secret has {allowed}")
        return value
