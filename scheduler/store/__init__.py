"""The only SQLAlchemy code: what decisions need is loaded here, and what they changed is written here.

tables.py    the schema, with its invariants           engine.py   engines, and foreign errors translated
bulk.py      many rows in one statement, as JSON       load.py     rows for a snapshot, by key
save.py      compare-and-set, records, outbox          reads.py    what the command line asks
migrations/  Alembic; `headway db upgrade`
"""
