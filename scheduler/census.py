"""The census: finds messages that the broker has lost long before their deadline does.

Of each queue whose messages were published more than ten seconds ago and not taken, the broker is asked how many are
ready. Where that is fewer than the database believes, the oldest are suspected, as many as lack: a queue is emptied
from its head. What is suspected in two looks in a row is missed, and published again by the decision about that.

A message that a worker has in hand is not ready either, but it is asked for and granted long before the second look. If
it is not, such as behind a dead connection, a double of it is published, which is harmless, for the grant decides.
What is wrong with this guess, the deadlines of the messages put right. Belongs to the deciding thread.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from headway.broker.port import QueueDepth
from headway.protocol.messages import Missing
from headway.protocol.names import QueueName
from headway.protocol.topology import task_queue_name

from .store.store import Store

AGE: Final = timedelta(seconds=10)
"""How long a message has been with the broker before somebody looks for it (DESIGN 7)."""

LOOK_SECONDS: Final = 5.0
"""Between two looks: twice that after its first ten seconds, a lost message is missed."""


class Census:
    """Compares the database's queues with the broker's. `measure` asks for a queue's depth, by the broker's name."""

    def __init__(self, store: Store, measure: Callable[[str], None]) -> None:
        """Begin without a suspicion."""
        self._store = store
        self._measure = measure
        self._next_look = 0.0
        self._asked: dict[str, list[Missing]] = {}
        self._suspected: dict[str, set[Missing]] = {}

    def look(self, now: float) -> None:
        """Ask for the depths of queues with old messages, if it is time (`now`, monotonic); raise Unavailable."""
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        found: dict[QueueName, list[Missing]] = self._store.long_queued(AGE)
        self._asked = {task_queue_name(queue): old for queue, old in found.items()}
        self._suspected = {name: was for name, was in self._suspected.items() if name in self._asked}
        for name in self._asked:
            self._measure(name)

    def hear(self, depth: QueueDepth) -> list[Missing]:
        """Return what is missed, now that the depth of a queue is known; a queue that is not there has nothing."""
        believed = self._asked.pop(depth.queue, None)
        if believed is None:
            return []
        suspects = believed[: max(0, len(believed) - (depth.ready or 0))]
        before = self._suspected.get(depth.queue, set())
        self._suspected[depth.queue] = set(suspects)
        return [event for event in suspects if event in before]

    def forget(self) -> None:
        """Suspect nothing: the connection was gone, and what was in hand has gone back to the broker."""
        self._asked.clear()
        self._suspected.clear()
