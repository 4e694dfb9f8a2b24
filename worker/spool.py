"""Results that the broker does not have yet, one file each, in the order in which the children ended.

An entry is written beside its name and renamed: a process that is killed in between leaves no half entry. It is not
synced at once: the kernel keeps what a killed process wrote, and the message is published in the same moment. What is
not confirmed soon is synced, file and folder, for then the machine may lose power before the broker is back.

A full disk must not stop the worker: the entry then lives only in memory, and a sentence in the log says so.
"""

import errno
import logging
import os
import time
from pathlib import Path
from typing import Final

from headway.protocol.codec import decode_event, encode
from headway.protocol.errors import MalformedMessage
from headway.protocol.messages import Finished

_log = logging.getLogger(__name__)

_SUFFIX: Final = ".json"
_HALF: Final = ".half"
_BAD: Final = ".bad"


class Spool:
    """A folder of results. The names sort as the children ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._names: dict[str, str] = {}
        self._last = 0

    def load(self) -> list[tuple[str, Finished]]:
        """Return what earlier boots left, message ids first, in order; set aside what cannot be read."""
        found = []
        for path in sorted(self._folder.iterdir()):
            if path.suffix == _HALF:
                _remove(path)
            elif path.suffix == _SUFFIX:
                number, _, message_id = path.stem.partition("-")
                try:
                    event = _read(path)
                except OSError as error:
                    _log.error(
                        "The spooled result %s cannot be read (%s): the next boot tries again", path, error.strerror
                    )
                    continue
                if event is None or not number.isdigit():
                    path.rename(path.with_suffix(_BAD))
                    _log.error("The spooled result %s is unreadable: it was renamed to *%s and is not sent", path, _BAD)
                    continue
                self._names[message_id] = path.name
                self._last = max(self._last, int(number))
                found.append((message_id, event))
        return found

    def write(self, message_id: str, event: Finished) -> None:
        """Keep a result."""
        self._last = max(self._last + 1, time.time_ns())
        name = f"{self._last:020d}-{message_id}{_SUFFIX}"
        half = f"{self._folder}/{message_id}{_HALF}"
        try:
            _write(half, encode(event))
            os.rename(half, f"{self._folder}/{name}")  # noqa: PTH104 - each task comes by here: pathlib takes twice as long
        except OSError as error:
            _remove(half)
            _log.error(
                "The result of %s cannot be spooled in %s (%s): it is lost if this worker ends before it is sent",
                event.task_id,
                self._folder,
                error.strerror,
            )
            return
        self._names[message_id] = name

    def sync(self, message_id: str) -> None:
        """Bring a result to the disk, if it is in the spool."""
        name = self._names.get(message_id)
        if name is None:
            return
        try:
            for path in (self._folder / name, self._folder):
                _sync(path)
        except OSError as error:
            _log.error("The spool in %s cannot be synced: %s", self._folder, error.strerror)

    def remove(self, message_id: str) -> None:
        """Forget a result that the broker has."""
        name = self._names.pop(message_id, None)
        if name is not None:
            _remove(f"{self._folder}/{name}")


def _write(path: str, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        if os.write(file, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(file)


def _remove(path: str | Path) -> None:
    try:
        os.unlink(path)  # noqa: PTH108 - likewise
    except FileNotFoundError:
        return
    except OSError as error:
        _log.error("The spooled result %s cannot be removed (%s): it will be sent again", path, error.strerror)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _read(path: Path) -> Finished | None:
    try:
        event = decode_event(path.read_bytes())
    except MalformedMessage:
        return None
    return event if isinstance(event, Finished) else None
