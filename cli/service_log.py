"""What a service writes to stderr: one line for each remark, with the level; the journal notes the time by itself."""

import logging
from typing import Final

QUIET: Final = ("pika", "alembic", "sqlalchemy")
"""Libraries whose everyday remarks are not ours to repeat; their warnings are, and pika's are said by our adapter."""


class _OneLine(logging.Formatter):
    """Writes a traceback only where there is one, and else one line."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.exc_info else text.replace("\n", " ")


def log_to_stderr(level: str, *, with_time: bool) -> None:
    """Let every logger write to stderr from `level` on."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine(f"{'%(asctime)s ' if with_time else ''}%(levelname)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL if name == "pika" else logging.WARNING)
