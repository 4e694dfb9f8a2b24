"""A queue in memory: turns, limits and places."""

from functools import partial
from typing import Any

from headway.broker.portable.mailbox import Letter, Mailbox, Receipt, Taker
from headway.protocol.topology import Queue


def mailbox(**arguments: Any) -> Mailbox:
    """Return a queue with these arguments."""
    return Mailbox(
        Queue(name="q", arguments={f"x-{name.replace('_', '-')}": value for name, value in arguments.items()})
    )


def letter(number: int, *, receipt: Receipt | None = None) -> Letter:
    """Return a letter of three bytes that can be told from others."""
    return Letter({"body": b"abc"}, "", str(number), {}, receipt)


def taker(got: list[str], *, prefetch: int, name: str = "") -> Taker:
    """Return a consumer that notes what it gets."""
    return Taker(lambda _, item: got.append(name + item.routing_key), prefetch)


def keys(box: Mailbox) -> list[str]:
    """Return what is ready, in its order."""
    return [item.routing_key for item in box.ready]


def test_consumers_take_turns_up_to_their_prefetch():
    """Each gets one, then the next, and who has enough is passed over."""
    box, got = mailbox(), list[str]()
    box.add(taker(got, prefetch=1, name="a"))
    box.add(taker(got, prefetch=3, name="b"))
    for number in range(5):
        box.put(letter(number))
    assert got == ["a0", "b1", "b2", "b3"]
    assert keys(box) == ["4"]


def test_only_the_first_consumer_of_a_single_active_queue_takes():
    """The next one begins when the first is removed."""
    box, got = mailbox(single_active_consumer=True), list[str]()
    first, second = taker(got, prefetch=1, name="a"), taker(got, prefetch=5, name="b")
    box.add(first)
    box.add(second)
    for number in range(3):
        box.put(letter(number))
    assert got == ["a0"]
    box.remove(first)
    box.hand_out()
    assert got == ["a0", "b1", "b2"]


def test_what_comes_back_goes_to_its_old_place():
    """In whatever order it is given back; and it counts its returns."""
    box = mailbox()
    out: list[Letter] = []
    box.add(Taker(lambda _, item: out.append(item), 3))
    for number in range(5):
        box.put(letter(number))
    for index in (1, 0, 2):
        assert box.put_back(out[index])
    assert keys(box) == ["0", "1", "2", "3", "4"]
    assert [item.returns for item in box.ready] == [1, 1, 1, 0, 0]


def test_a_delivery_limit_ends_the_returns():
    """A limit of 1 allows one return; without one, or with -1, there are any number."""
    for limited, allowed in ((mailbox(delivery_limit=1), 1), (mailbox(), 9), (mailbox(delivery_limit=-1), 9)):
        item = letter(0)
        assert [limited.put_back(item) for _ in range(9)].count(True) == allowed


def test_a_full_queue_refuses_or_drops_its_oldest():
    """By number and by bytes; what is dropped is done with."""
    for limit in ({"max_length": 2}, {"max_length_bytes": 8}):
        refusing = mailbox(overflow="reject-publish", **limit)
        dropping = mailbox(**limit)
        told: list[int] = []
        for number in range(4):
            if not refusing.refuses:
                refusing.put(letter(number))
            dropping.put(letter(number, receipt=Receipt(partial(told.append, number), 1)))
        assert (keys(refusing)[0], keys(dropping), told) == ("0", ["2", "3"], [0, 1])
        assert len(refusing.ready) in {2, 3}  # by bytes a queue may hold one letter more, as RabbitMQ's do
