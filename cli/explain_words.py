"""The words of `headway why`: for each reason, hold and state what stands in a sentence."""

from collections.abc import Mapping
from typing import Final

from headway.protocol.states import AttemptState, EndReason, HoldReason

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
    EndReason.RUN_TIMEOUT: "because its run had gone on for as long as it may",
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
    EndReason.NO_WORKERS: "because no worker served its queue, or none was able to run it",
    EndReason.NO_CAPACITY: "because the workers of its queue were busy",
    EndReason.UNROUTABLE: "because the broker had no such queue",
    EndReason.POLL_TIMEOUT: "because its poll_timeout was over",
    EndReason.INSTANCES: "as its instances did",
    EndReason.NO_ITEMS: "because there was nothing to map it over",
}
"""How an attempt ended for a reason, as the end of a sentence."""

HOLDS: Final[Mapping[HoldReason, str]] = {
    HoldReason.WINDOW: "queue {queue!r} has room",
    HoldReason.NO_WORKERS: "a worker takes something from queue {queue!r}, which none that is online serves",
    HoldReason.BROKER_FULL: "the broker takes more for queue {queue!r}, which is full there",
}

RETURNS: Final[Mapping[EndReason, str]] = {
    EndReason.UNROUTABLE: "Its message found no queue",
    EndReason.LOST: "Its message was lost on the way",
    EndReason.POISONED: "Its message came back",
    EndReason.REFUSED: "A worker refused it",
}

UNSENT: Final = {
    True: "The broker refuses its message, because its queue is full there; it is tried again every second.",
    False: "Its message is not with the broker yet: it leaves as soon as the broker takes it.",
}

ENDINGS: Final = {
    AttemptState.POLLING: "said 'not yet'",
    AttemptState.SUCCESS: "succeeded",
    AttemptState.SKIPPED: "said 'skip'",
    AttemptState.FAILED: "failed",
    AttemptState.LOST: "was lost",
    AttemptState.WITHDRAWN: "was withdrawn",
    AttemptState.REFUSED: "was refused",
    AttemptState.CANCELLED: "was cancelled",
}
