"""The worker's decisions: inputs and the time go in, effects come out. No clock, no I/O, no randomness.

Start with `machine.py` (what each input means), then `attempts.py` (an attempt's way through a worker), `consumers.py`
(which consumer may hand us a message) and `lease.py`. `values.py` holds all that goes in and comes out.
"""
