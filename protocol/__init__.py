"""WHAT is said: messages, states and their tables, DAG values, authoring, errors and names.

Pure values and tables. Nothing in here does I/O, reads a clock or draws a random number; every other room may import
it and it imports none. Start with `states.py` (the state machine), then `messages.py` (the wire) and `dag.py` (what an
author says).
"""
