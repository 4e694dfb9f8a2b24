"""The worker's decisions: inputs and the time go in, effects come out. No clock, no I/O, no randomness.

Start with `machine.py` (what each input means) and `bench.py` (an attempt's way through a worker), then `intake.py`
(task messages), `orders.py` (the scheduler's), `endings.py` (children), `consumers.py` (who may hand us a message) and
`lease.py`. `values.py` holds all that goes in and comes out.
"""
