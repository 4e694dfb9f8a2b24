"""Everybody around the scheduler, played at random: a broker that delivers late and twice, workers that die, a clock.

Honest players keep what the design says of them: a worker reports before its next boot begins, and what is said about
its attempts meanwhile stands in line behind that; then each attempt comes to what the script says. Dishonest ones keep
nothing: any event may come at any time, and somebody forges, cancels and declares dead.
"""

from random import Random
from typing import Any

import msgspec

from headway.protocol.exit_codes import POLL_CODE, SKIP_CODE
from headway.protocol.kinds import Event
from headway.protocol.messages import (
    AttemptMessage,
    DeliveryLimit,
    Drop,
    Expired,
    Finished,
    Grant,
    NotHeld,
    Refused,
    Started,
    Task,
    Unroutable,
    WorkerLost,
)
from headway.protocol.names import BootId, Token, WorkerName
from headway.protocol.states import FINAL_RUN_STATES, EndReason
from headway.scheduler.core.returns import POISON_RETURNS
from headway.scheduler.core.rows import BootKey
from headway.scheduler.core.snapshot import Envelope, PublishTask

from .audit import graph_of
from .reference import Outcome, Script
from .rules import draw_choice
from .world import World, name_of

WORKERS = 3
STEPS_TO_THE_END_MAX = 5_000  # limits let some games of a hundred instances go on one by one
RAW = msgspec.Raw(b"[1,2]")  # a list, so that tasks may be mapped over it
POLLS = 2
"""How often an attempt that polls says "not yet"."""

FINAL_CODE = 4
"""The exit code that each DAG of these games says is final."""


