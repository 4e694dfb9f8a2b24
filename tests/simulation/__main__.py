"""`python -m simulation SEED...`: play seeds."""

import sys
import time

from .cluster import simulate

t = time.perf_counter()
first, last = int(sys.argv[1]), int(sys.argv[2])
for seed in range(first, last):
    r = simulate(seed, log=print if last - first == 1 else lambda _: None)
    if r.error or last - first == 1:
        print(r)
print((time.perf_counter() - t) / (last - first))
