"""What a worker says about an attempt and about itself: one constructor for each event, numbered in order."""

from collections.abc import Iterable
from typing import Any, Literal

from headway.protocol.codec import address_of
from headway.protocol.durations import format_duration
from headway.protocol.messages import AttemptMessage, Finished, Heartbeat, Held, Offline, Online, Refused, Started
from headway.protocol.states import EndReason

from .values import Attempt, ChildEnded, Identity


class Reports:
    """The events of one boot. Each has a number of its own, above all before it."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._seq = 0

    def started(self, task: AttemptMessage) -> Started:
        """A slot is ready for the attempt, which may start if the scheduler grants it."""
        return Started(**self._about(task))

    def refused(self, task: AttemptMessage, detail: str) -> Refused:
        """This worker cannot run the attempt."""
        return Refused(**self._about(task), detail=detail)

    def never_ran(self, task: AttemptMessage, *, reason: EndReason, detail: str) -> Finished:
        """The attempt was granted, and no child of it came to be."""
        return Finished(**self._about(task), reason=reason, detail=detail, host=self._identity.host)

    def ran(self, attempt: Attempt, child: ChildEnded) -> Finished:
        """The attempt's child ended."""
        reason, detail = self._why(attempt, child)
        return Finished(
            **self._about(attempt.task),
            exit_code=child.exit_code,
            signal=child.signal,
            oom=child.oom,
            reason=reason,
            detail=detail,
            host=self._identity.host,
            pid=child.pid,
            ran_seconds=child.ran_seconds,
            cpu_seconds=child.cpu_seconds,
            memory_peak_bytes=child.memory_peak_bytes,
            output=child.output if child.exit_code in attempt.task.success_codes else None,
            tail=child.tail,
        )

    def online(self, held: Iterable[Held]) -> Online:
        """This boot began."""
        return Online(**self._boot(), **self._self(), held=tuple(held))

    def heartbeat(self, held: Iterable[Held]) -> Heartbeat:
        """This boot lives."""
        return Heartbeat(**self._boot(), **self._self(), held=tuple(held))

    def offline(self) -> Offline:
        """This boot ends and holds nothing."""
        return Offline(**self._boot())

    def lease_detail(self) -> str:
        """Say in one sentence why a lease ends children."""
        lease = format_duration(self._identity.lease_seconds)
        return f"no heartbeat of worker {self._identity.worker} was confirmed in time: its lease of {lease} ends"

    def _why(self, attempt: Attempt, child: ChildEnded) -> tuple[EndReason | None, str]:
        """Say why the worker ended the child, or why success is none; otherwise how it exited says all."""
        if attempt.ending is not None:
            return attempt.ending, attempt.ending_detail
        if child.lease_ended:
            return EndReason.LEASE, self.lease_detail()
        if child.exit_code in attempt.task.success_codes and child.output_fault:
            return EndReason.BAD_OUTPUT, child.output_fault
        return None, ""

    def _boot(self) -> dict[str, Any]:
        self._seq += 1
        return {"worker": self._identity.worker, "boot": self._identity.boot, "seq": self._seq}

    def _self(self) -> dict[str, Any]:
        identity = self._identity
        return {
            "host": identity.host,
            "pid": identity.pid,
            "queues": identity.queues,
            "slots": identity.slots,
            "lease_seconds": identity.lease_seconds,
            "heartbeat_seconds": identity.heartbeat_seconds,
            "headway_version": identity.headway_version,
        }

    def _about(self, task: AttemptMessage) -> dict[str, Any]:
        return address_of(task) | self._boot()


def held(about: AttemptMessage, state: Literal["asked", "running", "spooled"]) -> Held:
    """Return one line of a heartbeat."""
    return Held(
        dag_id=about.dag_id,
        run_id=about.run_id,
        task_id=about.task_id,
        map_index=about.map_index,
        try_number=about.try_number,
        state=state,
    )