class Players:
    """Everybody but the scheduler, to whom `script` says what each attempt comes to."""

    def __init__(self, world: World, random: Random, script: Script) -> None:
        self.world = world
        self.random = random
        self.script = script
        self.queue: list[PublishTask] = []  # messages that the broker has
        self.flying: list[Envelope] = []  # events on their way to the scheduler
        self.told: list[Envelope] = []  # events that were decided before
        self.boots = [BootKey(WorkerName(f"w{number}"), BootId("001")) for number in range(WORKERS)]
        self.holds: dict[BootKey, tuple[PublishTask, str]] = {}  # asked or running, one for each boot
        self.heard = 0
        self.restart()
        for boot in self.boots:
            self.fly(world.online(boot, queues=("q", "r")))

    # --- one step -----------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Let one of them do something."""
        acts = [self.deliver, self.deliver, self.deliver_owed, self.take, self.take, self.work, self.work, self.ring]
        self.random.choice([*acts, self.beat, self.repeat, self.lose_message, self.restart])()
        self.listen()

    def end(self) -> None:
        """Let everybody answer until all runs have ended."""
        for _ in range(STEPS_TO_THE_END_MAX):
            if all(run.state in FINAL_RUN_STATES for run in self.world.db.runs.values()) and not self.world.owed:
                return
            for act in (self.deliver_owed, self.deliver, self.take, self.work):
                act()
                self.listen()
            if not self.flying and not self.queue and not self.world.owed:
                self.ring()
                for boot in self.boots:
                    self.beat_of(boot)
        raise AssertionError(f"no end is in sight: {self.world.states()}")

    def fly(self, event: Event, message_id: str | None = None) -> None:
        """Send an event on its way."""
        self.flying.append(self.world.envelope(event, message_id=message_id))

    def tell(self, *envelopes: Envelope) -> None:
        """Let the scheduler decide a batch."""
        self.told += envelopes
        self.world.tell_all(*envelopes)

    def listen(self) -> None:
        """Hear what the scheduler has said since."""
        self.queue += self.world.published
        self.world.published.clear()
        for sent in self.world.orders[self.heard :]:
            self.obey(sent.order)
        self.heard = len(self.world.orders)

    # --- broker -------------------------------------------------------------------------------------------------------

    def deliver(self) -> None:
        """Hand over a few events on their way, in any order and perhaps not for the last time."""
        count = min(len(self.flying), self.random.choice([1, 1, 1, 2, 5]))
        batch = self.random.sample(self.flying, count)
        for envelope in batch:
            if self.random.random() < 0.8:
                self.flying.remove(envelope)
        if batch:
            self.tell(*batch)

    def deliver_owed(self) -> None:
        """Hand over what the scheduler owes itself: late, and perhaps not for the last time."""
        ready = [event for event in self.world.owed if not self.stands_in_line(event)]
        if ready:
            event = self.random.choice(ready)
            if self.random.random() < 0.8:
                self.world.owed.remove(event)
            self.tell(self.world.envelope(event))

    def stands_in_line(self, event: Event) -> bool:
        """A loss is decided behind the results that were there before it."""
        results = (one.event for one in self.flying if isinstance(one.event, Finished))
        return isinstance(event, WorkerLost | NotHeld) and any(one.token == event.token for one in results)

    def lose_message(self) -> None:
        """Hand a task message back, and perhaps keep a copy of it."""
        if self.queue:
            one = self.random.choice(self.queue)
            if self.random.random() < 0.8:
                self.queue.remove(one)
            kinds = [Expired, DeliveryLimit, Unroutable]
            attempt = self.world.attempt(name_of(one.message), one.message.run_id, one.message.try_number)
            if attempt.returns == POISON_RETURNS - 1:
                kinds.remove(DeliveryLimit)  # which spends a budget
            kind = self.random.choice(kinds)
            self.fly(kind(**address(one.message), queue=one.message.queue), one.message_id)

    def repeat(self) -> None:
        """Hand over once more what was decided long ago, and then once more: the second time changes nothing."""
        if self.told:
            envelope = self.random.choice(self.told)
            self.tell(envelope)
            stored = self.world.db.copy()
            self.tell(envelope)
            assert self.world.db.copy() == stored, "a double changed something"

    def restart(self) -> None:
        """Let the scheduler crash between two batches."""
        self.world.restart()
        self.world.rounds_max = self.random.choice([0, 1, 100])

    def ring(self) -> None:
        """Wait for a timer, and let its event be on its way."""
        timers = sorted(self.world.db.timers.values(), key=lambda timer: timer.due)
        if timers:
            timer = self.random.choice(timers[:3])
            self.world.now = max(self.world.now, timer.due)
            self.fly(self.world.due(timer))

    # --- workers ------------------------------------------------------------------------------------------------------

    def take(self) -> None:
        """A worker takes a message and asks, or asks again."""
        boot = self.random.choice(self.boots)
        if boot in self.holds:
            one, state = self.holds[boot]
            if state == "asked":
                self.ask(boot, one)
        elif self.queue:
            one = self.queue.pop(self.random.randrange(len(self.queue)))
            if self.outcome(one.message) == "refused":
                self.fly(Refused(**address(one.message), **self.said_by(boot), detail=""))
            else:
                self.holds[boot] = (one, "asked")
                self.ask(boot, one)

    def ask(self, boot: BootKey, one: PublishTask) -> None:
        """Ask for a grant."""
        self.fly(Started(**address(one.message), **self.said_by(boot)))

    def obey(self, order: Any) -> None:
        """Start, forget or stop."""
        for boot, (one, state) in list(self.holds.items()):
            if boot.boot != order.boot or one.message.token != order.token:
                continue
            if isinstance(order, Grant):
                self.holds[boot] = (one, "running")
            elif isinstance(order, Drop):
                if state == "asked":
                    del self.holds[boot]
            elif state == "running":
                self.report(boot, one, exit_code=None, signal="SIGTERM", reason=order.reason)

    def work(self) -> None:
        """A running attempt comes to its end."""
        running = [(boot, one) for boot, (one, state) in self.holds.items() if state == "running"]
        if not running:
            return
        boot, one = self.random.choice(running)
        if self.polls(one.message):
            self.report(boot, one, exit_code=POLL_CODE)
            return
        match self.outcome(one.message):
            case "lost":
                self.die(boot)
            case "failure":
                self.report(boot, one, exit_code=1)
            case "skip":
                self.report(boot, one, exit_code=SKIP_CODE)
            case "final":
                self.report(boot, one, exit_code=FINAL_CODE)
            case "lease":
                self.report(boot, one, exit_code=None, signal="SIGKILL", reason=EndReason.LEASE)
            case outcome:
                self.report(boot, one, exit_code=0, output=self.output(one.message) if outcome == "output" else None)

    def report(self, boot: BootKey, one: PublishTask, **fields: Any) -> None:
        """Say how it ended."""
        del self.holds[boot]
        self.fly(Finished(**address(one.message), **self.said_by(boot), **fields))

    def die(self, boot: BootKey) -> None:
        """Begin anew: what was asked for goes back to the queue, what ran is gone."""
        if boot in self.holds:
            one, state = self.holds.pop(boot)
            if state == "asked":
                self.queue.append(one)
        if boot not in self.world.db.workers:
            self.tell(self.world.envelope(self.world.online(boot, queues=("q", "r"))))  # it stood in line before this
        after = BootKey(boot.worker, BootId(f"{int(boot.boot) + 1:03}"))  # they sort in the order of their beginnings
        self.boots[self.boots.index(boot)] = after
        self.fly(self.world.online(after, queues=("q", "r")))

    def beat(self) -> None:
        """A worker says what it holds."""
        self.beat_of(self.random.choice(self.boots))

    def beat_of(self, boot: BootKey) -> None:
        """What it asked for, what it runs, and what it has not got rid of yet."""
        held = [self.holds[boot][0].message] if boot in self.holds else []
        held += [one.event for one in self.flying if isinstance(one.event, Finished) and one.event.boot == boot.boot]
        names = ("dag_id", "run_id", "task_id", "map_index")
        listed = [{**{name: getattr(one, name) for name in names}, "try": one.try_number} for one in held]
        fields = {"held": [one | {"state": "running"} for one in listed], "queues": ("q", "r")}
        beat = self.world.heartbeat(boot)
        self.fly(msgspec.convert(msgspec.to_builtins(beat) | fields, type(beat)))

    def outcome(self, message: Task) -> Outcome:
        """Return what the script says of an attempt; it counts none that gave its turn to others."""
        mine, number = (message.run_id, message.task_id, message.map_index), message.try_number
        before = [row for key, row in self.world.db.attempts.items() if key[:3] == mine and row.try_number < number]
        gone = sum(row.reason is EndReason.NO_CAPACITY for row in before)
        return self.script(message.run_id, name_of(message), number - gone)

    def polls(self, message: Task) -> bool:
        """Say whether an attempt says "not yet" for now."""
        spec = graph_of(self.world, message.run_id).task(message.task_id)
        return spec.poll_every is not None and message.poll <= POLLS

    def output(self, message: Task) -> msgspec.Raw:
        """Return what an attempt writes: a branch its choice."""
        dag = graph_of(self.world, message.run_id).dag
        if not any(task.branch for task in dag.tasks if task.task_id == message.task_id):
            return RAW
        return msgspec.Raw(msgspec.json.encode(draw_choice(dag, message.task_id, message.try_number)))

    def said_by(self, boot: BootKey) -> dict[str, Any]:
        """Return who says it."""
        self.world.seq += 1
        return {**boot._asdict(), "seq": self.world.seq}


