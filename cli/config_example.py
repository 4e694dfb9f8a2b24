"""Writes docs/reference/headway.toml from the table of settings: `python -m headway.cli.config_example`."""

import sys
import textwrap
from typing import Final

from .settings import SETTINGS, key_of

_WIDTH: Final = 100

_HEAD: Final = """\
# headway.toml: every setting with its default. It is made of the code (`make docs`).
#
# The file that is read is the one that HEADWAY_CONFIG names, else headway.toml in the home (HEADWAY_HOME, by default
# ~/.local/share/headway), else /etc/headway/headway.toml: one of them, and never one of the current folder. Each
# setting is also an environment variable, which wins. Durations are like "90s", "10m", "1h30m", or seconds as a number.
"""
_TAIL: Final = """\
# A queue that is to have a TTL or a window of its own. Any other legal name is a queue too, made when it is first used;
# with one such table here, `headway check` tells which queues of DAGs do not stand here. A TTL belongs to the queue on
# the broker: to change it later, delete the queue there once it is empty.
#
# [queues.io]
# # How long a task message waits there for a worker before the broker hands it back and it is published again.
# ttl = "10m"
# # How many are published at a time; without it, twice the slots of its workers and at least a hundred.
# window = 100

# A pool, and how many slots its tasks may take at a time, over all DAGs. A task of a pool that does not stand here
# fails. The scheduler reads this when it starts.
#
# [pools.warehouse]
# slots = 4
"""


def write_example() -> str:
    """Return docs/reference/headway.toml."""
    tables: dict[str, list[str]] = {"": []}
    for name in SETTINGS:
        table, _, word = key_of(name).rpartition(".")
        tables.setdefault(table, []).append(_entry(name, word))
    parts = (f"{f'[{table}]' if table else ''}\n{''.join(entries)}".lstrip("\n") for table, entries in tables.items())
    return "\n".join((_HEAD, *parts, _TAIL))


def _entry(name: str, word: str) -> str:
    setting = SETTINGS[name]
    meaning = textwrap.wrap(f"{name}: {setting.meaning}.", _WIDTH)
    return "".join(f"# {line}\n" for line in (*meaning, f'{word} = "{setting.default or ""}"'))


if __name__ == "__main__":
    sys.stdout.write(write_example())
