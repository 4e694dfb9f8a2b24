"""What becomes of task messages: which consumers there are, who is asked for, what is acked when."""

from headway.broker.port import Outcome
from headway.protocol.messages import Drop, Grant, Refused, Started
from headway.worker.core.values import CancelConsumer, Consume, ConsumerEnded, Settle, StartChild
from shopfloor import Floor, task

TWO = {"queues": ("io", "cpu")}


def test_a_free_slot_is_a_consumer_on_each_queue():
    """Two slots and two queues make four consumers, once the worker is online."""
    floor = Floor(slots=2, **TWO)
    assert floor.taps == {}
    floor.connect()
    assert sorted(floor.taps.values()) == ["cpu", "cpu", "io", "io"]


def test_a_task_is_asked_for_and_not_started():
    """A delivery brings `started`, and nothing runs before the grant."""
    floor = Floor().connect()
    floor.deliver()
    (started,) = floor.said(Started)
    assert (started.token, started.task_id, started.worker, started.boot) == ("t1", "task-t1", "w-1", "boot-1")
    assert floor.all(StartChild) == []
    assert floor.outcomes() == []


def test_what_is_asked_is_asked_again_until_answered():
    """A young boot asks again soon, for `started` may be decided before `online`; later every five seconds."""
    floor = Floor().connect()
    floor.deliver()
    floor.wait(1.1)
    assert len(floor.said(Started)) == 3
    floor.live(20)
    before = len(floor.said(Started))
    floor.live(10)
    assert len(floor.said(Started)) == before + 2
    floor.order(Grant)
    floor.live(30)
    assert len(floor.said(Started)) == before + 2


def test_a_drop_is_acked_and_forgotten():
    """The message of a dropped attempt is acked, and its consumer takes the next."""
    floor = Floor().connect()
    tag = floor.deliver()
    floor.order(Drop)
    assert floor.outcomes() == [(tag, Outcome.ACK)]
    assert floor.idle() == 1
    assert floor.all(CancelConsumer) == []
    floor.live(20)
    assert len(floor.said(Started)) == 1


def test_a_short_task_keeps_its_consumer():
    """Its message is acked when it has ended, and no consumer changes."""
    floor = Floor().connect()
    tag = floor.run()
    floor.wait(0.9)
    assert floor.outcomes() == []
    floor.end()
    assert floor.outcomes() == [(tag, Outcome.ACK)]
    assert (len(floor.all(Consume)), floor.all(CancelConsumer)) == (1, [])


def test_a_long_task_gives_its_consumer_up_before_its_message():
    """After a second the consumer is cancelled, and only when it is gone is the message acked."""
    floor = Floor().connect()
    tag = floor.run()
    floor.wait(1.0)
    assert floor.closing == list(floor.taps)
    assert floor.outcomes() == []
    floor.gone()
    assert floor.outcomes() == [(tag, Outcome.ACK)]
    assert floor.taps == {}
    floor.end()
    assert floor.idle() == 1


def test_a_task_that_ends_while_its_consumer_goes_is_acked_after_that():
    """The ack waits for the broker's note of the cancel, and a new consumer takes over at once."""
    floor = Floor().connect()
    tag = floor.run()
    floor.wait(1.0)
    floor.end()
    assert floor.outcomes() == []
    assert floor.idle() == 1
    floor.gone()
    assert floor.outcomes() == [(tag, Outcome.ACK)]


def test_a_grant_that_is_long_in_coming_holds_the_message():
    """While the scheduler is away the message stays unacked: should we die, another worker gets it."""
    floor = Floor().connect()
    tag = floor.deliver()
    floor.live(60)
    assert (floor.outcomes(), floor.all(CancelConsumer)) == ([], [])
    floor.order(Grant)
    floor.wait(1.0)
    floor.gone()
    assert floor.outcomes() == [(tag, Outcome.ACK)]


