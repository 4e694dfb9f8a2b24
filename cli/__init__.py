"""WHO you talk to: the `headway` command. It composes the services, publishes operators' events and shows what is.

app.py        the list of commands, and what becomes of an error       settings.py  the only reader of the environment
commands/     one file for each, imported when it is run               operating.py an operator's event and its verdict
printing.py   tables, times, JSON                                      explain.py   the sentences of `headway why`
wfformat.py   workflows of WfCommons as DAGs
"""

from .app import main

__all__ = ["main"]
