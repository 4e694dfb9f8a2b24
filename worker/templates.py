"""The spawner's templates: processes that have imported some code, and copy themselves for each attempt that calls it.

A template is an optimisation and nothing else. An attempt is handed to one that is ready; every other attempt imports
its code itself, as any child runs its program. That is also what becomes of an attempt whose template died, was slow,
or found its code changed: an attempt that never told its number never ran anything of the author's, and as the link
ends only when every copy has either told or died, the end of the link says so of all that it leaves waiting.

A template is started with the second attempt of its code, so that a task that runs now and then does not pay twice.
"""

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

TEMPLATES_MAX: Final = 8
"""Codes that are remembered. Each of their templates takes the memory of what it has imported."""

IDLE_SECONDS: Final = 300.0
"""How long a template is kept that nobody wants."""

ANSWER_SECONDS: Final = 5.0
"""How long a template may take for a fork; a frozen one must not hold up an attempt that can do without."""

LINK: Final = 201
"""Where a template finds its end of the link."""

_READ_BYTES: Final = 1 << 12

Command = tuple[bytes, ...]
"""What starts a template. It holds all there is to know of its code, so it is also what the template is known by."""


class Told(NamedTuple):
    """An attempt's process, of a template's making."""

    job: bytes
    pid: int


class Left(NamedTuple):
    """An attempt that its template did not start, and never will."""

    job: bytes


class Template:
    """Some code: its process, if there is one, and the attempts that were handed to it and have not told yet."""

    def __init__(self) -> None:
        self.pid = 0
        self.link: socket.socket | None = None
        self.is_ready = False
        self.is_unfit = False
        self.used = time.monotonic()
        self.waiting: dict[bytes, float] = {}


class Templates:
    """All templates of a spawner. `spawn` starts one by its command with its end of a link, and returns its number."""

    def __init__(self, spawn: Callable[[Command, socket.socket], int], poll: select.epoll) -> None:
        self._spawn = spawn
        self._poll = poll
        self._templates: dict[Command, Template] = {}  # the least recently used first

    def hand_over(self, command: Command, request: tuple[bytes, ...], files: list[int]) -> bool:
        """Let a template start an attempt, `request[0]` its job, if one is ready; say whether."""
        template = self._templates.pop(command, None)
        is_known = template is not None
        template = self._templates[command] = template or Template()
        template.used = time.monotonic()
        if template.link is None and is_known and not template.is_unfit:
            self._start(template, command)
        self._drop(lambda _: len(self._templates) > TEMPLATES_MAX)
        if template.link is None or not template.is_ready:
            return False
        try:
            socket.send_fds(template.link, [b"\0".join(request)], files)
        except OSError:
            return False  # it has a long line before it, or is gone, or the request is too long
        template.waiting[request[0]] = template.used
        return True

    def hear(self) -> Iterator[Told | Left]:
        """Yield what became of attempts that were handed over."""
        for template in list(self._templates.values()):
            while template.link is not None:
                try:
                    said = template.link.recv(_READ_BYTES)
                except BlockingIOError:
                    break
                except ConnectionError:
                    said = b""
                if not said:
                    yield from self._end(template)
                elif said == b"ready":
                    template.is_ready = True
                else:
                    job, pid = said.split(b"\0")
                    template.waiting.pop(job, None)
                    yield Told(job, int(pid))

    def patience(self) -> float | None:
        """Return in how many seconds `look_after` has something to do."""
        dues = [self._due(template) for template in self._templates.values()]
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    def look_after(self) -> None:
        """Kill templates that do not answer, and let go of those that nobody wants."""
        now = time.monotonic()
        for template in self._templates.values():
            if template.waiting and self._due(template) <= now:
                _kill(template)
        self._drop(lambda template: self._due(template) <= now)

    def bury(self, pid: int) -> None:
        """A process has ended and is not reaped: if it is a template, kill what is left of its group."""
        for template in self._templates.values():
            if template.pid == pid:
                _kill(template)
                template.pid = 0

    def kill_all(self) -> None:
        """Leave none behind."""
        for template in self._templates.values():
            _kill(template)
            if template.pid:
                os.waitpid(template.pid, 0)

    def _start(self, template: Template, command: Command) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                template.pid = self._spawn(command, theirs)
            except OSError:
                ours.close()
                return
        ours.setblocking(False)  # noqa: FBT003 - the only way to say it
        self._poll.register(ours, select.EPOLLIN)
        template.link = ours

    def _end(self, template: Template) -> Iterator[Left]:
        """A template is gone: those that wait never began."""
        template.is_unfit, template.is_ready = not template.is_ready, False
        _close(template)
        left, template.waiting = template.waiting, {}
        yield from map(Left, left)

    def _due(self, template: Template) -> float:
        return min(template.waiting.values()) + ANSWER_SECONDS if template.waiting else template.used + IDLE_SECONDS

    def _drop(self, unwanted: Callable[[Template], bool]) -> None:
        for command, template in list(self._templates.items()):
            if not template.waiting and unwanted(template):
                _close(template)
                del self._templates[command]


def _kill(template: Template) -> None:
    """Kill a template that is not reaped, so that its number is still its own, and what it forked that told nothing."""
    if template.pid:
        os.killpg(template.pid, signal.SIGKILL)


def _close(template: Template) -> None:
    _kill(template)
    template.pid = 0
    if template.link is not None:
        template.link.close()
        template.link = None
