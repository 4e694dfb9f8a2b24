"""Foreign errors become ours here, by one table, and nowhere else in this package.

Whatever is not in the table is `BrokerUnavailable`: something that passes, so the adapter tries again.
"""

import re
from typing import Final

from headway.protocol.errors import BrokerRefused, BrokerUnavailable, HeadwayError, QueueMismatch, WorkerNameTaken
from headway.protocol.topology import Exchange, Queue, control_queue_name

ACCESS_REFUSED: Final = 403
NOT_FOUND: Final = 404
RESOURCE_LOCKED: Final = 405
PRECONDITION_FAILED: Final = 406
NOT_ALLOWED: Final = 530

_BY_REPLY_CODE: Final[dict[int, type[HeadwayError]]] = {
    # A login, a publish or a declaration without permission; and, at login, a virtual host that does not exist.
    ACCESS_REFUSED: BrokerRefused,
    NOT_ALLOWED: BrokerRefused,
    # Both only of what was being declared. Of a channel at work, 406 means a delivery held too long: it passes.
    RESOURCE_LOCKED: WorkerNameTaken,
    PRECONDITION_FAILED: QueueMismatch,
}
# NOT_ALLOWED too, but room comes back: "connection limit (..) is reached".
_PASSING: Final = re.compile(r"\blimit\b.*\breached\b")
# How pika writes the broker's answer into the error of a connection that was refused while opening.
_QUOTED_REPLY: Final = re.compile(r"""\((\d{3})\) (['"])(.*)\2""")


def reply_of(error: BaseException) -> tuple[int | None, str]:
    """Return the broker's reply code (None where the broker said nothing) and what happened, for a person to read."""
    error = _innermost(error)
    code = getattr(error, "reply_code", None)
    if code is not None:
        return int(code), str(getattr(error, "reply_text", ""))
    if quoted := _QUOTED_REPLY.search(str(error)):
        return int(quoted[1]), quoted[3]
    if isinstance(error, OSError) and error.strerror:
        return None, error.strerror
    return None, str(error) or type(error).__name__


def translate(error: BaseException, *, url: str, declared: Exchange | Queue | None = None) -> HeadwayError:
    """Return our word for an error of the client library; `declared` is what it was about to declare.

    BrokerUnavailable: try again. WorkerNameTaken: in case the name is held by a dead connection, try again for a while.
    BrokerRefused, QueueMismatch: trying again mends nothing.
    """
    code, text = reply_of(error)
    found = _BY_REPLY_CODE.get(code or 0, BrokerUnavailable)
    if _PASSING.search(text) or (declared is None and found in {WorkerNameTaken, QueueMismatch}):
        found = BrokerUnavailable
    if found is QueueMismatch and isinstance(declared, Exchange):
        return QueueMismatch(f"Exchange {declared.name!r} exists with other arguments ({text}): delete it there.")
    name = declared.name if declared else ""
    return found(url=url, detail=text, queue=name, worker=name.removeprefix(control_queue_name("")))


def _innermost(error: BaseException) -> BaseException:
    """Return what happened first: pika wraps an error of the socket up to four times."""
    while True:
        inner = [*getattr(error, "exceptions", ()), getattr(error, "exception", None), *error.args]
        wrapped = next((item for item in reversed(inner) if isinstance(item, BaseException)), None)
        if wrapped is None:
            return error
        error = wrapped
