"""What a worker is told at its start. The composition root reads the environment; nothing in this room does."""

from pathlib import Path
from typing import Final

import msgspec

from headway.protocol.names import QueueName, WorkerName
from headway.protocol.topology import QueueLimits

LEASE_SECONDS: Final = 300.0
"""How long a worker may be out of touch before its attempts are given to others: longer than a broker's restart."""

HEARTBEAT_SECONDS: Final = 5.0
"""Sixty in a lease: a few that get lost do not matter."""


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one worker.

    Without a `name` it takes the host's and the first free number. `inherited` is the environment of which children get
    PATH, HOME, LANG and TZ, and nothing else. `dags` is where code of `python` tasks stands, `secrets` a folder with a
    file for each. `drain_seconds` None: a drain waits for as long as children run. `limits` are those that a queue is
    made with, where this worker is the first to ask for it and may make it.
    """

    home: Path
    queues: tuple[QueueName, ...]
    slots: int
    name: WorkerName | None = None
    host: str | None = None
    inherited: dict[str, str] = {}
    secrets: Path | None = None
    dags: Path | None = None
    lease_seconds: float = LEASE_SECONDS
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    drain_seconds: float | None = None
    limits: dict[QueueName, QueueLimits] = {}
