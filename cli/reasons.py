"""What `headway why` says of each reason why an attempt, or a task, ended as it did."""

from collections.abc import Mapping
from typing import Final

from headway.protocol.states import EndReason

BECAUSE: Final[Mapping[EndReason, str]] = {
    EndReason.EXIT_CODE: "with an exit code that means failure",
    EndReason.SIGNAL: "by a signal that Headway did not send",
    EndReason.OUT_OF_MEMORY: "because its host ran out of memory",
    EndReason.TIMEOUT: "because its timeout was over",
    EndReason.NOT_STARTED: "because its command could not be started",
    EndReason.BAD_OUTPUT: "because its output could not be used",
    EndReason.BAD_INPUT: "because an output that it takes in is not there",
    EndReason.BAD_POOL: "because its pool is not there, or too small for it",
    EndReason.CANCELLED: "because an operator cancelled it",
    EndReason.UNKILLABLE: "while it may run on, because its worker did not say that it ended",
    EndReason.LOST: "because its worker was thought dead",
    EndReason.LEASE: "because its worker was cut off for its lease",
    EndReason.SHUTDOWN: "because its worker was stopped",
    EndReason.REFUSED: "because no worker was able to run it",
    EndReason.POISONED: "because its message came back from dying workers again and again",
    EndReason.SUPERSEDED: "because the attempt before it, which was thought lost, reported",
    EndReason.UPSTREAM_FAILED: "because an upstream task did not succeed",
    EndReason.SKIPPED_BY_RULE: "because its trigger rule skips it",
    EndReason.NOT_CHOSEN: "because a branch goes another way",
    EndReason.INSTANCES: "as its instances did",
    EndReason.NO_ITEMS: "because there was nothing to map it over",
    EndReason.NO_WORKERS: "because no worker served its queue, or none was able to run it",
    EndReason.NO_CAPACITY: "because the workers of its queue were busy",
    EndReason.UNROUTABLE: "because the broker had no such queue",
    EndReason.POLL_TIMEOUT: "because its poll_timeout was over",
}
"""How an attempt ended for a reason, as the end of a sentence."""
