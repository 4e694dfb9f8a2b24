"""How long the adapters wait for a broker, whichever client library they use."""

from typing import Final

HEARTBEAT_SECONDS: Final = 10
"""RabbitMQ advises 5 to 20: below that a busy machine is taken for a dead one, above it a dead one for a busy one."""

BLOCKED_SECONDS_MAX: Final = 300.0
"""How long an alarm may block a connection before another one is tried, which may reach a node without an alarm."""

TCP_USER_TIMEOUT_MS: Final = 2 * HEARTBEAT_SECONDS * 1000
"""The kernel sees a cut line while we send, as heartbeats do.

A kernel that counts unanswered bytes would cut a publishing connection that an alarm blocks, so only the consuming one
asks it to; the publishing one has a limit of its own for that.
"""

CONNECT_SECONDS_MAX: Final = 10.0

GOODBYE_SECONDS_MIN: Final = 1.0
"""For the goodbye, though `close` was given no time: it normally takes milliseconds."""

NAME_HELD_SECONDS_MAX: Final = 3.5 * HEARTBEAT_SECONDS
"""How long a dead connection may hold an exclusive queue: RabbitMQ closes a silent one after three heartbeats."""

MISSING_QUEUE_SECONDS: Final = 2.0
"""How often to look for a queue that others must make: the first task of a new queue waits so long at most."""

BIND_SECONDS: Final = 10.0
"""How often to bind again what is bound already. For so long may events go astray after somebody has deleted an
exchange: less than any lease that is fit for work."""

SLICE: Final = 500
"""Actions between two looks at the socket: about 10 ms of publishing."""