class Liars(Players):
    """Nobody keeps anything."""

    def step(self) -> None:
        """Also forge, cancel and declare dead."""
        if self.random.random() < 0.2:
            self.random.choice([self.forge, self.cancel, self.declare, self.silence, self.leave, self.kill])()
            self.listen()
        else:
            super().step()

    def stands_in_line(self, event: Event) -> bool:  # noqa: ARG002
        """Nothing waits for anything."""
        return False

    def forge(self) -> None:
        """Say something with a token, a boot or a number that is not one's own."""
        about = [one for one in (*self.flying, *self.told) if isinstance(one.event, AttemptMessage)]
        if about:
            envelope = self.random.choice(about)
            lie = self.random.choice(
                [
                    {"token": Token("guessed")},
                    {"token": self.random.choice(about).event.token},
                    {"try_number": envelope.event.try_number + 1},
                    {"boot": BootId("001"), "worker": WorkerName("w0")},
                ]
            )
            fields = {name: value for name, value in lie.items() if hasattr(envelope.event, name)}
            self.tell(msgspec.structs.replace(envelope, event=msgspec.structs.replace(envelope.event, **fields)))

    def cancel(self) -> None:
        """Somebody has had enough of a run, or of a task."""
        task = self.random.choice([*self.world.db.tasks, None])
        if task is None:
            return
        name = self.random.choice([name_of(self.world.db.tasks[task]), task.task_id, None])
        if name is not None or self.random.random() < 0.3:
            self.fly(self.world.cancel(name, run_id=task.run_id))

    def declare(self) -> None:
        """Somebody says that an attempt is lost, refused or over."""
        attempt = self.random.choice([*self.world.db.attempts.values(), None])
        if attempt is not None:
            say = self.random.choice(
                ["worker_lost", "not_held", "refused", "finished", "rejected", "expired", "missing"]
            )
            event = getattr(self.world, say)(name_of(attempt), run_id=attempt.run_id, try_number=attempt.try_number)
            self.fly(event)

    def silence(self) -> None:
        """A boot is not heard for longer than its lease."""
        worker = self.random.choice([*self.world.db.workers.values(), None])
        if worker is not None:
            self.world.now = max(self.world.now, worker.lease_due)
            self.fly(self.world.lease_due(worker.key))

    def leave(self) -> None:
        """A boot goes in good order, whatever it holds, and another begins."""
        boot = self.random.choice(self.boots)
        self.fly(self.world.offline(boot))
        self.die(boot)

    def kill(self) -> None:
        """A boot dies."""
        self.die(self.random.choice(self.boots))


def address(message: Task) -> dict[str, Any]:
    """Return which attempt a message is about."""
    names = ("dag_id", "run_id", "task_id", "map_index", "try_number", "token")
    return {name: getattr(message, name) for name in names}
