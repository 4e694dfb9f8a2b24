"""DAG files to DAG values, in a process of their own: what an author wrote never runs in the scheduler (P8).

`folder.py` finds the files, `process.py` starts one child for each and takes its report, `child.py` is that child, and
`report.py` is what the two say to each other.
"""
