"""Services of one process: who ends after whom, and whose error is told."""

import threading

import pytest

from headway.cli.system import System
from headway.protocol.errors import HeadwayError


class Job:
    """A service that runs until it is stopped, and notes its end."""

    def __init__(self, name: str, ends: list[str], *, error: Exception | None = None) -> None:
        self._name, self._ends, self._error = name, ends, error
        self._asked = threading.Event()

    def run(self) -> None:
        """Run, or fail at once."""
        if self._error is None:
            self._asked.wait()
        self._ends.append(self._name)
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End."""
        self._asked.set()


def test_services_end_one_after_the_other():
    """The first is the reason for the others."""
    ends: list[str] = []
    system = System(worker=Job("worker", ends), scheduler=Job("scheduler", ends))
    system.start()
    system.stop()
    system.wait()
    assert ends == ["worker", "scheduler"]


@pytest.mark.parametrize("failing", ["worker", "scheduler"])
def test_a_service_that_fails_ends_the_others(failing: str):
    """Its error is that of the whole."""
    ends: list[str] = []
    fault = HeadwayError("it broke")
    jobs = {name: Job(name, ends, error=fault if name == failing else None) for name in ("worker", "scheduler")}
    with pytest.raises(HeadwayError, match="it broke"):
        System(**jobs).run()
    assert sorted(ends) == ["scheduler", "worker"]


def test_whoever_waits_for_something_else_learns_of_a_failure():
    """`check` says nothing while all run, and raises the error of one that failed; the others have ended then."""
    ends: list[str] = []
    failing = Job("scheduler", ends, error=HeadwayError("it broke"))
    system = System(worker=Job("worker", ends), scheduler=failing)
    system.check()
    system.start()
    assert system.ends_within(10.0)
    with pytest.raises(HeadwayError, match="it broke"):
        system.check()
    assert sorted(ends) == ["scheduler", "worker"]


def test_a_failure_that_was_told_ends_a_second_wait_too():
    """Whoever leaves because of it stops and waits as always."""
    ends: list[str] = []
    system = System(worker=Job("worker", ends), scheduler=Job("scheduler", ends, error=HeadwayError("it broke")))
    system.start()
    with pytest.raises(HeadwayError):
        system.wait()
    system.stop()
    system.wait()
