"""Hiding secrets in what a task wrote: bytes in, bytes out, whatever the pieces in which they are looked at.

A value is hidden as it is, and so is each of its lines, for a key of several lines is often printed line by line. What
a task makes of a value (its base64, say) is not known here.
"""

from collections.abc import Iterable, Iterator
from typing import Final

HIDDEN: Final = b"***"

LINE_BYTES_MIN: Final = 8
"""Shorter lines of a secret of several lines are words such as `true`, which would hide half of a log."""


class Mask:
    """The values that must not be seen. Without any, everything may be."""

    def __init__(self, values: Iterable[bytes] = ()) -> None:
        whole = set(values)
        lines = {line.strip() for value in whole if b"\n" in value for line in value.splitlines()}
        self._values = sorted(whole | {line for line in lines if len(line) >= LINE_BYTES_MIN}, key=len, reverse=True)
        self.longest = len(self._values[0]) if self._values else 0

    def hide(self, data: bytes) -> bytes:
        """Return the data with each value replaced, and with what several values cover together as one."""
        parts, shown = [], 0
        for start, stop in self._found(data):
            parts += [data[shown:start], HIDDEN]
            shown = stop
        return b"".join((*parts, data[shown:]))

    def settle(self, data: bytes, end: int) -> int:
        """Return the last place up to `end` at which data may be cut, so that no value is in both parts.

        What follows `data` is not known: a beginning of a value at its end stays in the second part.
        """
        for value in self._values:
            for size in range(min(len(value) - 1, len(data)), 0, -1):
                if data.endswith(value[:size]):
                    end = min(end, len(data) - size)
                    break
        return self.step_back(data, end)

    def step_back(self, data: bytes, end: int) -> int:
        """Return `end`, or where the value begins that stands there."""
        for start, stop in self._found(data):
            if start < end < stop:
                return start
        return end

    def step_on(self, data: bytes, start: int) -> int:
        """Return `start`, or where the value ends that stands there."""
        for begin, stop in self._found(data):
            if begin < start < stop:
                return stop
        return start

    def _found(self, data: bytes) -> list[tuple[int, int]]:
        """Return where values stand, those that overlap as one: no byte of either may be seen."""
        found: list[tuple[int, int]] = []
        for start, stop in sorted(span for value in self._values for span in _places(data, value)):
            if found and start < found[-1][1]:
                found[-1] = (found[-1][0], max(stop, found[-1][1]))
            else:
                found.append((start, stop))
        return found


def _places(data: bytes, value: bytes) -> Iterator[tuple[int, int]]:
    start = data.find(value)
    while start >= 0:
        yield start, start + len(value)
        start = data.find(value, start + 1)
