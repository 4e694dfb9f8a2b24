"""Showing what an attempt wrote: from the worker's file where it is on this machine, else from what is stored.

The file is the truth, but secrets stand in it as the task wrote them: of a task that names secrets only what is stored
is shown, in which they are masked.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

import click
import msgspec

from headway.protocol.limits import NUMBER_MAX
from headway.protocol.states import FINAL_TASK_STATES, OPEN_ATTEMPT_STATES
from headway.scheduler.store.engine import Engine
from headway.scheduler.store.logs import AttemptId, read_chunks, read_progress

from .printing import plain_lines

LOOK_SECONDS: Final = 0.5
"""How often it is looked for more: as often as a worker sends it."""

LAST_SECONDS: Final = 5.0
"""How long the last output of an attempt that has ended may take; that of a killed worker never comes."""

_READ_BYTES: Final = 1 << 20


class Output:
    """What one attempt wrote, poll after poll. `is_known`: there is a file, or something is stored."""

    def __init__(self, engine: Engine, attempt: AttemptId, file: Path | None) -> None:
        self._engine, self._attempt, self._path = engine, attempt, file
        self._place = 0
        self._poll = 1
        self._complete = 0  # the newest poll of which all was shown
        self.is_known = False

    def has_all(self, poll: int) -> bool:
        """Say whether all that this poll wrote was shown."""
        return self._complete >= poll

    def show(self) -> None:
        """Show all that there is by now and was not shown."""
        sys.stdout.flush()
        file = self._open_file()
        if file is not None:
            with file:
                self._show_file(file)
        else:
            self._show_stored()
        sys.stdout.buffer.flush()

    def _open_file(self) -> BinaryIO | None:
        try:
            return self._path.open("rb") if self._path is not None else None
        except OSError:  # it is not here, or not ours to read
            return None

    def _show_file(self, file: BinaryIO) -> None:
        self.is_known, self._complete = True, NUMBER_MAX  # the file has it all
        file.seek(self._place)
        while data := file.read(_READ_BYTES):
            self._place += sys.stdout.buffer.write(data)

    def _show_stored(self) -> None:
        while chunks := read_chunks(self._engine, self._attempt, since=(self._poll, self._place)):
            self.is_known = True
            for chunk in chunks:
                if chunk.poll > self._poll:
                    self._poll, self._place = chunk.poll, 0
                if chunk.offset > self._place:
                    sys.stdout.buffer.write(b"[... %d bytes missing ...]\n" % (chunk.offset - self._place))
                sys.stdout.buffer.write(chunk.data.encode())
                self._place = chunk.offset + chunk.size
                if chunk.eof:
                    self._complete, self._poll, self._place = chunk.poll, chunk.poll + 1, 0


def follow(engine: Engine, attempt: AttemptId, *, only: bool, output_of: Callable[[AttemptId], Output]) -> None:
    """Show output while it is written, of this try and, unless it is the `only` one wanted, of those that follow."""
    while True:
        _follow_try(engine, attempt, output_of(attempt))
        later = None if only else _wait_for_later(engine, attempt)
        if later is None:
            return
        click.echo(f"Attempt {later}:", err=True)
        attempt = msgspec.structs.replace(attempt, try_number=later)


def show_tail(tail: str) -> None:
    """Show the last lines that came with the report of an attempt's end."""
    click.echo("These are its last lines:", err=True)
    click.echo(plain_lines(tail), nl=not tail.endswith("\n"))


def _follow_try(engine: Engine, attempt: AttemptId, output: Output) -> None:
    last_at = None
    while True:
        state, attempts = read_progress(engine, attempt)  # before the look: what has ended by now is there as a whole
        output.show()
        progress = attempts.get(attempt.try_number)
        if progress is None and state in FINAL_TASK_STATES:
            return
        if progress is not None and progress.state not in OPEN_ATTEMPT_STATES:
            last_at = last_at or time.monotonic() + LAST_SECONDS
            if output.has_all(progress.polls) or not progress.tail:
                return
            if time.monotonic() > last_at:
                click.echo(f"The end of what attempt {attempt.try_number} wrote is not stored.", err=True)
                show_tail(progress.tail)
                return
        time.sleep(LOOK_SECONDS)


def _wait_for_later(engine: Engine, attempt: AttemptId) -> int | None:
    """Return the number of the try after this one, or None if the task has ended without."""
    while True:
        state, attempts = read_progress(engine, attempt)
        later = [number for number in attempts if number > attempt.try_number]
        if later or state in FINAL_TASK_STATES:
            return min(later, default=None)
        time.sleep(LOOK_SECONDS)
