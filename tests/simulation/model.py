"""All that can become of one task instance with two workers, two attempts and every message delivered up to twice.

Breadth first over the pure decide. A state is the database, what is on its way, and what the workers know; from each,
every step that anybody could take next is taken. The invariants of tests/world are checked in every state, and that no
attempt is started twice and no two children live. Events may overtake each other without limit, which is more than a
broker does. Two things are assumed: a child is dead, and questions and answers about a grant have arrived, once the
lease is over by the worker's own clock; and the scheduler says so only after that. At most `faults` of the steps are
misfortunes, and each message arrives at most `times` times.

States that differ only in their times are one: any timer may be due at any time.
"""

from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec

from headway.protocol.codec import address_of
from headway.protocol.kinds import ROLE_OF_KIND, Event
from headway.protocol.messages import Drop, Expired, Finished, Grant, Held, Started
from headway.protocol.names import BootId, WorkerName
from headway.protocol.states import FINAL_RUN_STATES, EndReason
from headway.scheduler.core.rows import BootKey
from headway.scheduler.core.snapshot import SendOrder
from world import World, dag
from world.database import TABLES


class Hand(msgspec.Struct, frozen=True):
    """What a worker of one slot knows."""

    name: str
    boot: int = 1
    seq: int = 1
    phase: str = ""
    number: int = 0  # of the attempt in hand
    has_lease: bool = True
    beats: int = 0
    past: frozenset[int] = frozenset()  # attempts that this boot has started

    @property
    def key(self) -> BootKey:
        """Find its row."""
        return BootKey(WorkerName(self.name), BootId(str(self.boot)))


class State(msgspec.Struct, frozen=True):
    """Everything. `wire` counts how often each message may still arrive; `queue` holds task messages."""

    tables: dict[str, dict[Any, Any]]
    now: datetime
    wire: dict[Any, int]
    queue: tuple[tuple[int, int], ...]  # try, publication
    hands: tuple[Hand, ...]
    started: frozenset[int] = frozenset()
    faults: int = 0

    def identity(self) -> int:
        """Return what makes it this state and no other."""
        rows = tuple(
            (name, key, without_times(row)) for name in TABLES for key, row in sorted(self.tables[name].items())
        )
        wire = frozenset((repr(without_times(one)), count) for one, count in self.wire.items())
        return hash((repr(rows), wire, self.queue, self.hands, self.started, self.faults))


def without_times(value: Any) -> Any:
    """Return the fields of a row or message that are no times."""
    if not isinstance(value, msgspec.Struct):
        return value
    named = ((name, getattr(value, name)) for name in value.__struct_fields__)
    return type(value).__name__, tuple((name, field) for name, field in named if not isinstance(field, datetime))


