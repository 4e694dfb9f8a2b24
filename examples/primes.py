"""Python alone: four functions side by side, and one that takes in what they returned.

headway run examples/primes.py
headway logs RUN total          says how many primes there are below 100,000
"""

from math import isqrt

from headway import DAG, python

PARTS = 4
END = 100_000


def count_primes(start: int, stop: int) -> int:
    """Return how many primes there are from `start` up to `stop`, without it."""
    return sum(
        number > 1 and all(number % factor for factor in range(2, isqrt(number) + 1)) for number in range(start, stop)
    )


def add(counts: list[int]) -> int:
    """Print and return the sum."""
    print(f"there are {sum(counts):,} primes below {END:,}")
    return sum(counts)


with DAG("primes", description="Python functions side by side", tags=["example"]) as dag:
    size = END // PARTS
    parts = [python(f"count_{part}", count_primes, args=[part * size, (part + 1) * size]) for part in range(PARTS)]
    python("total", add, args=[[part.output for part in parts]])
