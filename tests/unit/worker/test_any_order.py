"""Whatever happens in whatever order: what must hold, holds, and with quiet all slots are free again.

`Floor` checks after each input that nothing is settled or started twice. Here a program of steps is drawn, played, and
then the world is left in peace: everything is answered, granted and ended, and the worker has all its consumers.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from headway.protocol.messages import Drop, Grant, Stop
from headway.worker.core.values import Settle
from shopfloor import Floor

QUEUES = ("io", "cpu")
TOKENS = [f"t{number}" for number in range(6)]
STEPS = (
    [("deliver", token, queue) for token in TOKENS for queue in QUEUES]
    + [(kind, token, "") for kind in ("grant", "drop", "stop") for token in TOKENS]
    + [("end", token, "") for token in TOKENS]
    + [(step, "", "") for step in ("gone", "confirm", "disconnect", "connect", "moment", "second", "minute")]
)


class Chaos(Floor):
    """Steps that fit any moment: what cannot happen now, does not."""

    is_up = False

    def play(self, step: str, token: str, queue: str) -> None:
        """Let one thing happen, if it can."""
        match step:
            case "deliver":
                busy = {tap for tap, _ in self.held.values()}
                if self.is_up and any(name == queue and tap not in busy for tap, name in self.taps.items()):
                    self.deliver(token, queue=queue)
            case "grant" | "drop" | "stop":
                self.order({"grant": Grant, "drop": Drop, "stop": Stop}[step], token)
            case "end":
                if token in self.children:
                    self.end(token)
            case "disconnect":
                self.is_up = False
                self.disconnect()
            case "connect":
                self.is_up = True
                self.connect_only()
            case "moment" | "second" | "minute":
                self.wait({"moment": 0.3, "second": 1.1, "minute": 60.0}[step])
            case _:
                getattr(self, step)()

    def settle_down(self) -> None:
        """Answer and end everything, for as long as anything is left."""
        self.play("connect", "", "")
        for _ in range(5):
            self.confirm()
            self.gone()
            for token in TOKENS:
                self.order(Drop, token)
                self.play("end", token, "")
        self.gone()


@given(st.lists(st.sampled_from(STEPS), max_size=60), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_after_all_is_said_and_done_every_slot_is_free(steps, slots):
    """No consumer is lost and none is left over, no message is kept, and nothing was started twice."""
    floor = Chaos(slots=slots, queues=QUEUES)
    floor.play("connect", "", "")
    floor.confirm()
    for step in steps:
        floor.play(*step)
    floor.settle_down()
    assert floor.held == {}
    assert floor.children == {}
    assert [floor.idle(queue) for queue in QUEUES] == [slots, slots]


@given(st.lists(st.sampled_from(STEPS), max_size=40))
@settings(max_examples=60, deadline=None)
def test_a_drain_ends_whatever_came_before(steps):
    """Every message that is held is settled, every result confirmed, and the worker ends in order."""
    floor = Chaos(slots=2, queues=QUEUES)
    floor.play("connect", "", "")
    floor.confirm()
    for step in steps:
        floor.play(*step)
    floor.stop()
    floor.settle_down()
    floor.confirm()
    assert floor.is_over
    assert floor.held == {}
    assert floor.taps == {}
    assert len(floor.all(Settle)) == len({effect.delivery.tag for effect in floor.all(Settle)})
