"""How far the shipping of one log is, and which piece of it comes next. Reads the file; publishes nothing."""

import os
import stat
from pathlib import Path
from typing import Final

from headway.protocol.codec import address_of
from headway.protocol.limits import LOG_CHUNK_BYTES_MAX
from headway.protocol.log_chunk import LogChunk
from headway.protocol.messages import Task

from .masking import Mask
from .output import NO_WAIT

LOG_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of one attempt's output that is shipped, and what its last piece has more: what anybody reads, and no flood of the
database. The file has the rest."""

_NOTE: Final = "\n[Only the first {} bytes are stored: all is in {} on the worker's machine]\n"

_CONTINUED: Final = 0b10
"""How a byte begins that goes on with a character of UTF-8, in its upper two bits; those of other bytes say how long
their character is."""


_CHARACTER_BYTES_MAX: Final = 4


class LogTail:
    """A log of a running attempt, or (`is_complete`) of one that has ended. `is_behind`: more is there.

    `begin` is where in the file it begins: behind what earlier polls of the attempt wrote on this machine.
    """

    def __init__(self, attempt: Task, log: Path, mask: Mask, begin: int = 0) -> None:
        self.token = attempt.token
        self.is_complete = False
        self.is_behind = False
        self._about = {**address_of(attempt), "poll": attempt.poll}
        self._begin = begin
        self._log = log
        self._mask = mask
        self._offset = 0

    def next_chunk(self) -> LogChunk | None:
        """Return the next piece, if there is any by now, and take it as read."""
        is_complete = self.is_complete  # as of before the look: what is written after it is not missed
        if self._offset >= LOG_BYTES_MAX:
            return self._chunk(0, _NOTE.format(self._offset, self._log).encode(), eof=True)
        before = min(self._offset, self._mask.context)
        data = _read(self._log, self._begin + self._offset, before)
        self.is_behind = len(data) == before + LOG_CHUNK_BYTES_MAX
        eof = is_complete and not self.is_behind
        end = max(before, len(data) if eof else cut(data, self._mask, before))
        return self._chunk(end - before, self._mask.hide(data, before, end), eof=eof) if end > before or eof else None

    def _chunk(self, size: int, shown: bytes, *, eof: bool) -> LogChunk:
        chunk = LogChunk(**self._about, offset=self._offset, size=size, data=shown.decode(errors="replace"), eof=eof)
        self._offset += size
        return chunk


def cut(data: bytes, mask: Mask, start: int = 0) -> int:
    """Return where the piece that begins at `start` ends: behind whole lines, or else whole characters."""
    limit = mask.settle(data)
    return data.rfind(b"\n", start, limit) + 1 or _whole_characters(data, limit)


def _whole_characters(data: bytes, end: int) -> int:
    """Return `end`, or where the character of UTF-8 begins that goes on behind it. What is no text is left as it is."""
    for place in range(end - 1, max(-1, end - _CHARACTER_BYTES_MAX), -1):
        if data[place] >> 6 != _CONTINUED:
            length = 8 - (data[place] ^ 0xFF).bit_length()
            return place if length <= _CHARACTER_BYTES_MAX and place + length > end else end
    return end


def _read(path: Path, offset: int, before: int) -> bytes:
    """Return what stands there, and so much before it; nothing where there is no file, or what a child made of it."""
    try:
        if os.stat(path).st_size <= offset:  # noqa: PTH116 - twice as fast, for each running attempt twice a second
            return b""
        file = os.open(path, NO_WAIT)
    except OSError:
        return b""
    try:
        is_file = stat.S_ISREG(os.fstat(file).st_mode)
        return os.pread(file, before + LOG_CHUNK_BYTES_MAX, offset - before) if is_file else b""
    except OSError:
        return b""
    finally:
        os.close(file)
