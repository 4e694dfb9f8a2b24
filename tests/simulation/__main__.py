"""`python -m simulation`: play seeds over all cores until one breaks something, or one seed with a trace of its steps.

The order of a set of strings depends on PYTHONHASHSEED, and with it the order of what happens: it is 0 here, so that a
seed is the same everywhere.
"""

import argparse
import gc
import os
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice

from .cluster import Result, simulate

SLICE = 20
"""Seeds that a core plays at a time."""


def main() -> int:
    """Play what the command line asks for; return 1 if anything is broken."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many seeds to play")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="play this one alone, with a trace of its steps")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="cores to use")
    asked = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        environment = os.environ | {"PYTHONHASHSEED": "0"}
        os.execve(sys.executable, [sys.executable, "-m", "simulation", *sys.argv[1:]], environment)  # noqa: S606 - itself
    if asked.seed is not None:
        return _report([simulate(asked.seed, log=print)])
    return _report(_play(range(asked.first, asked.first + asked.seeds), asked.jobs))


def _play(seeds: range, jobs: int) -> Iterator[Result]:
    """Play seeds in slices over cores; results come in the order of the seeds."""
    slices = [seeds[start : start + SLICE] for start in range(0, len(seeds), SLICE)]
    with ProcessPoolExecutor(jobs, initializer=_warm_up) as pool:
        waiting = iter(slices)
        running = [pool.submit(_play_slice, one) for one in islice(waiting, 2 * jobs)]
        while running:
            yield from running.pop(0).result()
            running += [pool.submit(_play_slice, one) for one in islice(waiting, 1)]


def _warm_up() -> None:
    """Import and compile all that there is, and let the collector of garbage never look at it again."""
    simulate(0)
    gc.collect()
    gc.freeze()


def _play_slice(seeds: range) -> list[Result]:
    return [simulate(seed) for seed in seeds]


def _report(results: Iterable[Result]) -> int:
    """Print what came of the seeds, and of each broken one how to see it again; stop at the first of those."""
    begun = time.monotonic()
    seeds = events = children = 0
    for result in results:
        seeds += 1
        events += result.events
        children += result.children
        if result.error:
            print(f"seed {result.seed} is broken after {seeds} seeds: {result.error}")  # noqa: T201
            print(f"to see each step of it: make sim SEED={result.seed}")  # noqa: T201
            return 1
    took = time.monotonic() - begun
    print(f"{seeds} seeds in {took:.0f} s: {events} events decided, {children} children started, nothing broken")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
