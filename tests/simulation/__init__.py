"""A whole cluster in one thread on a virtual clock: the real code, and everything around it made up from one seed.

    real        the scheduler's service, clock, relay, decider, core and store on SQLite; the worker's service, link,
                core and spool
    made up     time, threads, the network, RabbitMQ (`rabbit.py`, by broker/port.py's promises), children, who breaks
                what and when (`faults.py`)

`kernel.py` runs every thread as a fiber and decides who goes on: so a seed is one order of all that happens, and the
same seed is the same order. `judge.py` looks after every commit and every start of a child; `cluster.py` puts it all
together; `python -m simulation` runs seeds.
"""
