"""WHO decides: a pure core, a store (the only SQLAlchemy), thin service shells, and the DAG file parser.

Read `core/decide.py` first: it says for every kind of event what happens. `store/` loads what a decision needs and
writes what it changed, in one transaction. `service.py` carries events from the broker to the core and back.
"""
