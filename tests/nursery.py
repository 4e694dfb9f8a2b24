"""A spawner and its children, started and heard as a worker does it."""

import json
import queue
import sys
from pathlib import Path
from typing import Any

from headway.protocol.calls import digest_of
from headway.worker import template
from headway.worker.children import ChildBegun, ChildExit, ChildFault, Children, ChildReport, Launch, SpawnerGone
from processes import SECONDS_MAX, wait_for_lines

CALLS_MAX = 100
"""Calls after which there is a template: each takes longer than a template to get ready."""


class Nursery:
    """Children, and what they report."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output.log"
        self.inbox: queue.SimpleQueue[ChildReport] = queue.SimpleQueue()
        self.children = Children(self.inbox.put)

    def start(self, *argv: str, token: str = "t1", **changed) -> None:
        """Start a child."""
        fields = {"env": {"PATH": "/usr/bin:/bin"}, "cwd": None, "output": self.output} | changed
        fields["env"]["MARK"] = str(self.folder)
        fields["marker"] = f"MARK={self.folder}"
        self.children.start(Launch(token=token, program=argv[0], argv=argv, **fields))

    def bash(self, script: str, **changed) -> None:
        """Start a shell."""
        self.start("/bin/bash", "-c", script, **changed)

    def call(self, code: Path, function: str, *args: object, token: str = "t1", **changed) -> None:
        """Start a function of a file of code, as the worker does."""
        file = self.folder / f"{token}.call"
        file.write_text(json.dumps({"function": function, "args": args, "kwargs": changed.pop("kwargs", {})}))
        about = {"kind": "file", "ref": code.name, "path": str(code), "digest": digest_of(code.read_bytes())}
        about |= {"search": sys.path, "env": {"PATH": "/usr/bin:/bin", "IMPORTED": "yes"}} | changed.pop("about", {})
        env = {"PATH": "/usr/bin:/bin", "HEADWAY_OUTPUT": f"{self.folder}/{token}.output"} | changed.pop("env", {})
        command = (sys.executable, "-I", "-X", "utf8", template.__file__, json.dumps(about), str(file))
        self.start(*command, token=token, kind="function", env=env, **changed)

    def warm_up(self, code: Path) -> int:
        """Have a template for some code, which has a function `home`; return the template's process."""
        for number in range(CALLS_MAX):
            self.call(code, "home", token=f"warm{number}")
            begun, ended = self.next(), self.next()
            assert isinstance(begun, ChildBegun)
            assert isinstance(ended, ChildExit)
            assert ended.code == 0, self.output.read_text()
            home = self.returned(f"warm{number}")
            if home != ended.pid:
                return int(home)
        raise AssertionError("no template got ready")

    def returned(self, token: str = "t1") -> Any:
        """Return what a function returned."""
        return json.loads((self.folder / f"{token}.output").read_text())

    def next(self) -> ChildReport:
        """Return the next report."""
        return self.inbox.get(timeout=SECONDS_MAX)

    def end(self) -> ChildExit:
        """Return how the only child ended."""
        report = self.next()
        assert isinstance(report, ChildBegun)
        report = self.next()
        assert isinstance(report, ChildExit)
        return report

    def fault(self) -> str:
        """Return why the only child could not start."""
        report = self.next()
        assert isinstance(report, ChildFault)
        assert report.token == "t1"
        return report.detail

    def wait_for_the_spawners_end(self) -> None:
        """Wait until it is told; whether it could tell of its child before is a matter of moments."""
        while self.next() != SpawnerGone():
            pass

    def lines(self, count: int) -> list[str]:
        """Wait until the child has written this many lines, and return them."""
        return wait_for_lines(self.output, count)

    @property
    def spawner(self) -> int:
        """The spawner's process id."""
        return self.children._process.pid  # noqa: SLF001 - the tests kill it
