"""A worker's core, and everybody else played by the test: the broker, the scheduler, the children and the clock.

What the core wants done is done at once and noted; the notes are read by kind. `Floor` also checks after each input
what must hold whatever happens: a delivery is settled once, a child is started once, no more run than there are slots.
"""

import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from headway.broker.port import Confirmed, Connected, ConsumerId, Delivery, Disconnected, Outcome, Unconfirmed
from headway.protocol.dag import Shell
from headway.protocol.messages import Drop, Finished, Grant, Message, RunContext, Stop, Task
from headway.protocol.names import BootId, DagId, QueueName, RunId, TaskId, Token, WorkerName
from headway.protocol.states import EndReason
from headway.worker.attempt_files import AttemptFiles, Means
from headway.worker.code import CodeStore
from headway.worker.core.machine import Worker
from headway.worker.core.values import (
    CancelConsumer,
    ChildEnded,
    ChildNotStarted,
    ChildStarted,
    Consume,
    ConsumerEnded,
    Effect,
    Exit,
    Identity,
    Input,
    OrderArrived,
    Publish,
    Settle,
    SignalChild,
    StartChild,
    StopAsked,
    Tap,
    TaskArrived,
    Ticked,
)
from headway.worker.masking import Mask
from headway.worker.secret_files import SecretFiles

E = TypeVar("E")
M = TypeVar("M", bound=Message)
BOOT = BootId("boot-1")
ALL_HEARD = 1_000_000
"""A scheduler that has decided every heartbeat of the worker's."""

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def identity(**changed: Any) -> Identity:
    """Return a worker with one queue and one slot."""
    fields: dict[str, Any] = {
        "worker": WorkerName("w-1"),
        "boot": BOOT,
        "host": "host",
        "pid": 77,
        "queues": (QueueName("default"),),
        "slots": 1,
        "lease_seconds": 300.0,
        "heartbeat_seconds": 5.0,
        "headway_version": "1.0",
    }
    return Identity(**fields | changed)


def task(token: str = "t1", **changed: Any) -> Task:
    """Return the task message of an attempt."""
    fields: dict[str, Any] = {
        "dag_id": DagId("d"),
        "run_id": RunId("r"),
        "task_id": TaskId(f"task-{token}"),
        "try_number": 1,
        "token": Token(token),
        "fence": 1,
        "queue": QueueName("default"),
        "command": Shell(script="true"),
        "context": RunContext(ds="2026-01-02", logical_date=NOON, data_interval_start=NOON, data_interval_end=NOON),
    }
    return Task(**fields | changed)


def finished(token: str = "old", **changed: Any) -> Finished:
    """Return a result as an earlier boot left it in the spool."""
    fields: dict[str, Any] = {
        "dag_id": DagId("d"),
        "run_id": RunId("r"),
        "task_id": TaskId(f"task-{token}"),
        "try_number": 1,
        "token": Token(token),
        "worker": WorkerName("w-1"),
        "boot": BootId("boot-0"),
        "seq": 9,
        "exit_code": 0,
    }
    return Finished(**fields | changed)


