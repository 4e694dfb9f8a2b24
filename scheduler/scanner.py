"""Looks at the folder of DAG files again and again, on a thread of its own, outside the deciding loop.

What it finds becomes `dag_version` events, published like all others; the files themselves are parsed in processes of
their own (`parser/`), so that nothing an author wrote runs in here.
"""

import logging
import threading
from collections.abc import Callable

from headway.protocol.errors import HeadwayError

log = logging.getLogger(__name__)


class Scanner:
    """Calls `scan` at once and then every `seconds`, until stopped."""

    def __init__(self, scan: Callable[[], None], *, seconds: float) -> None:
        """Begin nothing yet."""
        self._scan = scan
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headway-scanner", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End after the scan in hand."""
        self._stopping.set()
        self._thread.join(timeout=self._seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._scan()
            except HeadwayError as error:
                log.warning("the DAG files are looked at again later: %s", error)
            except Exception:
                log.exception("the DAG files could not be looked at")
            self._stopping.wait(self._seconds)
