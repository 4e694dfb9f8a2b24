"""Connections between processes and the broker, and the `Broker` port on top of them.

A connection is four pipes: publishes and confirms, and what concerns consumers, both ways. A pipe keeps its order and
takes its time; nothing holds between pipes, or between one connection and the next. Nothing is lost on a connection
that lives. When it dies, each side learns of it on its own; of what was on its way up, any first part may still arrive,
even after the client has made its next connection.
"""

from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Final

from headway.broker.port import (
    Blocked,
    Capabilities,
    Confirmed,
    Connected,
    ConsumerGone,
    ConsumerId,
    Delivered,
    Delivery,
    Disconnected,
    Outcome,
    Outgoing,
    QueueDepth,
    Sink,
    Unblocked,
    Unconfirmed,
)
from headway.protocol.topology import Queue

from .kernel import Action, Kernel, Process
from .rabbit import Rabbit, Stored, Subscription

SILENCE_SECONDS: Final = (8.0, 14.0)
"""After which of silence one side takes the other for dead: less than a real heartbeat's, as all times here are."""

BACKOFF_SECONDS_MAX: Final = 3.0
CONFIRM_SECONDS_MAX: Final = 0.1


class Network:
    """Who reaches the broker, and how long that takes."""

    def __init__(self, kernel: Kernel, rabbit: Rabbit) -> None:
        self.kernel = kernel
        self.rabbit = rabbit
        self.latency_seconds_max = 0.02
        self.refuses = 0.0  # share of publishes that the broker refuses
        self.is_blocked = False
        self.lines: list[Line] = []
        self.published: Callable[[str, Outgoing], None] = lambda _user, _message: None
        self._cut: dict[str, int] = {}

    def latency(self) -> float:
        """Return how long something takes on its way."""
        return self.kernel.random.uniform(0.0005, self.latency_seconds_max)

    def is_cut(self, name: str) -> bool:
        """Say whether a machine is cut off from the broker."""
        return self._cut.get(name, 0) > 0

    def cut(self, name: str, seconds: float) -> None:
        """Let nothing through, either way, for so many seconds."""
        self._cut[name] = self._cut.get(name, 0) + 1
        self.kernel.after(seconds, lambda: self._heal(name))
        for line in self.of(name):
            line.watch()

    def of(self, name: str) -> "list[Line]":
        """Return the connections of a machine that are not forgotten on both sides."""
        return [line for line in self.lines if line.client.process.name == name]

    def inject(self, message: Outgoing, user: str) -> None:
        """Let a message arrive at the broker from nowhere."""
        if self.rabbit.is_up:
            self.rabbit.publish(stored(message, user))

    def _heal(self, name: str) -> None:
        self._cut[name] -= 1
        for line in self.of(name):
            line.pump()

    # --- misfortune -------------------------------------------------------------------------------------------------

    def restart_broker(self, seconds: float) -> None:
        """Let the broker go, and come back after so many seconds."""
        self.rabbit.is_up = False
        for line in list(self.lines):
            line.server_ends()
        self.rabbit.forget_transient()
        self.kernel.after(seconds, self._come_back)

    def _come_back(self) -> None:
        self.rabbit.is_up = True

    def block(self, seconds: float) -> None:
        """Let the broker have an alarm: it reads no publishes for so many seconds."""
        self.is_blocked = True
        for line in self.lines:
            line.tell(Blocked("memory"))
        self.kernel.after(seconds, self._unblock)

    def _unblock(self) -> None:
        self.is_blocked = False
        for line in list(self.lines):
            line.tell(Unblocked())
            line.pump()


def stored(message: Outgoing, user: str) -> Stored:
    """Return a message as the broker keeps it."""
    names = ("message_id", "exchange", "routing_key", "kind", "body", "transient")
    return Stored(user_id=user, **{name: getattr(message, name) for name in names})


class Pipe:
    """One direction of a channel: what goes in comes out in order, some time later."""

    def __init__(self, line: "Line", may_flow: Callable[[], bool]) -> None:
        self._line = line
        self._may_flow = may_flow
        self._on_its_way: deque[tuple[float, Action]] = deque()
        self._last = 0.0
        self.is_closed = False

    def send(self, action: Action) -> None:
        """Let something happen at the other end."""
        if self.is_closed:
            return
        kernel = self._line.network.kernel
        self._last = max(self._last, kernel.now + self._line.network.latency())
        self._on_its_way.append((self._last, action))
        kernel.after(self._last - kernel.now, self.pump)

    def pump(self) -> None:
        """Let arrive what has had its time."""
        while self._on_its_way and self._may_flow():
            due, action = self._on_its_way[0]
            if due > self._line.network.kernel.now:
                return
            self._on_its_way.popleft()
            action()

    def close(self, *, keep: int = 0) -> None:
        """Take nothing more, and let only the first `keep` of what is on its way arrive."""
        self.is_closed = True
        self.cut_off(keep=keep)

    def cut_off(self, *, keep: int) -> None:
        """Lose all but the first `keep` of what is on its way."""
        while len(self._on_its_way) > keep:
            self._on_its_way.pop()

    def __len__(self) -> int:
        return len(self._on_its_way)


