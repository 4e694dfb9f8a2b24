"""Hiding secrets in what a task wrote: bytes in, bytes out, whatever the pieces in which they are looked at.

A value is hidden as it is, and so is each of its lines, for a key of several lines is often printed line by line. Where
values overlap, all of them is hidden, as one. What a task makes of a value (its base64, say) is not known here.
"""

from collections.abc import Iterable, Iterator
from typing import Final

HIDDEN: Final = b"***"

LINE_BYTES_MIN: Final = 8
"""Shorter lines of a secret of several lines are words such as `true`, which would hide half of a log."""


class Mask:
    """The values that must not be seen. Without any, everything may be.

    Data may be shown in parts, cut anywhere up to `settle`, if the `context` bytes before each part are at hand.
    """

    def __init__(self, values: Iterable[bytes] = ()) -> None:
        whole = set(values)
        lines = {line.strip() for value in whole if b"\n" in value for line in value.splitlines()}
        self._values = whole | {line for line in lines if len(line) >= LINE_BYTES_MIN}
        self.context = max(map(len, self._values), default=1) - 1

    def hide(self, data: bytes, start: int = 0, end: int | None = None) -> bytes:
        """Return the part from `start` to `end` with each value replaced, in the part in which it begins."""
        end = len(data) if end is None else end
        shown: list[bytes] = []
        for begin, stop in self._hidden(data):
            if begin >= end:
                break
            if begin >= start:
                shown += (data[start:begin], HIDDEN)
            start = max(start, stop)
        return b"".join((*shown, data[start:end]))

    def settle(self, data: bytes) -> int:
        """Return where the end of data begins that may be the beginning of a value: what follows is not known."""
        end = len(data)
        for value in self._values:
            for size in range(min(len(value) - 1, len(data)), 0, -1):
                if data.endswith(value[:size]):
                    end = min(end, len(data) - size)
                    break
        return end

    def _hidden(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield from where to where values stand, in order; those that overlap are one."""
        begin = stop = 0
        for start, end in sorted(place for value in self._values for place in _places(data, value)):
            if start >= stop:
                if stop:
                    yield begin, stop
                begin = start
            stop = max(stop, end)
        if stop:
            yield begin, stop


def _places(data: bytes, value: bytes) -> Iterator[tuple[int, int]]:
    start = data.find(value)
    while start >= 0:
        yield start, start + len(value)
        start = data.find(value, start + 1)