class Model:
    """Explores. `visited` holds the identities of all states, `ends` counts those in which the run is over."""

    def __init__(self, *, faults: int, times: int) -> None:
        self.faults_max = faults
        self.times = times
        self.world = World(dag("a", a={"infra_retries": 1, "retries": 0}), settling=False)
        self.visited: set[int] = set()
        self.ends = 0
        self.steps = 0

    def explore(self) -> None:
        """Visit everything."""
        hands = (Hand("v"), Hand("w"))
        for hand in hands:
            self.world.tell(self.world.online(hand.key))
        assert self.world.tell(self.world.trigger()).applied
        first = self._state(State({}, self.world.now, {}, (), hands))
        waiting = deque([first])
        self.visited.add(first.identity())
        while waiting:
            state = waiting.popleft()
            self.ends += all(run.state in FINAL_RUN_STATES for run in state.tables["runs"].values())
            for after in self._next(state):
                self.steps += 1
                identity = after.identity()
                if identity not in self.visited:
                    self.visited.add(identity)
                    waiting.append(after)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _next(self, state: State) -> Iterator[State]:
        for message in state.wire:
            fewer = {one: count - (one == message) for one, count in state.wire.items()}
            arrived = replace(state, wire={one: count for one, count in fewer.items() if count})
            if isinstance(message, SendOrder):
                yield from self._obey(arrived, message)
            else:
                yield self._tell(arrived, message)
        for timer in state.tables["timers"].values() if state.faults < self.faults_max else ():
            due = replace(state, now=max(state.now, timer.due), faults=state.faults + 1)
            yield self._tell(due, self.world.due(timer))
        for hand in state.hands:
            yield from self._work(state, hand)
            if state.faults < self.faults_max:
                yield from self._suffer(replace(state, faults=state.faults + 1), hand)
        if state.queue and state.faults < self.faults_max:
            rest = replace(state, queue=state.queue[1:], faults=state.faults + 1)
            yield rest  # purged
            yield self._say(rest, self._expired(state, *state.queue[0]))

    def _work(self, state: State, hand: Hand) -> Iterator[State]:
        """What a worker does when all is well."""
        if hand.phase == "" and hand.has_lease and state.queue:
            (number, _), *rest = state.queue
            taken = replace(state, queue=tuple(rest))
            asked = replace(hand, phase="asked", number=number)
            yield taken if number in hand.past else self._ask(taken, asked)
        if hand.phase == "running":
            for code in (0, 1):
                yield self._finish(state, hand, exit_code=code)
        if not hand.has_lease:
            yield self._beat(state, replace(hand, beats=hand.beats + 1, has_lease=True))

    def _suffer(self, state: State, hand: Hand) -> Iterator[State]:
        """A worker dies and begins anew, or is not heard for as long as its lease."""
        if hand.boot == 1:
            returned = ((hand.number, 0),) if hand.phase == "asked" else ()
            after = Hand(hand.name, boot=2)
            died = put(replace(state, queue=state.queue + returned), after)
            yield self._say(died, self.world.online(after.key))
        if hand.has_lease:
            kept = {
                one: n for one, n in state.wire.items() if not (isinstance(one, SendOrder) and one.worker == hand.name)
            }
            silent = put(replace(state, wire=kept), replace(hand, has_lease=False))
            if hand.phase == "running":
                silent = self._finish(silent, replace(hand, has_lease=False), signal="SIGKILL", reason=EndReason.LEASE)
            row = state.tables["workers"].get(hand.key)
            if row is not None:
                timer = self._lease_timer(row)
                yield self._say(replace(silent, now=max(state.now, row.lease_due)), timer)

    def _obey(self, state: State, sent: SendOrder) -> Iterator[State]:
        hand = next(one for one in state.hands if one.name == sent.worker)
        order = sent.order
        if order.boot != hand.key.boot or hand.number != order.try_number or hand.phase != "asked":
            yield state
        elif isinstance(order, Drop):
            yield put(state, replace(hand, phase="", number=0))
        elif isinstance(order, Grant) and hand.has_lease:
            assert order.try_number not in state.started, "an attempt is started twice"
            assert all(one.phase != "running" for one in state.hands), "two children live"
            running = put(state, replace(hand, phase="running", past=hand.past | {hand.number}))
            yield replace(running, started=state.started | {order.try_number})
        else:
            yield state

    def _ask(self, state: State, hand: Hand) -> State:
        spoken = replace(hand, seq=hand.seq + 1)
        attempt = self._attempt(state, hand.number)
        event = Started(**address_of(attempt), **hand.key._asdict(), seq=spoken.seq)
        return self._say(put(state, spoken), event)

    def _finish(self, state: State, hand: Hand, **how: Any) -> State:
        spoken = replace(hand, seq=hand.seq + 1, phase="", number=0)
        attempt = self._attempt(state, hand.number)
        event = Finished(**address_of(attempt), **hand.key._asdict(), seq=spoken.seq, **how)
        return self._say(put(state, spoken), event)

    def _beat(self, state: State, hand: Hand) -> State:
        """A sign of life, and with a slot that asks the question once more."""
        spoken = replace(hand, seq=hand.seq + 1)
        held: tuple[Held, ...] = ()
        if hand.phase:
            fields = {
                name: getattr(self._attempt(state, hand.number), name) for name in ("dag_id", "run_id", "task_id")
            }
            held = (Held(**fields, try_number=hand.number, state=hand.phase),)
        beat = msgspec.structs.replace(self.world.heartbeat(hand.key), seq=spoken.seq, held=held)
        said = self._say(put(state, spoken), beat)
        return self._ask(said, spoken) if hand.phase == "asked" else said

    # --- the scheduler ------------------------------------------------------------------------------------------------

    def _tell(self, state: State, event: Event) -> State:
        """Let the scheduler decide one event upon the state; check all invariants."""
        world = self.world
        self._restore(state)
        world.owed = [one for one in state.wire if not isinstance(one, SendOrder) and is_own(one)]
        already = len(world.owed)
        world.process([world.envelope(event)])
        new = [*world.owed[already:], *world.orders]
        return self._state(replace(state, wire=state.wire | dict.fromkeys(new, self.times)))

    def _state(self, state: State) -> State:
        """Return a state with the world's rows, and with what it has published in the queue."""
        published = tuple((one.message.try_number, one.publication) for one in self.world.published)
        return replace(
            state, tables=self.world.db.copy(), now=self.world.now + timedelta(seconds=1), queue=state.queue + published
        )

    def _restore(self, state: State) -> None:
        world = self.world
        for name, rows in state.tables.items():
            setattr(world.db, name, dict(rows))
        world.now = state.now
        world.restart()
        for heard in (world.records, world.times, world.orders, world.published, world.owed):
            heard.clear()

    def _say(self, state: State, event: Event) -> State:
        return replace(state, wire=state.wire | {event: self.times})

    def _attempt(self, state: State, number: int) -> Any:
        return next(row for row in state.tables["attempts"].values() if row.try_number == number)

    def _expired(self, state: State, number: int, _publication: int) -> Expired:
        attempt = self._attempt(state, number)
        return Expired(**address_of(attempt), queue=attempt.queue)

    def _lease_timer(self, row: Any) -> Event:
        self.world.db.workers[row.key] = row
        return self.world.lease_due(row.key)


def replace(value: Any, **fields: Any) -> Any:
    """Return a value with other fields."""
    return msgspec.structs.replace(value, **fields)


def put(state: State, hand: Hand) -> State:
    """Return a state in which a worker has changed."""
    return replace(state, hands=tuple(hand if one.name == hand.name else one for one in state.hands))


def is_between(message: Any, hand: Hand) -> bool:
    """Say whether it is a question of a worker's for a grant, or the answer."""
    if isinstance(message, SendOrder):
        return message.worker == hand.name
    return isinstance(message, Started) and message.worker == hand.name


def is_own(event: Any) -> bool:
    """Say whether the scheduler says it to itself."""
    return ROLE_OF_KIND[type(event)] == "scheduler"
