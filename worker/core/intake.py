"""Task messages: what becomes of one depends on whether its attempt is here already, and on the free slots.

ARRIVALS says what applies in which phase. With several queues more may arrive than there are slots, since each queue
has a consumer for each free slot: such a message is parked for a moment and then handed back.
"""

from collections.abc import Callable
from typing import Final

from headway.broker.port import Outcome
from headway.protocol.messages import Refused

from .bench import Bench, Past
from .timers import Timer
from .values import Attempt, Phase, TaskArrived

ACK_AFTER_SECONDS: Final = 1.0
"""An attempt that is here for this long counts as long. A shorter one keeps its consumer, which spares the broker two
Raft commands; its ack, when it ended, is the flow control. A message that no slot is free for waits as long: each time
that it is handed back counts towards its queue's delivery limit."""

ASK_SECONDS: Final = 5.0
"""Until `started` is said again: an order is lost only with a connection, which is noticed, or with the scheduler."""

ASK_EARLY_SECONDS: Final = 0.5
"""The same while a boot is young: a `started` that is decided before its `online` is not answered."""

EARLY_SECONDS: Final = 5.0
"""How long a boot is young."""


def arrive(bench: Bench, arrived: TaskArrived, now: float) -> None:
    """A consumer brought a task message."""
    bench.consumers.take(arrived.tap, arrived.delivery)
    attempt = bench.here.get(arrived.task.token)
    ARRIVALS[attempt.phase if attempt else None](bench, arrived, now)


def _welcome(bench: Bench, arrived: TaskArrived, now: float) -> None:
    task = arrived.task
    if bench.past.get(task.token) is Past.STARTED:
        bench.ack(arrived.tap)
    elif not bench.is_accepting:
        bench.consumers.release(arrived.tap, Outcome.REQUEUE)
    else:
        bench.here[task.token] = Attempt(task=task, phase=Phase.PARKED, tap=arrived.tap, refusal=arrived.refusal)
        bench.parked[task.token] = None
        bench.timers.start(Timer.LONG, task.token, due=now + ACK_AFTER_SECONDS)


def _adopt(bench: Bench, arrived: TaskArrived, now: float) -> None:
    """Take the new delivery of a message whose old one is void; of two that count, one is a double."""
    attempt = bench.here[arrived.task.token]
    if attempt.tap is None:
        bench.put(attempt, tap=arrived.tap)
    else:
        _ack(bench, arrived, now)


def _ack(bench: Bench, arrived: TaskArrived, _now: float) -> None:
    bench.ack(arrived.tap)


ARRIVALS: Final[dict[Phase | None, Callable[[Bench, TaskArrived, float], None]]] = {
    None: _welcome,
    Phase.PARKED: _ack,
    Phase.ASKED: _adopt,
    Phase.RUNNING: _ack,
    Phase.REFUSING: _adopt,
}


def balance(bench: Bench, now: float) -> None:
    """Give free slots to what is parked, and have consumers for the slots that are left."""
    if not bench.is_accepting:
        for token in list(bench.parked):
            hand_back(bench, bench.here[token])
        bench.consumers.balance(free=0, spare=0)
        return
    while bench.parked and bench.free > 0:
        _admit(bench, bench.here[next(iter(bench.parked))], now)
    bench.consumers.balance(free=bench.free, spare=len(bench.young))


def _admit(bench: Bench, attempt: Attempt, now: float) -> None:
    """Give a slot to a parked attempt, and ask for it."""
    del bench.parked[attempt.task.token]
    bench.young.add(attempt.task.token)
    if attempt.refusal:
        bench.put(attempt, phase=Phase.REFUSING)
        bench.outbox.keep(bench.reports.refused(attempt.task, attempt.refusal))
    else:
        ask(bench, bench.put(attempt, phase=Phase.ASKED), now)


def ask(bench: Bench, attempt: Attempt, now: float) -> None:
    """Say `started`, and have it said again until an answer comes."""
    bench.outbox.say(bench.reports.started(attempt.task))
    wait = ASK_EARLY_SECONDS if now < bench.young_until else ASK_SECONDS
    bench.timers.start(Timer.ASK, attempt.task.token, due=now + wait)


def ask_all(bench: Bench, now: float) -> None:
    """Say `started` for all that wait for an answer: what was said before may be lost."""
    for attempt in list(bench.here.values()):
        if attempt.phase is Phase.ASKED:
            ask(bench, attempt, now)


def stayed_long(bench: Bench, attempt: Attempt) -> None:
    """An attempt has been here, or running, for ACK_AFTER_SECONDS: let its slot's consumers go."""
    bench.young.discard(attempt.task.token)
    if attempt.phase is Phase.PARKED:
        hand_back(bench, attempt)
    elif attempt.phase is Phase.RUNNING and attempt.tap is not None:
        bench.consumers.release(attempt.tap, Outcome.ACK)
        bench.put(attempt, tap=None)


def refusal_arrived(bench: Bench, refusal: Refused) -> None:
    """The broker has `refused`: the message has served its purpose."""
    attempt = bench.here.get(refusal.token)
    if attempt is not None:
        bench.forget(attempt)
        bench.ack(attempt.tap)


def hand_back(bench: Bench, attempt: Attempt) -> None:
    """Give an attempt that was not granted to another worker."""
    bench.forget(attempt, Past.HANDED_BACK)
    if attempt.tap is not None:
        bench.consumers.release(attempt.tap, Outcome.REQUEUE)


def close(bench: Bench) -> None:
    """Take no more: what is not granted goes back, what runs goes on without its message."""
    bench.is_accepting = False
    for attempt in list(bench.here.values()):
        if attempt.phase is Phase.RUNNING:
            stayed_long(bench, attempt)
        else:
            hand_back(bench, attempt)


def void(bench: Bench) -> None:
    """The connection is gone: deliveries do not count any more, and the broker will hand them out again."""
    bench.consumers.void()
    bench.young.clear()
    for token in list(bench.parked):
        bench.forget(bench.here[token])
    for attempt in list(bench.here.values()):
        bench.put(attempt, tap=None)
