"""The pure core: `decide(snapshot, envelope, now) -> Decision`. No clock, no I/O, no randomness, no logging.

rows.py      stored things as frozen values           snapshot.py   what was loaded, overlaid with what was decided
graph.py     a DAG version, compiled                  changes.py    one constructor for each legal change
decide.py    the table: kind of event -> rule         needs.py      which rows a decision will look at
attempts.py  runs.py  workers.py  admission.py        the rules, by what they are about
replay.py    fold and decide again: the audit
"""
