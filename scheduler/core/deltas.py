"""What a batch adds to rows that all partitions share: counters of queues and rooms, added to and never set."""

import msgspec

from .rows import QueueRow, Room, RoomRow


class QueueDelta(msgspec.Struct):
    """What a batch adds to a queue's counters; they are shared rows, so they are added to and never set."""

    queued: int = 0
    waiting: int = 0
    slots: int = 0
    workers: int = 0
    mended: int = 0

    def add(self, other: "QueueDelta") -> None:
        """Add another delta to this one."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def moved(row: QueueRow, delta: QueueDelta | None) -> QueueRow:
    """Return a queue's counters as they are after a batch."""
    if delta is None:
        return row
    added = {name: getattr(row, name) + getattr(delta, name) for name in delta.__struct_fields__}
    return msgspec.structs.replace(row, **added)


class RoomDelta(msgspec.Struct):
    """What a batch adds to a room, and what it says anew of its slots and of what its line lacks."""

    used: int = 0
    waiting: int = 0
    turn: int = 0
    slots: int | None = None
    lacks: Room | None = None

    def add(self, other: "RoomDelta") -> None:
        """Add another delta to this one."""
        self.used += other.used
        self.waiting += other.waiting
        self.turn += other.turn
        self.slots = self.slots if other.slots is None else other.slots
        self.lacks = other.lacks or self.lacks


def room_after(row: RoomRow, delta: RoomDelta | None) -> RoomRow:
    """Return a room as it is after a batch."""
    if delta is None:
        return row
    return RoomRow(
        room=row.room,
        slots=row.slots if delta.slots is None else delta.slots,
        used=row.used + delta.used,
        waiting=row.waiting + delta.waiting,
        turn=row.turn + delta.turn,
        lacks=delta.lacks or row.lacks,
    )
