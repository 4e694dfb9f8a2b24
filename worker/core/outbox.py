"""What this boot says, and the part of it that must arrive kept until it has.

`finished`, `online`, `offline` and `refused` are published again until the broker has confirmed them; `finished` is in
the spool as well, so it outlives this process. `started` and heartbeats are not kept: the next one says the same.
A message keeps its id however often it is published.
"""

from collections.abc import Callable, Iterable

from headway.protocol.messages import Finished, Message, Offline, Online, Refused

from .values import Effect, Publish, RemoveSpool, WriteSpool

Kept = Finished | Online | Offline | Refused


class Outbox:
    """The events of one boot on their way to the broker."""

    def __init__(self, *, new_id: Callable[[], str], emit: Callable[[Effect], None]) -> None:
        self._new_id = new_id
        self._emit = emit
        self._kept: dict[str, Kept] = {}
        self._waiting: set[str] = set()  # kept, and not on their way
        self.is_connected = False
        self.is_blocked = False

    def load(self, spooled: Iterable[tuple[str, Finished]]) -> None:
        """Take over what earlier boots could not hand over, in its order."""
        self._kept.update(spooled)
        self._waiting.update(self._kept)

    def say(self, event: Message) -> str | None:
        """Publish an event that need not be kept; return its id, or None while nothing can be published."""
        if not self.is_connected or self.is_blocked:
            return None
        message_id = self._new_id()
        self._emit(Publish(message_id=message_id, event=event))
        return message_id

    def keep(self, event: Kept) -> str:
        """Publish an event, now or when there is a connection, until it is confirmed; return its id."""
        message_id = self._new_id()
        self._kept[message_id] = event
        if isinstance(event, Finished):
            self._emit(WriteSpool(message_id=message_id, event=event))
        self._waiting.add(message_id)
        if self.is_connected:
            self._publish(message_id)
        return message_id

    def publish_kept(self) -> None:
        """Publish what is kept and not on its way, in order, if there is a connection."""
        if self._waiting and self.is_connected:
            for message_id in [kept for kept in self._kept if kept in self._waiting]:
                self._publish(message_id)

    def confirmed(self, message_id: str) -> Kept | None:
        """The broker has a message; return it if it was kept."""
        event = self._kept.pop(message_id, None)
        if isinstance(event, Finished):
            self._emit(RemoveSpool(message_id=message_id))
        return event

    def unconfirmed(self, message_id: str) -> bool:
        """The broker may not have a message; say whether it is to be published again."""
        if message_id not in self._kept:
            return False
        self._waiting.add(message_id)
        return True

    def results(self) -> list[Finished]:
        """Return the results that the broker does not have yet."""
        return [event for event in self._kept.values() if isinstance(event, Finished)]

    @property
    def is_empty(self) -> bool:
        """Whether all that must arrive has arrived."""
        return not self._kept

    def _publish(self, message_id: str) -> None:
        self._waiting.remove(message_id)
        self._emit(Publish(message_id=message_id, event=self._kept[message_id]))
