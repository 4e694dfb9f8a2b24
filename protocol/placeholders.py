"""`{{ name }}` in the arguments of an `argv` task: what it looks like, which names there are, and how it is filled in.

There is no logic in a placeholder: no filter, no expression, no default. Validation refuses what this module does not
know, so filling in cannot fail later on a worker.
"""

import re
from collections.abc import Mapping
from typing import Final

OPENING: Final = "{{"
PARAM_PREFIX: Final = "params."
CONTEXT_NAMES: Final = (
    "ds",
    "ds_nodash",
    "ts",
    "logical_date",
    "data_interval_start",
    "data_interval_end",
    "dag_id",
    "run_id",
    "task_id",
    "map_index",
    "try",
)
"""The names that every task has; `params.<name>` joins them for each parameter of the DAG."""

ITEM_NAME: Final = "item"
"""A name that instances of mapped tasks have."""

_PLACEHOLDER: Final = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


def names_in(text: str) -> list[str]:
    """Return what stands between each `{{` and `}}`, in order; fewer than there are `{{` where one is not closed."""
    return _PLACEHOLDER.findall(text)


def fill_in(text: str, values: Mapping[str, str]) -> str:
    """Replace each placeholder by its value, once: a value that looks like a placeholder stays as it is.

    Raises KeyError for a name without a value, which validation has excluded.
    """
    return _PLACEHOLDER.sub(lambda found: values[found[1]], text)
