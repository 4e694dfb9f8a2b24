"""Runs a RabbitMQ and a PostgreSQL for a developer until Ctrl-C: `make servers`.

Prints two export lines, so that a second shell can use them; what is said besides goes to stderr.
"""

import signal
import sys
from contextlib import closing

from . import Unavailable, start_postgresql, start_rabbitmq


def main() -> int:
    """Start both, print their URLs, and stay."""
    ends = {signal.SIGINT, signal.SIGTERM}
    try:
        with closing(start_rabbitmq()) as broker, closing(start_postgresql()) as database:
            signal.pthread_sigmask(signal.SIG_BLOCK, ends)
            print(f"export HEADWAY_BROKER_URL={broker.url()}")  # noqa: T201  this is its output
            print(f"export HEADWAY_DATABASE_URL={database.url()}", flush=True)  # noqa: T201
            sys.stderr.write(f"# {broker.origin}; management on port {broker.management_port}\n# {database.origin}\n")
            sys.stderr.write("# Paste the export lines into another shell; Ctrl-C here ends both servers.\n")
            signal.sigwait(ends)
    except Unavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
