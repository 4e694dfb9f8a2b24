"""WHO works: takes tasks from the broker, asks for each, runs a child process, and reports.

`core/` decides (pure), `service.py` carries, `children.py` and `spawner.py` are the processes, `spool.py` keeps what
the broker does not have yet. A worker changes no state of any task: it runs what was granted and says how that ended.
"""
