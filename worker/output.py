"""What a child writes: its log, and the JSON that it hands to other tasks."""

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from headway.protocol.limits import OUTPUT_BYTES_MAX, TAIL_BYTES_MAX
from headway.protocol.messages import AttemptMessage
from headway.protocol.names import UNMAPPED

from .masking import HIDDEN, Mask

NO_WAIT: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""A child may have made anything of the file it was to write: a pipe, say, that nobody writes to."""


class BadOutput(msgspec.Struct, frozen=True):
    """Why what a child wrote to HEADWAY_OUTPUT is not usable."""

    detail: str


def log_path(home: Path, task: AttemptMessage) -> Path:
    """Return the file that an attempt's output is appended to."""
    index = "" if task.map_index == UNMAPPED else f".{task.map_index}"
    return home / "logs" / task.run_id / f"{task.task_id}{index}.{task.try_number}.log"


def read_tail(path: Path, mask: Mask, begin: int = 0) -> str:
    """Return the end of a log as text, secrets hidden; what is no text in it, or cannot be stored, is replaced.

    It is empty only if the log is, from `begin` on.
    """
    try:
        file = os.open(path, NO_WAIT)
    except OSError:
        return ""
    try:
        start = max(begin, os.fstat(file).st_size - TAIL_BYTES_MAX)
        before = min(start - begin, mask.context)  # where a secret may begin of which the tail has the end
        data = os.pread(file, before + TAIL_BYTES_MAX, start - before)
    except OSError:
        return ""
    finally:
        os.close(file)
    shown = mask.hide(data, before) or (HIDDEN if data else b"")
    return shown.decode(errors="replace").replace("\0", "\ufffd")


def take_output(path: Path) -> msgspec.Raw | BadOutput | None:
    """Return the JSON that a child wrote, and remove its file. An absent or empty file is no output."""
    try:
        file = os.open(path, NO_WAIT)
    except FileNotFoundError:
        return None
    except OSError as error:
        return BadOutput(f"what it wrote to HEADWAY_OUTPUT cannot be read: {error.strerror}")
    try:
        return _read_json(file)
    finally:
        os.close(file)
        with contextlib.suppress(OSError):  # a folder, say: it is in nobody's way
            path.unlink()


def _read_json(file: int) -> msgspec.Raw | BadOutput | None:
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        return BadOutput("what it left at HEADWAY_OUTPUT is no file")
    if found.st_size > OUTPUT_BYTES_MAX:
        return BadOutput(
            f"it wrote {found.st_size} bytes to HEADWAY_OUTPUT, and may write {OUTPUT_BYTES_MAX}: "
            "put large results into a file and hand over its name"
        )
    data = os.pread(file, OUTPUT_BYTES_MAX, 0).strip()
    if not data:
        return None
    try:
        msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return BadOutput(f"what it wrote to HEADWAY_OUTPUT is no JSON: {error}")
    return msgspec.Raw(data)
