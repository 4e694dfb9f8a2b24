"""The rows of one table as a snapshot holds them: as they were found, and as the batch has decided since."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from .rows import Row

ROWS_KEPT_MAX: Final = 100_000
"""Rows of one table that are kept from batch to batch, at most: about 50 MB of task instances."""

K = TypeVar("K")
R = TypeVar("R", bound=Row)


class Loaded(Generic[K, R]):
    """The rows of one table that were asked for: what was found, and None for what was not there."""

    __slots__ = ("_absent", "origin", "rows")

    def __init__(self) -> None:
        """Begin with nothing loaded."""
        self.rows: dict[K, R | None] = {}
        self.origin: dict[K, R | None] = {}
        self._absent: list[K] = []

    def fill(self, key: K, row: R | None) -> None:
        """Take in what the database holds, unless the row was looked for or decided upon before."""
        if key in self.rows:
            return
        self.rows[key] = row
        if row is None:
            self._absent.append(key)

    def lacks(self, key: K) -> bool:
        """Say whether a key was never asked for."""
        return key not in self.rows

    def overlay(self, changed: dict[K, R]) -> None:
        """Apply decided rows, remembering what the database still holds."""
        for key, row in changed.items():
            self.origin.setdefault(key, self.rows.get(key))
            self.rows[key] = row

    def settle(self, ended: Callable[[R], bool]) -> None:
        """Take what was decided for what is stored; keep neither what that ended nor what was not there."""
        for key in (*self.origin, *self._absent):
            row = self.rows.get(key)
            if row is None or ended(row):
                self.rows.pop(key, None)
        self.origin.clear()
        self._absent.clear()
        if len(self.rows) > ROWS_KEPT_MAX:
            self.forget()

    def forget(self) -> None:
        """Keep nothing."""
        self.rows.clear()
        self.origin.clear()
        self._absent.clear()