def test_a_second_queue_serves_the_other_slot():
    """What comes while one slot is busy goes to the other one."""
    floor = Floor(slots=2, **TWO).connect()
    floor.deliver("t1", queue="io")
    floor.deliver("t2", queue="cpu")
    assert [event.token for event in floor.said(Started)] == ["t1", "t2"]


def test_a_message_too_many_waits_for_a_slot():
    """It is asked for as soon as the task before it has ended."""
    floor = Floor(**TWO).connect()
    floor.deliver("t1", queue="io")
    floor.deliver("t2", queue="cpu")
    assert [event.token for event in floor.said(Started)] == ["t1"]
    floor.order(Grant)
    floor.wait(0.5)
    floor.end()
    assert [event.token for event in floor.said(Started)] == ["t1", "t2"]


def test_a_message_too_many_is_handed_back():
    """After a second it is requeued, and only when its consumer is gone; none is opened before a slot is free."""
    floor = Floor(**TWO).connect()
    floor.deliver("t1", queue="io")
    parked = floor.deliver("t2", queue="cpu")
    floor.order(Grant)
    floor.wait(1.0)
    assert floor.outcomes() == []
    floor.gone()
    assert (parked, Outcome.REQUEUE) in floor.outcomes()
    assert floor.taps == {}
    floor.live(30)
    assert floor.taps == {}
    floor.end()
    assert (floor.idle("io"), floor.idle("cpu")) == (1, 1)


def test_a_long_task_closes_the_other_queues_too():
    """When its second is over no queue has more consumers than there are free slots."""
    floor = Floor(slots=2, **TWO).connect()
    floor.run("t1", queue="io")
    assert (floor.idle("io"), floor.idle("cpu")) == (1, 2)
    floor.wait(1.0)
    floor.gone()
    assert (floor.idle("io"), floor.idle("cpu")) == (1, 1)


def test_short_tasks_leave_nothing_behind():
    """After any number of them a long one closes as many consumers as before."""
    floor = Floor(**TWO).connect()
    for number in range(5):
        floor.run(f"t{number}", queue="io")
        floor.end(f"t{number}")
    floor.run("t9", queue="io")
    floor.wait(1.0)
    floor.gone()
    assert floor.taps == {}


def test_what_was_to_be_handed_back_is_void_too():
    """The connection goes while one consumer is gone and another is not: nothing is requeued later."""
    floor = Floor(**TWO).connect()
    floor.run("t1", queue="io")
    floor.deliver("t2", queue="cpu")
    floor.wait(1.0)
    cpu = next(tap for tap in floor.closing if floor.taps[tap] == "cpu")
    floor.closing.remove(cpu)
    del floor.taps[cpu]
    floor.do(ConsumerEnded(tap=cpu))
    assert floor.outcomes() == []
    floor.disconnect()
    floor.gone()
    assert floor.outcomes() == []


def test_a_message_that_slips_through_a_closing_consumer_is_served():
    """Its consumer goes, it stays: it is asked for, and settled by its answer."""
    floor = Floor(**TWO).connect()
    floor.run("t1", queue="io")
    floor.wait(1.0)
    floor.end("t1")
    floor.taps = {tap: queue for tap, queue in floor.taps.items() if tap in floor.closing}
    slipped = floor.deliver("t2", queue="cpu")
    assert [event.token for event in floor.said(Started)] == ["t1", "t2"]
    floor.gone()
    assert slipped in floor.held
    floor.order(Drop, "t2")
    assert (slipped, Outcome.ACK) in floor.outcomes()


def test_a_message_that_slips_through_without_a_free_slot_is_handed_back():
    """Its consumer is gone already when its second is over."""
    floor = Floor(**TWO).connect()
    floor.run("t1", queue="io")
    floor.wait(1.0)
    slipped = floor.deliver("t2", queue="cpu")
    floor.gone()
    assert slipped in floor.held
    floor.wait(1.0)
    assert (slipped, Outcome.REQUEUE) in floor.outcomes()


