"""How long this boot may go on without word that the scheduler can hear it.

A heartbeat that the broker confirmed renews the lease, counted from when it was *sent*: the scheduler counts from when
it came, which is later, and adds two heartbeats. So a child that is dead at the end of our lease is dead before the
scheduler says LOST and lets another worker begin.

    sent --------------------------------- term_at ------- kill_at --- end        (lease_seconds in all)
          grants are obeyed                  TERM            KILL

A grant counts only within one lease: whoever was silent until its end may be called lost by a decision that is on its
way still, and what was granted before that is given to somebody else. So each grant names the last heartbeat that the
scheduler had decided, and is obeyed if that one or an earlier one began the lease that holds now.

Assumption: CLOCK_BOOTTIME of this machine and the scheduler's clock run at the same speed within a few percent.
"""

import math
from typing import Final

TERM_MARGIN_SECONDS: Final = 15.0
"""Before the lease's end children are asked to end: ten seconds of grace, and KILL_MARGIN_SECONDS."""

KILL_MARGIN_SECONDS: Final = 5.0
"""Before the lease's end children are killed: a process in the kernel may need seconds to die on a slow disk."""

TERM_MARGIN_SHARE: Final = 0.5
KILL_MARGIN_SHARE: Final = 0.2
"""The margins' largest shares of a short lease."""

_SENT_MAX: Final = 1_000
"""Heartbeats whose fate is unknown: more than an hour of them, far beyond every sensible lease."""


class Lease:
    """The lease of this boot: none until the first confirm. `began` is the `seq` of the heartbeat that began it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._sent: dict[str, tuple[float, int]] = {}
        self._renewed = -math.inf
        self.began = 0

    @property
    def term_at(self) -> float:
        """When children are asked to end, and from when on no grant is obeyed."""
        return self._renewed + self._seconds - min(TERM_MARGIN_SECONDS, TERM_MARGIN_SHARE * self._seconds)

    @property
    def kill_at(self) -> float:
        """When children are killed."""
        return self._renewed + self._seconds - min(KILL_MARGIN_SECONDS, KILL_MARGIN_SHARE * self._seconds)

    @property
    def is_asked_for(self) -> bool:
        """Whether a sign of life is on its way."""
        return bool(self._sent)

    def holds(self, now: float) -> bool:
        """Say whether a child may be started."""
        return now < self.term_at

    def sent(self, message_id: str, now: float, *, seq: int) -> None:
        """Remember when a sign of life was sent."""
        self._sent[message_id] = now, seq
        while len(self._sent) > _SENT_MAX:
            del self._sent[next(iter(self._sent))]

    def confirmed(self, message_id: str, now: float) -> bool:
        """Renew the lease by a sign of life that arrived, or begin a new one; say whether that moved its end."""
        sent, seq = self._sent.pop(message_id, (-math.inf, 0))
        if sent <= self._renewed:
            return False
        if not self.holds(now):
            self.began = seq
        self._renewed = sent
        return True

    def unconfirmed(self, message_id: str) -> None:
        """Forget a sign of life that may not have arrived."""
        self._sent.pop(message_id, None)
