"""What is to be done on an I/O thread, by whoever posts it, in order.

One wake-up of the thread is for all that is in here, because waking costs more than most of what is posted. It is done
in slices, so that a flood delays neither answers nor heartbeats.
"""

from collections import deque
from collections.abc import Callable

from .halves import Action
from .timing import SLICE


class Inbox:
    """Actions that wait. `post` may be called from any thread."""

    def __init__(self) -> None:
        self.is_over = False
        self._actions: deque[Action] = deque()
        self._wake: Action | None = None
        self._is_awake = False

    def open(self, wake: Action) -> None:
        """Have what was posted before done, and all from now on: `wake` lets the thread call `do_slice`."""
        self._wake = wake
        self._ring()

    def post(self, action: Action) -> None:
        """Do this on the thread, after all that was posted before; where that is over, here and now."""
        self._actions.append(action)
        if self.is_over:
            self._empty()
        elif not self._is_awake:
            self._ring()

    def do_slice(self, do: Callable[[Action], None]) -> None:
        """Do what is there by now, each action by `do`, and have the thread woken again for more. On the thread."""
        # Before it is looked at what is there: an action posted from now on wakes the thread again, or is seen by now.
        self._is_awake = False
        try:
            for _ in range(min(SLICE, len(self._actions))):
                if not self.is_over:
                    do(self._actions.popleft())
        finally:
            if self._actions:
                self._ring()

    def end(self) -> None:
        """Do here and now what is left, and what is still posted."""
        self.is_over = True
        self._empty()

    def _ring(self) -> None:
        if self._wake is not None:
            self._is_awake = True
            self._wake()

    def _empty(self) -> None:
        """Do what was posted when it was over already; several threads may be at it."""
        while self._actions:
            try:
                action = self._actions.popleft()
            except IndexError:
                return
            action()
