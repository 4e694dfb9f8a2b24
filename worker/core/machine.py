"""The worker's state machine: `handle(input, now)` says what is to be done now, `next_due` when to call it again.

Timers that are due are served before the input, so a shell only has to call in time. After each input the consumers
are brought in line with the free slots, and what is to be done before an end is looked at again:

    SERVING -- stop asked --> DRAINING -- no attempt --> FLUSHING -- all confirmed --> LEAVING -- `offline` too --> OVER
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final, Literal, assert_never

from headway.broker.port import Blocked, Confirmed, Connected, Disconnected, Unblocked, Unconfirmed
from headway.protocol.messages import Finished, Online, Refused
from headway.protocol.names import Token

from . import endings, intake, orders
from .bench import Bench
from .timers import Timer
from .values import (
    Attempt,
    ChildEnded,
    ChildNotStarted,
    ChildStarted,
    ConsumerEnded,
    Effect,
    Exit,
    ExtendLease,
    Identity,
    Input,
    OrderArrived,
    SignalChild,
    SpawnerEnded,
    StopAsked,
    SyncSpool,
    TaskArrived,
    Ticked,
)

RESEND_SECONDS: Final = 0.1
RESEND_SECONDS_MAX: Final = 5.0
"""Until an event that the broker returned or refused is published again, twice as long each time: a scheduler that
starts with us declares its queues in a moment, and one that does not is not to be drowned."""

FLUSH_SECONDS: Final = 10.0
"""How long the end waits for a broker that is away; what is in the spool by then is published by the next boot."""

FAILED_STARTS_MAX: Final = 3
"""Children in a row that could not be started, before this worker takes no tasks for a while (DESIGN 7)."""

PAUSE_SECONDS: Final = 5.0
PAUSE_SECONDS_MAX: Final = 300.0
"""The first pause, which doubles with each further failure, and the longest: five minutes after a disk was cleared."""


class Stage(StrEnum):
    """How far this boot is on its way to its end."""

    SERVING = "serving"
    DRAINING = "draining"
    FLUSHING = "flushing"
    LEAVING = "leaving"
    OVER = "over"


class Worker:
    """One boot of a worker. `spooled` are the results that earlier boots of its name could not hand over."""

    def __init__(
        self, identity: Identity, *, new_id: Callable[[], str], spooled: Iterable[tuple[str, Finished]] = ()
    ) -> None:
        self._effects: list[Effect] = []
        self._bench = Bench(identity, new_id=new_id, emit=self._effects.append)
        self._bench.outbox.load(spooled)
        self._stage = Stage.SERVING
        self._is_online = False
        self._is_in_order = True
        self._resend_seconds = RESEND_SECONDS

    def next_due(self) -> float | None:
        """Return when `handle` is to be called again, at the latest."""
        return self._bench.timers.next_due()

    def handle(self, event: Input, now: float) -> list[Effect]:
        """Say what is to be done, in this order, because of `event` and of the time."""
        while (due := self._bench.timers.take(now)) is not None:
            self._serve(*due, now)
        self._take(event, now)
        intake.balance(self._bench, now)
        self._advance(now)
        effects = self._effects.copy()
        self._effects.clear()
        return effects

    def _take(self, event: Input, now: float) -> None:
        match event:
            case Connected() | Disconnected() | Blocked() | Unblocked() | Confirmed() | Unconfirmed():
                self._hear_broker(event, now)
            case ChildStarted() | ChildEnded() | ChildNotStarted() | SpawnerEnded():
                self._hear_spawner(event, now)
            case TaskArrived():
                intake.arrive(self._bench, event, now)
            case ConsumerEnded(tap=tap):
                self._bench.consumers.ended(tap)
            case OrderArrived(order=order):
                orders.obey(self._bench, order, now)
            case StopAsked():
                self._stop_asked(now)
            case Ticked():
                pass
            case _:
                assert_never(event)

    def _serve(self, timer: Timer, about: str, now: float) -> None:
        match timer:
            case Timer.ASK | Timer.LONG | Timer.TIMEOUT | Timer.KILL:
                self._serve_attempt(timer, self._bench.here[Token(about)], now)
            case Timer.SYNC:
                self._bench.emit(SyncSpool(message_id=about))
            case Timer.HEARTBEAT:
                self._beat(now)
            case Timer.RESEND:
                self._bench.outbox.publish_kept()
            case Timer.LEASE:
                endings.end_lease(self._bench)
            case Timer.RESUME:
                self._bench.is_accepting = self._stage is Stage.SERVING
            case Timer.DRAIN:
                endings.shut_down(self._bench, "its worker was stopped, and the time to drain is over", now)
            case Timer.FLUSH:
                self._give_up()
            case _:
                assert_never(timer)

    def _serve_attempt(
        self, timer: Literal[Timer.ASK, Timer.LONG, Timer.TIMEOUT, Timer.KILL], attempt: Attempt, now: float
    ) -> None:
        match timer:
            case Timer.ASK:
                intake.ask(self._bench, attempt, now)
            case Timer.LONG:
                intake.stayed_long(self._bench, attempt)
            case Timer.TIMEOUT:
                endings.time_out(self._bench, attempt, now)
            case Timer.KILL:
                self._bench.emit(SignalChild(token=attempt.task.token, kill=True))
            case _:
                assert_never(timer)

    # --- the spawner --------------------------------------------------------------------------------------------------

    def _hear_spawner(self, event: ChildStarted | ChildEnded | ChildNotStarted | SpawnerEnded, now: float) -> None:
        match event:
            case ChildStarted(token=token):
                endings.child_started(self._bench, token, now)
            case ChildEnded():
                endings.child_ended(self._bench, event, now)
            case ChildNotStarted():
                endings.child_not_started(self._bench, event, now)
                self._pause(now)
            case SpawnerEnded(detail=detail):
                self._is_in_order = False
                endings.children_lost(self._bench, detail, now)
                if self._stage is Stage.SERVING:
                    self._stop_asked(now)
            case _:
                assert_never(event)

    def _pause(self, now: float) -> None:
        """A machine that can start nothing must not eat a queue empty."""
        bench = self._bench
        if bench.starts_failed < FAILED_STARTS_MAX or not bench.is_accepting:
            return
        bench.is_accepting = False
        seconds = min(PAUSE_SECONDS * 2 ** (bench.starts_failed - FAILED_STARTS_MAX), PAUSE_SECONDS_MAX)
        bench.timers.start(Timer.RESUME, due=now + seconds)
        bench.remark(f"{bench.starts_failed} children in a row could not be started: no more tasks for {seconds:g} s")

    # --- the broker ---------------------------------------------------------------------------------------------------

    def _hear_broker(
        self, event: Connected | Disconnected | Blocked | Unblocked | Confirmed | Unconfirmed, now: float
    ) -> None:
        bench = self._bench
        match event:
            case Connected():
                self._connected(now)
            case Disconnected():
                bench.outbox.is_connected = bench.outbox.is_blocked = False
                intake.void(bench)
            case Blocked():
                bench.outbox.is_blocked = True
            case Unblocked():
                bench.outbox.is_blocked = False
                self._catch_up(now)
            case Confirmed(message_id=message_id):
                self._confirmed(message_id, now)
            case Unconfirmed(message_id=message_id):
                self._unconfirmed(message_id, now)
            case _:
                assert_never(event)

    def _connected(self, now: float) -> None:
        """Say first what ended and then what we are, so that no scheduler believes lost what is done."""
        bench = self._bench
        bench.outbox.is_connected = True
        bench.outbox.publish_kept()
        if not self._is_online and self._stage is Stage.SERVING:
            self._is_online = True
            bench.outbox.keep(bench.reports.online(bench.held()))
        self._catch_up(now)

    def _catch_up(self, now: float) -> None:
        intake.ask_all(self._bench, now)
        self._beat(now)

    def _beat(self, now: float) -> None:
        bench = self._bench
        bench.timers.start(Timer.HEARTBEAT, due=now + bench.identity.heartbeat_seconds)
        if self._is_online:
            heartbeat = bench.reports.heartbeat(bench.held())
            message_id = bench.outbox.say(heartbeat)
            if message_id is not None:
                bench.lease.sent(message_id, now, seq=heartbeat.seq)

    def _confirmed(self, message_id: str, now: float) -> None:
        bench = self._bench
        self._resend_seconds = RESEND_SECONDS
        had_lease = bench.lease.holds(now)
        if bench.lease.confirmed(message_id, now):
            bench.emit(ExtendLease(until=bench.lease.kill_at))
            bench.timers.start(Timer.LEASE, due=bench.lease.term_at)
            if not had_lease:
                intake.ask_all(bench, now)
        match bench.outbox.confirmed(message_id):
            case Finished():
                bench.timers.cancel(Timer.SYNC, message_id)
            case Refused() as refusal:
                intake.refusal_arrived(bench, refusal)
            case Online():
                bench.is_accepting = self._stage is Stage.SERVING
                bench.young_until = now + intake.EARLY_SECONDS
                if not bench.lease.is_asked_for:  # the heartbeat that went with it was returned, as it was at first
                    self._beat(now)
            case _:
                pass

    def _unconfirmed(self, message_id: str, now: float) -> None:
        bench = self._bench
        bench.lease.unconfirmed(message_id)
        if bench.outbox.unconfirmed(message_id) and bench.timers.due_of(Timer.RESEND) is None:
            bench.timers.start(Timer.RESEND, due=now + self._resend_seconds)
            self._resend_seconds = min(2 * self._resend_seconds, RESEND_SECONDS_MAX)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _stop_asked(self, now: float) -> None:
        bench = self._bench
        if self._stage is not Stage.SERVING:
            endings.shut_down(bench, "its worker was stopped at once", now)
            return
        self._stage = Stage.DRAINING
        intake.close(bench)
        if bench.identity.drain_seconds is not None:
            bench.timers.start(Timer.DRAIN, due=now + bench.identity.drain_seconds)

    def _advance(self, now: float) -> None:
        """Take the next steps towards the end, as far as they are due."""
        bench = self._bench
        if self._stage is Stage.DRAINING and not bench.here:
            self._stage = Stage.FLUSHING
            bench.timers.start(Timer.FLUSH, due=now + FLUSH_SECONDS)
        if self._stage is Stage.FLUSHING and bench.outbox.is_empty and bench.consumers.is_quiet:
            self._stage = Stage.LEAVING
            if self._is_online:
                bench.outbox.keep(bench.reports.offline())
        if self._stage is Stage.LEAVING and bench.outbox.is_empty:
            self._leave()

    def _give_up(self) -> None:
        left = len(self._bench.outbox.results())
        self._bench.remark(f"the broker did not answer in time: {left} results stay in the spool for the next start")
        self._leave()

    def _leave(self) -> None:
        self._stage = Stage.OVER
        self._bench.emit(Exit(in_order=self._is_in_order))