class Floor:
    """One worker and its world. `now` is moved by `wait`; what happens goes in by the other methods."""

    def __init__(self, *, spooled: tuple[tuple[str, Finished], ...] = (), **about: Any) -> None:
        ids = (f"m{number}" for number in itertools.count(1))
        self.identity = identity(**about)
        self.core = Worker(self.identity, new_id=lambda: next(ids), spooled=spooled)
        self.now = 1000.0
        self.effects: list[Effect] = []
        self.new: list[Effect] = []
        self.taps: dict[Tap, QueueName] = {}
        self.closing: list[Tap] = []
        self.held: dict[int, tuple[Tap, Task]] = {}  # unsettled deliveries, by tag
        self.children: dict[Token, Task] = {}
        self.in_flight: dict[str, Message] = {}  # published, and neither confirmed nor lost
        self._started: set[Token] = set()
        self._tags = itertools.count(1)
        self._generation = 1

    # --- what the test reads ------------------------------------------------------------------------------------------

    def all(self, kind: type[E]) -> list[E]:
        """Return all effects of a kind."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def latest(self, kind: type[E]) -> list[E]:
        """Return the effects of a kind that the last input had."""
        return [effect for effect in self.new if isinstance(effect, kind)]

    def said(self, kind: type[M], *, latest: bool = False) -> list[M]:
        """Return the published events of a kind."""
        published = self.latest(Publish) if latest else self.all(Publish)
        return [effect.event for effect in published if isinstance(effect.event, kind)]

    def outcomes(self) -> list[tuple[int, Outcome]]:
        """Return what became of deliveries: tag and outcome."""
        return [(effect.delivery.tag, effect.outcome) for effect in self.all(Settle)]

    def idle(self, queue: str = "default") -> int:
        """Return how many consumers of a queue would take a message."""
        busy = {tap for tap, _ in self.held.values()}
        return sum(name == queue and tap not in busy and tap not in self.closing for tap, name in self.taps.items())

    @property
    def is_over(self) -> bool:
        """Whether the worker has ended."""
        return bool(self.all(Exit))

    # --- what happens -------------------------------------------------------------------------------------------------

    def do(self, event: Input) -> list[Effect]:
        """Hand an input to the core, do what it says, and check what must always hold."""
        self.new = self.core.handle(event, self.now)
        self.effects += self.new
        for effect in self.new:
            self._perform(effect)
        assert len(self.children) <= self.identity.slots
        return self.new

    def connect(self) -> "Floor":
        """Connect, and confirm what is said then: the worker has a lease."""
        self.connect_only()
        return self.confirm()

    def connect_only(self) -> None:
        """Connect, and confirm nothing yet."""
        self.do(Connected())

    def disconnect(self) -> None:
        """Lose the connection, with every delivery and whatever is not confirmed."""
        while self.in_flight:
            self.do(Unconfirmed(self.in_flight.popitem()[0], "lost"))
        self.held.clear()
        self._generation += 1
        self.do(Disconnected("cut"))

    def confirm(self, kind: type[Message] = Message) -> "Floor":
        """Confirm all published events of a kind that are not confirmed."""
        for message_id, event in list(self.in_flight.items()):
            if isinstance(event, kind):
                del self.in_flight[message_id]
                self.do(Confirmed(message_id))
        return self

    def deliver(self, message: Task | str = "t1", *, queue: str = "default", refusal: str = "") -> int:
        """Hand a task message to an idle consumer, closing ones last; return the delivery's tag.

        `refusal` says why this machine cannot run it.
        """
        message = task(message) if isinstance(message, str) else message
        busy = {tap for tap, _ in self.held.values()}
        ready = [tap for tap, name in self.taps.items() if name == queue and tap not in busy]
        tap = min(ready, key=lambda tap: tap in self.closing)
        tag = next(self._tags)
        self.held[tag] = (tap, message)
        self.do(TaskArrived(tap=tap, delivery=self._delivery(tag), task=message, refusal=refusal))
        return tag

    def gone(self) -> None:
        """Let the broker take note of every cancel."""
        while self.closing:
            tap = self.closing.pop(0)
            del self.taps[tap]
            self.do(ConsumerEnded(tap=tap))

    def order(self, kind: type[Grant | Drop | Stop], token: str = "t1", **changed: Any) -> None:
        """Send an order of the scheduler."""
        about = task(token)
        more: dict[type, dict[str, Any]] = {
            Grant: {"heard": ALL_HEARD},
            Drop: {"detail": ""},
            Stop: {"reason": EndReason.CANCELLED},
        }
        fields = {name: getattr(about, name) for name in ("dag_id", "run_id", "task_id", "try_number", "token")}
        self.do(OrderArrived(order=kind(**fields | {"boot": BOOT} | more[kind] | changed)))

    def grant(self, token: str) -> None:
        """Grant an attempt; if it is started, there is a process."""
        self.order(Grant, token)
        if Token(token) in self.children:
            self.do(ChildStarted(token=Token(token)))

    def run(self, token: str = "t1", *, queue: str = "default", **changed: Any) -> int:
        """Deliver a task and grant it; return the delivery's tag."""
        tag = self.deliver(task(token, **changed), queue=queue)
        self.grant(token)
        return tag

    def end(self, token: str = "t1", **changed: Any) -> None:
        """Let a child end, well unless told otherwise."""
        del self.children[Token(token)]
        fields: dict[str, Any] = {"token": Token(token), "pid": 5} | ({} if "signal" in changed else {"exit_code": 0})
        self.do(ChildEnded(**fields | changed))

    def fail_to_start(self, token: str = "t1", reason: EndReason = EndReason.NOT_STARTED) -> None:
        """Let a child not come to be."""
        del self.children[Token(token)]
        self.do(ChildNotStarted(token=Token(token), reason=reason, detail="no such program"))

    def wait(self, seconds: float) -> None:
        """Let time pass, calling the core when it wants to be called."""
        until = self.now + seconds
        while (due := self.core.next_due()) is not None and due <= until:
            self.now = max(due, self.now)
            self.do(Ticked())
        self.now = until
        self.do(Ticked())

    def live(self, seconds: float) -> None:
        """Let time pass while the broker confirms everything."""
        for _ in range(int(seconds)):
            self.wait(1.0)
            self.confirm()

    def stop(self) -> None:
        """Ask the worker to end."""
        self.do(StopAsked())

    # --- the world ----------------------------------------------------------------------------------------------------

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Publish(message_id=message_id, event=event):
                assert message_id not in self.in_flight
                self.in_flight[message_id] = event
            case Consume(tap=tap, queue=queue):
                assert tap not in self.taps
                self.taps[tap] = queue
            case CancelConsumer(tap=tap):
                assert tap in self.taps
                assert tap not in self.closing
                self.closing.append(tap)
            case Settle(delivery=delivery, outcome=outcome):
                assert delivery.generation == self._generation
                tap, _ = self.held.pop(delivery.tag)
                assert outcome is not Outcome.REQUEUE or not self.closing
                assert outcome is not Outcome.REQUEUE or tap not in self.taps
            case StartChild(task=started):
                assert started.token not in self._started
                self._started.add(started.token)
                self.children[started.token] = started
            case SignalChild(token=token):
                assert token in self.children
            case _:
                pass

    def _delivery(self, tag: int) -> Delivery:
        return Delivery(
            consumer=ConsumerId(0),
            queue="headway.q.default",
            exchange="headway.tasks",
            routing_key="task.default.p00",
            body=b"",
            message_id=None,
            kind="task",
            user_id=None,
            redelivered=False,
            headers={},
            generation=self._generation,
            tag=tag,
        )


class Followed:
    """What was said of logs, where a shipper would be: of each attempt mask and beginning, and if it wrote anything."""

    def __init__(self) -> None:
        self.masks: dict[str, Mask] = {}
        self.begins: dict[str, int] = {}
        self.wrote: dict[str, bool] = {}

    def watch(self, attempt: Task, _log: Path, mask: Mask, begin: int) -> None:
        """Note a beginning."""
        self.masks[attempt.token] = mask
        self.begins[attempt.token] = begin

    def end(self, token: str, *, wrote: bool) -> None:
        """Note an end."""
        self.wrote[token] = wrote


def make_files(
    home: Path,
    inherited: dict[str, str] | None = None,
    *,
    secrets: Path | None = None,
    shipper: Any = None,
) -> AttemptFiles:
    """Return the files of one worker, in its home."""
    means = Means(inherited=inherited or {}, secrets=SecretFiles(secrets), code=CodeStore(None))
    return AttemptFiles(home, home / "tasks", means, shipper or Followed())
