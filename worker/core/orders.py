"""The scheduler's orders: ORDERS says what each means in each phase. What has no row changes nothing and is remarked.

A grant is for one boot and one token. It is obeyed once, and only while the lease holds: whoever comes back after a
long sleep must not start what the scheduler has given to another worker meanwhile.
"""

from collections.abc import Callable
from typing import Any, Final

from headway.protocol.kinds import kind_of
from headway.protocol.messages import Drop, Grant, Stop, WorkerOrder
from headway.protocol.states import EndReason

from .bench import Bench, Past
from .endings import STOP_GRACE_SECONDS, end_unstarted, report_unstarted, terminate
from .intake import ACK_AFTER_SECONDS
from .timers import Timer
from .values import Phase, StartChild


def obey(bench: Bench, order: WorkerOrder, now: float) -> None:
    """The scheduler answers or commands."""
    attempt = bench.here.get(order.token)
    phase = attempt.phase if attempt else bench.past.get(order.token)
    rule = ORDERS.get((phase, type(order)))
    if order.boot != bench.identity.boot:
        bench.remark(f"{_name(order)} is for boot {order.boot} and not for this one")
    elif rule is None:
        bench.remark(f"{_name(order)} changes nothing: the attempt is {phase or 'not known'} here")
    else:
        rule(bench, order, now)


def _start(bench: Bench, order: Grant, now: float) -> None:
    attempt = bench.here[order.token]
    if not bench.lease.holds(now):
        bench.remark(f"{_name(order)} came while this worker has no lease: it asks again with the next one")
        return
    bench.remember(order.token, Past.STARTED)
    bench.put(attempt, phase=Phase.RUNNING)
    bench.timers.cancel(Timer.ASK, order.token)
    bench.timers.start(Timer.LONG, order.token, due=now + ACK_AFTER_SECONDS)
    bench.emit(StartChild(task=attempt.task))


def _drop(bench: Bench, order: Drop, _now: float) -> None:
    attempt = bench.here[order.token]
    bench.forget(attempt)
    bench.ack(attempt.tap)


def _stop(bench: Bench, order: Stop, now: float) -> None:
    terminate(bench, bench.here[order.token], order.reason, "", now + STOP_GRACE_SECONDS)


def _stop_unstarted(bench: Bench, order: Stop, now: float) -> None:
    """Its grant was lost on the way; if it still comes, it must not be obeyed."""
    end_unstarted(bench, bench.here[order.token], order.reason, "it was stopped before it was started", now)


def _confess(bench: Bench, order: Grant, now: float) -> None:
    """The grant crossed with our handing back: nothing was started, and nobody must believe that it runs."""
    bench.remember(order.token, Past.STARTED)
    report_unstarted(bench, order, EndReason.SHUTDOWN, "its worker was stopped before the grant came", now)


def _ignore(_bench: Bench, _order: Grant, _now: float) -> None:
    """Each repetition of `started` brings one grant more."""


ORDERS: Final[dict[tuple[Phase | Past | None, type[WorkerOrder]], Callable[[Bench, Any, float], None]]] = {
    (Phase.ASKED, Grant): _start,
    (Phase.ASKED, Drop): _drop,
    (Phase.ASKED, Stop): _stop_unstarted,
    (Phase.RUNNING, Grant): _ignore,
    (Phase.RUNNING, Stop): _stop,
    (Past.STARTED, Grant): _ignore,
    (Past.HANDED_BACK, Grant): _confess,
}


def _name(order: WorkerOrder) -> str:
    return f"{kind_of(order)} of {order.task_id} of run {order.run_id}, try {order.try_number},"
