"""The schema's history, for Alembic: each file under versions/ leads from one schema to the next, and is never changed.

A migration is written by hand and imports nothing of ours: what `tables.py` says next year is not what it did. To add
one, change `tables.py`, write versions/vNNNN_<what>.py, raise `CURRENT` in `schema.py`, and let
tests/integration/test_migrations.py name every difference that is left. A scheduler that is one release older must be
able to work on the new schema: first add, in a later release remove.
"""