def test_a_redelivered_message_is_adopted():
    """After a reconnect the message comes again: it takes the place of the void delivery, and is not asked for anew."""
    floor = Floor(slots=2).connect()
    floor.deliver()
    floor.disconnect()
    floor.connect()
    asked = len(floor.said(Started))
    tag = floor.deliver()
    assert len(floor.said(Started)) == asked
    floor.order(Drop)
    assert floor.outcomes() == [(tag, Outcome.ACK)]


def test_a_double_of_a_message_is_acked():
    """The same attempt twice: one message is enough."""
    floor = Floor(slots=2).connect()
    floor.deliver()
    double = floor.deliver()
    assert floor.outcomes() == [(double, Outcome.ACK)]


def test_the_message_of_a_running_or_ended_attempt_is_acked():
    """Whatever was started here needs no message any more."""
    floor = Floor(slots=2).connect()
    floor.run()
    again = floor.deliver()
    floor.end()
    late = floor.deliver()
    assert [tag for tag, outcome in floor.outcomes() if outcome is Outcome.ACK][-1] == late
    assert (again, Outcome.ACK) in floor.outcomes()
    assert len(floor.all(StartChild)) == 1


def test_a_parked_message_is_acked_as_a_double():
    """A double of a message that waits for a slot is a double too."""
    floor = Floor(queues=("io", "cpu", "net")).connect()
    floor.deliver("t1", queue="io")
    floor.deliver("t2", queue="cpu")
    double = floor.deliver("t2", queue="net")
    assert floor.outcomes() == [(double, Outcome.ACK)]


def test_deliveries_are_void_after_a_disconnect():
    """Nothing of the old connection is settled; what is parked is forgotten, what is asked for is kept."""
    floor = Floor(**TWO).connect()
    floor.deliver("t1", queue="io")
    floor.deliver("t2", queue="cpu")
    floor.disconnect()
    floor.live(3)
    assert floor.outcomes() == []
    floor.connect()
    assert {event.token for event in floor.said(Started, latest=False)} == {"t1"}
    floor.order(Grant)
    assert floor.children.keys() == {"t1"}
    assert floor.outcomes() == []


def test_busy_slots_have_no_consumer_after_a_reconnect():
    """A consumer that the adapter established again for a busy slot is cancelled, or it would bring a task too many."""
    floor = Floor(slots=2).connect()
    floor.run()
    floor.disconnect()
    floor.connect()
    floor.gone()
    assert floor.idle() == 1
    floor.wait(2.0)
    floor.end()
    assert floor.idle() == 2


def test_what_the_machine_lacks_is_refused():
    """Code or a secret, say: with the reason, before it is asked for; the message is acked when the broker has that."""
    floor = Floor().connect()
    tag = floor.deliver(refusal="module m is not on this worker")
    (refused,) = floor.said(Refused)
    assert refused.detail == "module m is not on this worker"
    assert (floor.said(Started), floor.outcomes()) == ([], [])
    floor.confirm()
    assert floor.outcomes() == [(tag, Outcome.ACK)]
    assert floor.idle() == 1


def test_a_refusal_outlives_its_connection():
    """It is published again; a redelivered message waits for its confirm; long or not makes no difference."""
    floor = Floor().connect()
    floor.deliver(refusal="no")
    floor.wait(2.0)
    floor.disconnect()
    floor.connect()
    assert len(floor.said(Refused)) == 2
    assert floor.latest(Settle) == []


def test_a_redelivered_message_joins_its_refusal():
    """The message comes back before the refusal is confirmed: acked with it."""
    floor = Floor(slots=2).connect()
    message = task()
    floor.deliver(message, refusal="no")
    floor.disconnect()
    tag = floor.deliver(message, refusal="no")
    floor.connect()
    assert floor.outcomes() == [(tag, Outcome.ACK)]
