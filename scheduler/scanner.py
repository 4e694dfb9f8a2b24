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
    """Calls `scan` when it is asked to look, and from the first time on every `seconds`, until stopped."""

    def __init__(self, scan: Callable[[], None], *, seconds: float) -> None:
        """Begin nothing yet."""
        self._scan = scan
        self._seconds = seconds
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="headway-scanner", daemon=True)

    def start(self) -> None:
        """Wait to be asked: what a scan finds can be published once there is a connection."""
        self._thread.start()

    def look(self) -> None:
        """Scan at once, or once more after the scan in hand: what it publishes may have been lost until now."""
        self._wake.set()

    def stop(self) -> None:
        """End after the scan in hand."""
        self._stopped = True
        self._wake.set()
        self._thread.join(timeout=self._seconds)

    def _run(self) -> None:
        self._wake.wait()
        self._wake.clear()
        while not self._stopped:
            try:
                self._scan()
            except HeadwayError as error:
                log.warning("the DAG files are looked at again later: %s", error)
            except Exception:
                log.exception("the DAG files could not be looked at")
            self._wake.wait(self._seconds)
            self._wake.clear()
