"""The scheduler's core with dictionaries for a database: what `decide` is tested in, without any shell.

`World` does for the core what scheduler/decider.py does: it loads what `needs_of` names, decides, applies, decides what
follows, fills the queues and saves, one batch at a time. `check` looks after every batch whether what must always hold
still does. `dag` writes a DAG as text.
"""

from .dags import dag
from .invariants import check
from .world import BOOT, RUN, START, World, cut_slices, name_of, running

__all__ = ["BOOT", "RUN", "START", "World", "check", "cut_slices", "dag", "name_of", "running"]
