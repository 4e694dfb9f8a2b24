"""The scheduler's part towards workers, played by a test over a real broker; and a worker as a process of its own.

`Director` declares the event queues, hands out tasks, hears what workers say and answers by hand. Waiting is always for
an event that is expected, never for a time.
"""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from brokers import Listener
from headway.broker.connecting import connect
from headway.broker.port import Confirmed, Delivered, Outcome, Outgoing, QueueDepth
from headway.protocol.codec import decode_event, encode
from headway.protocol.kinds import kind_of
from headway.protocol.messages import Grant, Message, Started, Task
from headway.protocol.names import task_key
from headway.protocol.topology import EVENT_QUEUES, TASKS, control_queue_name, task_queue, task_queue_name
from shopfloor import task as make_task

E = TypeVar("E")
SECONDS_MAX = 60.0

PROGRAM = """
import logging, os, sys
from pathlib import Path
import msgspec
from headway.broker.connecting import connect
from headway.cli.serving import serve
from headway.worker.service import WorkerService
from headway.worker.settings import WorkerSettings
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
logging.getLogger("pika").setLevel(logging.WARNING)
url, settings = sys.argv[1:]
settings = msgspec.json.decode(settings, type=WorkerSettings, dec_hook=lambda kind, value: kind(value))
try:
    serve(WorkerService(settings, lambda sink: connect(url, name="headway worker", sink=sink)))
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


class Director:
    """A scheduler without a mind."""

    def __init__(self, url: str) -> None:
        self.listener = Listener()
        self.broker = connect(url, name="director", sink=self.listener)
        for queue in EVENT_QUEUES:
            self.broker.consume(queue, prefetch=2000)
        self.broker.open()
        self.listener.connected()
        self._ids = itertools.count(1)

    def close(self) -> None:
        """Go."""
        self.broker.close(timeout_seconds=5)

    def publish(self, message: Message | bytes, *, exchange: str = "", key: str, kind: str = "task") -> str:
        """Publish a message and wait until the broker has it."""
        message_id = f"d{next(self._ids)}"
        body = message if isinstance(message, bytes) else encode(message)
        self.broker.publish(Outgoing(message_id=message_id, exchange=exchange, routing_key=key, kind=kind, body=body))
        self.listener.wait_for(Confirmed, where=lambda signal: signal.message_id == message_id)
        return message_id

    def hand_out(self, token: str = "t1", *, queue: str = "default", **changed: Any) -> Task:
        """Queue a task."""
        message = make_task(token, queue=queue, **changed)
        self.broker.declare(task_queue(queue))
        self.publish(message, exchange=TASKS, key=task_key(queue, message.dag_id))
        return message

    def depth(self, queue: str = "default") -> QueueDepth:
        """Ask how many messages and consumers a task queue has."""
        asked = len(self.listener.all_of(QueueDepth))
        self.broker.measure(task_queue_name(queue))
        return self.listener.wait_for(QueueDepth, count=asked + 1)[-1]

    def wait_for_depth(self, *, ready: int | None = None, consumers: int | None = None) -> None:
        """Wait until a task queue has this many messages or consumers, by asking again: it has no bell."""
        deadline = time.monotonic() + SECONDS_MAX
        while time.monotonic() < deadline:
            depth = self.depth()
            if ready in {None, depth.ready} and consumers in {None, depth.consumers}:
                return
        raise AssertionError(f"the queue is {self.depth()}")

    def expect(self, kind: type[E], token: str | None = None, *, count: int = 1) -> E:
        """Wait for an event, of a token if one is given, for the `count`th of them; return that."""

        def fits(signal: Delivered) -> bool:
            if signal.delivery.kind != kind_of(kind):  # type: ignore[arg-type]
                return False
            return token is None or getattr(decode_event(signal.delivery.body), "token", None) == token

        found = self.listener.wait_for(Delivered, count=count, where=fits)
        for signal in found:
            self.broker.settle(signal.delivery, Outcome.ACK)
        event = decode_event(found[count - 1].delivery.body)
        assert isinstance(event, kind)
        return event

    def order(self, kind: type[Message], started: Started, **fields: Any) -> None:
        """Answer a `started`, or command what came of it."""
        about = ("dag_id", "run_id", "task_id", "map_index", "try_number", "token", "boot")
        message = kind(**{name: getattr(started, name) for name in about} | fields)
        self.publish(message, key=control_queue_name(started.worker), kind=kind_of(kind))

    def grant(self, token: str = "t1") -> Started:
        """Wait until a task is asked for, and grant it."""
        started = self.expect(Started, token)
        self.order(Grant, started)
        return started


class WorkerProcess:
    """A worker as a process, and its log."""

    def __init__(self, url: str, home: Path, **settings: Any) -> None:
        given = {"home": str(home), "queues": ["default"], "slots": 2, "name": "w1", "host": "host"} | settings
        given.setdefault("inherited", {"PATH": os.environ["PATH"]})
        self.log = home / f"worker-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            command = [sys.executable, "-c", PROGRAM, url, encode_settings(given)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end and return the exit code."""
        return self.process.wait(timeout=SECONDS_MAX)

    def kill(self) -> None:
        """Kill it as if by lightning."""
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        """Return its log."""
        return self.log.read_text()


def encode_settings(settings: dict[str, Any]) -> str:
    """Write settings for the command line."""
    return msgspec.json.encode(settings).decode()