class Line:
    """One connection of a client, both halves. Each side knows for itself whether it still stands."""

    def __init__(self, network: Network, client: "Client", generation: int) -> None:
        self.network = network
        self.client = client
        self.name = client.process.name
        self.generation = generation
        self.client_lives = True
        self.server_lives = False  # until the broker has accepted it
        self.is_accepted = False
        self.subscriptions: dict[int, Subscription] = {}
        self.publishes = Pipe(self, lambda: self._reaches_server() and not network.is_blocked)
        self.consumes = Pipe(self, self._reaches_server)
        self.confirms = Pipe(self, self._reaches_client)
        self.deliveries = Pipe(self, self._reaches_client)
        network.lines.append(self)

    # --- the client's side --------------------------------------------------------------------------------------------

    def client_ends(self, *, orderly: bool = False) -> None:
        """The client gives it up, or is dead: some of what it sent still arrives, and the broker learns of it later."""
        if not self.client_lives:
            return
        self.client_lives = False
        self.confirms.close()
        self.deliveries.close()
        random = self.network.kernel.random
        for pipe in (self.publishes, self.consumes):
            pipe.close(keep=len(pipe) if orderly else random.randint(0, len(pipe)))
        self.network.kernel.after(0 if orderly else self.network.latency(), self._fin)

    def _fin(self) -> None:
        """The goodbye: it stands in line behind what is still on its way, and does not pass a cut network."""
        kernel = self.network.kernel
        if self.network.is_cut(self.name):
            kernel.after(kernel.random.uniform(*SILENCE_SECONDS), self._expire_server)
        elif self.publishes or self.consumes:
            kernel.after(self.network.latency(), self._fin)
        else:
            self.server_ends()

    def _expire_server(self) -> None:
        for pipe in (self.publishes, self.consumes):
            pipe.close()
        self.server_ends()

    # --- the broker's side --------------------------------------------------------------------------------------------

    def server_ends(self) -> None:
        """The broker closes it; the client learns of it, if it can be reached."""
        if self.server_lives:
            self.server_lives = False
            self.network.rabbit.end(self, list(self.subscriptions.values()))
        for pipe in (self.publishes, self.consumes):
            pipe.close()
        if self.client_lives:
            for pipe in (self.confirms, self.deliveries):
                pipe.cut_off(keep=self.network.kernel.random.randint(0, len(pipe)))
            self.deliveries.send(lambda: self.client.lost(self, "the broker closed it"))
            self.watch()
        else:
            self._forget()

    def deliver(self, subscription: Subscription, tag: int, message: Stored) -> None:
        """Send a message to a consumer."""
        delivery = Delivery(
            consumer=ConsumerId(subscription.consumer),
            queue=subscription.queue,
            exchange=message.exchange,
            routing_key=message.routing_key,
            body=message.body,
            message_id=message.message_id,
            kind=message.kind,
            user_id=message.user_id,
            redelivered=message.deliveries > 0,
            headers=message.headers,
            generation=self.generation,
            tag=tag,
        )
        self.deliveries.send(lambda: self.client.delivered(self, delivery))

    def cancelled(self, subscription: Subscription) -> None:
        """Say that a consumer's queue was deleted, which ends the whole session of our adapter."""
        self.subscriptions.pop(subscription.consumer, None)
        self.deliveries.send(lambda: self.client.lost(self, f"{subscription.queue} was deleted"))

    def tell(self, signal: Blocked | Unblocked) -> None:
        """Tell the client about an alarm."""
        self.confirms.send(lambda: self.client.hear(self, signal))

    # --- both ---------------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Each side notices the other's silence, unless that is over by then."""
        random, after = self.network.kernel.random, self.network.kernel.after
        after(random.uniform(*SILENCE_SECONDS), self._client_misses_server)
        after(random.uniform(*SILENCE_SECONDS), self._server_misses_client)

    def pump(self) -> None:
        """Let go on what was held up."""
        for pipe in (self.publishes, self.consumes, self.confirms, self.deliveries):
            pipe.pump()

    def _client_misses_server(self) -> None:
        if self.client_lives and (self.network.is_cut(self.name) or not self.server_lives):
            self.client.process.when_running(lambda: self.client.lost(self, "nothing is heard of the broker"))

    def _server_misses_client(self) -> None:
        if self.server_lives and (self.network.is_cut(self.name) or self.client.process.is_stopped):
            self.server_ends()

    def _forget(self) -> None:
        if self in self.network.lines:
            self.network.lines.remove(self)

    def _reaches_server(self) -> bool:
        return self.server_lives and not self.network.is_cut(self.name)

    def _reaches_client(self) -> bool:
        process = self.client.process
        return self.client_lives and not process.is_stopped and not self.network.is_cut(self.name)


