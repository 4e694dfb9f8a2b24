"""Every bound of the protocol, each with its reason.

A bound is part of the contract: a message beyond it is refused with a sentence, never cut silently.
"""

from typing import Final

PARTITIONS: Final = 16
"""Slices of the DAGs. Fixed for good, for queues and sequences of events exist for each; 16 cost next to nothing."""

ID_LENGTH_MAX: Final = 200
"""Characters of a DAG, run or task id: they stand in file names (255 bytes at most) beside a suffix of ours."""

TASKS_PER_DAG_MAX: Final = 100_000
"""The largest DAG that the figures in docs/performance.md are measured with."""

DAG_BYTES_MAX: Final = 64 * 1024 * 1024
"""Encoded size of one DAG value, which leaves out defaults: 100,000 tasks of 600 bytes each."""

DAG_FILE_BYTES_MAX: Final = 128 * 1024 * 1024
"""A DAG file larger than this is refused unread: its value could not fit either."""

COMMAND_BYTES_MAX: Final = 32 * 1024
"""One command with its environment: it travels in each task message, and RabbitMQ is fast below 64 KiB."""

OUTPUT_BYTES_MAX: Final = 64 * 1024
"""JSON that a task may write to HEADWAY_OUTPUT: it travels in `finished`. Artefacts go elsewhere."""

INPUT_BYTES_MAX: Final = 256 * 1024
"""All outputs that one task takes in: they travel in its task message."""

MAP_ITEMS_MAX: Final = 10_000
"""Instances of one mapped task: each is a row, and what they wrote is read at once by whoever takes it in."""

ITEM_BYTES_MAX: Final = OUTPUT_BYTES_MAX
"""One item of a list that a task is mapped over: Linux takes 128 KiB in an environment variable."""

OVER_BYTES_MAX: Final = 1024 * 1024
"""A list to map over that stands in the DAG file: 10,000 items of 100 bytes each."""

TAIL_BYTES_MAX: Final = 4 * 1024
"""Last bytes of a task's output that travel in `finished`, so that a failure explains itself without the worker."""

LOG_CHUNK_BYTES_MAX: Final = 48 * 1024
"""Bytes of a log that one `log_chunk` stands for, and characters of its text: 144 KiB where each byte is no text."""

NUMBER_MAX: Final = 2**31 - 1
"""Map indexes and tries: what a database's integer holds."""

OFFSET_MAX: Final = 2**62
"""Places in a log: what a database's large integer holds."""

MESSAGE_BYTES_MAX: Final = 1024 * 1024
"""Any message on any queue: above every legal one (a task with inputs), below RabbitMQ 4's default of 16 MiB."""

ROWS_PER_DECISION_MAX: Final = 1_000
"""Task instances that one decision may touch (P6); what is left goes on by a `continue` event."""

DURATION_SECONDS_MAX: Final = 366 * 24 * 3600
"""The longest duration an author may write: longer ones are typing errors."""

ACTIVE_RUNS_MAX: Final = 1_000
"""Runs of one DAG at a time: beyond that it is their tasks that want a limit."""

ACTIVE_RUNS_DEFAULT: Final = 16
"""As in Airflow."""

BACKFILL_ACTIVE_DEFAULT: Final = 10
"""As in Airflow."""

POOL_SLOTS_MAX: Final = 1_000_000
"""Slots of one pool: more would limit nothing."""

RETRIES_MAX: Final = 1_000
"""Attempts are rows; a task that needs more is polling."""

SLOTS_MAX: Final = 1_000
"""Slots of one worker: each costs a consumer on the broker and, when busy, a child process."""