class Client:
    """A service's `Broker`; see the port for what each call promises."""

    capabilities: Final = Capabilities(is_durable=True, confirms_events="stored", has_ttl=True)

    def __init__(self, network: Network, process: Process, user: str, sink: Sink) -> None:
        self.network = network
        self.process = process
        self.user = user
        self._sink = sink
        self._line: Line | None = None
        self._is_connected = False
        self._is_closing = False
        self._generations = count(1)
        self._consumers = count(1)
        self._wanted: dict[ConsumerId, tuple[Queue, int]] = {}
        self._declared: dict[str, Queue] = {}
        self._unconfirmed: list[str] = []
        self._cancelling: list[ConsumerId] = []
        self._unsettled: dict[int, Delivery] = {}
        process.continued.append(self._continue)

    # --- the port -----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin to connect."""
        self._try_later(0)

    def publish(self, message: Outgoing) -> None:
        """Publish a message."""
        self.process.reach(f"publish {message.kind}")
        self.network.published(self.user, message)
        line = self._line
        if line is None or not self._is_connected:
            self._sink(Unconfirmed(message.message_id, "lost"))
            return
        self._unconfirmed.append(message.message_id)
        line.publishes.send(lambda: self._arrives(line, message))

    def declare(self, *queues: Queue) -> None:
        """Make sure that these queues exist."""
        for queue in queues:
            self._declared[queue.name] = queue
            if self._line is not None:
                self._line.publishes.send(lambda queue=queue: self.network.rabbit.declare(queue, None))

    def consume(self, queue: Queue, *, prefetch: int) -> ConsumerId:
        """Take a queue's messages."""
        consumer = ConsumerId(next(self._consumers))
        self._wanted[consumer] = (queue, prefetch)
        line = self._line
        if line is not None and line.is_accepted:
            line.consumes.send(lambda: self._subscribe(line, consumer, queue, prefetch))
        return consumer

    def cancel(self, consumer: ConsumerId) -> None:
        """End a consumer."""
        self._wanted.pop(consumer, None)
        line = self._line
        if line is None or not line.is_accepted:
            self._sink(ConsumerGone(consumer))
            return
        self._cancelling.append(consumer)
        line.consumes.send(lambda: self._unsubscribe(line, consumer))

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """End one delivery."""
        self.process.reach(f"{outcome} {delivery.kind}")
        if self._unsettled.get(delivery.tag) is delivery:
            self._settle([delivery], outcome)

    def ack_through(self, delivery: Delivery) -> None:
        """Ack this delivery and all before it."""
        self.process.reach("ack")
        if self._unsettled.get(delivery.tag) is delivery:
            self._settle([one for tag, one in self._unsettled.items() if tag <= delivery.tag], Outcome.ACK)

    def measure(self, queue: str) -> None:
        """Ask for a queue's depth."""
        line = self._line
        if line is not None and self._is_connected:
            line.consumes.send(lambda: self._measure(line, queue))

    def close(self, *, timeout_seconds: float) -> None:
        """End the connection; what was sent before arrives."""
        del timeout_seconds
        self._is_closing = True
        if self._line is not None:
            self._line.client_ends(orderly=True)
            self._line = None

    # --- connecting, by the hub ---------------------------------------------------------------------------------------

    def die(self) -> None:
        """The process is gone."""
        self._is_closing = True
        if self._line is not None:
            self._line.client_ends()
            self._line = None

    def _continue(self) -> None:
        if self._line is not None:
            self._line.pump()

    def _try_later(self, seconds: float) -> None:
        after = self.network.kernel.after
        after(seconds + self.network.latency(), lambda: self.process.when_running(self._try))

    def _try(self) -> None:
        if self._is_closing or self.process.is_dead:
            return
        network = self.network
        if network.is_cut(self.process.name) or not network.rabbit.is_up:
            self._sink(Disconnected("there is no way to the broker"))
            self._try_later(network.kernel.random.uniform(0, BACKOFF_SECONDS_MAX))
            return
        line = self._line = Line(network, self, next(self._generations))
        network.kernel.after(network.latency(), lambda: self._accept(line))

    def _accept(self, line: Line) -> None:
        """The broker has the connection, declares what is asked for, and lets consumers consume."""
        rabbit = self.network.rabbit
        if not line.client_lives:
            return
        line.server_lives = line.is_accepted = True
        if not rabbit.is_up or not all(rabbit.declare(queue, line) for queue, _ in self._wanted.values()):
            line.server_ends()  # the name is still that of a connection which is dead without the broker's knowing
            return
        for queue in self._declared.values():
            rabbit.declare(queue, None)
        line.deliveries.send(lambda: self._connected(line))
        for consumer, (queue, prefetch) in list(self._wanted.items()):
            self._subscribe(line, consumer, queue, prefetch)
        if self.network.is_blocked:
            line.tell(Blocked("memory"))
        line.pump()

    def _connected(self, line: Line) -> None:
        if self._line is line:
            self._is_connected = True
            self._sink(Connected())

    def lost(self, line: Line, detail: str) -> None:
        """The connection is gone: say what is lost with it, and begin anew."""
        line.client_ends()
        if self._line is not line or self._is_closing:
            return
        self._line, self._is_connected = None, False
        lost, self._unconfirmed = self._unconfirmed, []
        gone, self._cancelling = self._cancelling, []
        self._unsettled.clear()
        for message_id in lost:
            self._sink(Unconfirmed(message_id, "lost"))
        for consumer in gone:
            self._sink(ConsumerGone(consumer))
        self._sink(Disconnected(detail))
        self._try_later(self.network.kernel.random.uniform(0, BACKOFF_SECONDS_MAX))

    def hear(self, line: Line, signal: Blocked | Unblocked) -> None:
        """Something was said on the connection."""
        if self._line is line:
            self._sink(signal)

    def delivered(self, line: Line, delivery: Delivery) -> None:
        """A message has arrived, unless its consumer was cancelled meanwhile: then it goes back by itself."""
        if self._line is not line:
            return
        self._unsettled[delivery.tag] = delivery
        if delivery.consumer in self._wanted:
            self._sink(Delivered(delivery))
        else:
            self._settle([delivery], Outcome.REQUEUE)

    # --- at the broker, by the hub ------------------------------------------------------------------------------------

    def _arrives(self, line: Line, message: Outgoing) -> None:
        """A publish has reached the broker: store it, and say so; or refuse it, whether it is stored or not."""
        network = self.network
        refused = network.kernel.random.random() < network.refuses
        found = (refused and network.kernel.random.random() < 0.5) or network.rabbit.publish(stored(message, self.user))
        answer = Confirmed(message.message_id)
        if refused or not found:
            answer = Unconfirmed(message.message_id, "refused" if refused else "returned")
        confirm = lambda: line.confirms.send(lambda: self._answered(line, answer))  # noqa: E731
        network.kernel.after(network.kernel.random.uniform(0, CONFIRM_SECONDS_MAX), confirm)

    def _answered(self, line: Line, answer: Confirmed | Unconfirmed) -> None:
        if self._line is line and answer.message_id in self._unconfirmed:
            self._unconfirmed.remove(answer.message_id)
            self._sink(answer)

    def _subscribe(self, line: Line, consumer: ConsumerId, queue: Queue, prefetch: int) -> None:
        subscription = Subscription(session=line, consumer=consumer, queue=queue.name, prefetch=prefetch)
        line.subscriptions[consumer] = subscription
        self.network.rabbit.declare(queue, line)
        self.network.rabbit.subscribe(subscription)

    def _unsubscribe(self, line: Line, consumer: ConsumerId) -> None:
        if consumer in line.subscriptions:
            self.network.rabbit.unsubscribe(line.subscriptions[consumer])
        line.deliveries.send(lambda: self._gone(line, consumer))

    def _gone(self, line: Line, consumer: ConsumerId) -> None:
        if self._line is line and consumer in self._cancelling:
            self._cancelling.remove(consumer)
            self._sink(ConsumerGone(consumer))

    def _settle(self, deliveries: list[Delivery], outcome: Outcome) -> None:
        line = self._line
        for one in deliveries:
            del self._unsettled[one.tag]
            if line is not None:
                line.consumes.send(lambda one=one: self._settled(line, one, outcome))

    def _settled(self, line: Line, delivery: Delivery, outcome: Outcome) -> None:
        subscription = line.subscriptions.get(delivery.consumer)
        if subscription is None:
            return
        rabbit = self.network.rabbit
        how = {Outcome.ACK: rabbit.ack, Outcome.REJECT: rabbit.reject, Outcome.REQUEUE: rabbit.requeue}[outcome]
        how(subscription, delivery.tag)

    def _measure(self, line: Line, queue: str) -> None:
        held = self.network.rabbit.queues.get(queue)
        found = QueueDepth(queue, None, 0)
        if held is not None:
            found = QueueDepth(queue, len(held.ready), len(held.subscriptions))
        line.deliveries.send(lambda: self._sink(found) if self._line is line else None)
