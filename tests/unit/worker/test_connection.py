"""What a boot says when it connects, and what must arrive however often the connection is lost."""

from headway.broker.port import Blocked, Confirmed, Connected, Unblocked, Unconfirmed
from headway.protocol.messages import Finished, Heartbeat, Online, Started
from headway.worker.core.values import Consume, Publish, RemoveSpool, SyncSpool
from shopfloor import Floor, finished


def kinds(effects):
    """Return the kinds of published events, with consumers among them, in order."""
    return [type(effect.event if isinstance(effect, Publish) else effect).__name__ for effect in effects]


def test_spooled_results_come_before_online_and_that_before_consumers():
    """So a scheduler that ends our earlier boot knows already what that one finished."""
    floor = Floor(spooled=(("s1", finished("a")), ("s2", finished("b"))))
    floor.connect_only()
    assert kinds(floor.new) == ["Finished", "Finished", "Online", "Heartbeat"]
    floor.confirm()
    assert kinds(floor.effects)[4:] == ["RemoveSpool", "RemoveSpool", "Consume", "ExtendLease"]
    assert [effect.message_id for effect in floor.all(Publish)[:2]] == ["s1", "s2"]
    (online,) = floor.said(Online)
    assert [(held.task_id, held.state) for held in online.held] == [("task-a", "spooled"), ("task-b", "spooled")]


def test_online_describes_the_boot():
    """All that a scheduler must know of a worker."""
    floor = Floor(slots=3, queues=("io", "cpu")).connect()
    (online,) = floor.said(Online)
    assert (online.worker, online.boot, online.host, online.pid) == ("w-1", "boot-1", "host", 77)
    assert (online.queues, online.slots) == (("io", "cpu"), 3)
    assert (online.lease_seconds, online.heartbeat_seconds, online.headway_version) == (300.0, 5.0, "1.0")


def test_what_a_boot_says_is_numbered_in_order():
    """Each message has a number above all before it, repetitions of `started` too."""
    floor = Floor(slots=2).connect()
    floor.deliver("t1")
    floor.live(12)
    floor.grant("t1")
    floor.end("t1")
    said = [effect.event.seq for effect in floor.all(Publish)]
    assert said == sorted(set(said))


def test_a_heartbeat_comes_every_five_seconds():
    """From the connection on, and none without one."""
    floor = Floor().connect()
    floor.live(20)
    assert len(floor.said(Heartbeat)) == 5
    floor.disconnect()
    floor.live(20)
    assert len(floor.said(Heartbeat)) == 5


def test_a_result_stays_in_the_spool_until_it_is_confirmed():
    """The confirm removes it, whichever boot wrote it."""
    floor = Floor(spooled=(("s1", finished("a")),))
    floor.connect_only()
    assert floor.all(RemoveSpool) == []
    floor.confirm(Finished)
    assert floor.all(RemoveSpool) == [RemoveSpool(message_id="s1")]


def test_a_result_that_waits_is_synced():
    """Once, after a second; one that is confirmed at once never."""
    floor = Floor().connect()
    floor.run("t1")
    floor.end("t1")
    floor.confirm()
    floor.live(3)
    assert floor.all(SyncSpool) == []
    floor.run("t2")
    floor.end("t2")
    message_id = floor.latest(Publish)[0].message_id
    floor.wait(5)
    assert floor.all(SyncSpool) == [SyncSpool(message_id=message_id)]


def test_a_result_is_published_again_after_a_reconnect():
    """With the same id, and once for each connection."""
    floor = Floor().connect()
    floor.run()
    floor.end()
    first = floor.latest(Publish)[0].message_id
    floor.disconnect()
    floor.wait(60)
    assert len(floor.said(Finished)) == 1
    floor.connect()
    assert [effect.message_id for effect in floor.all(Publish) if isinstance(effect.event, Finished)] == [first, first]
    floor.live(60)
    assert len(floor.said(Finished)) == 2


def test_a_result_of_the_time_without_a_connection_is_published_with_the_next():
    """The child ended while nobody could be told."""
    floor = Floor().connect()
    floor.run()
    floor.disconnect()
    floor.end()
    assert floor.said(Finished) == []
    floor.connect()
    assert len(floor.said(Finished)) == 1


def test_what_is_returned_is_published_again_later():
    """A queue was missing or full: in a moment it may be there, or twice as long later; two results wait together."""
    floor = Floor(slots=2).connect()
    for token in ("t1", "t2"):
        floor.run(token)
        floor.end(token)
    for times, seconds in enumerate((0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0), start=1):
        for message_id in list(floor.in_flight):
            del floor.in_flight[message_id]
            floor.do(Unconfirmed(message_id, "returned"))
        floor.wait(seconds - 0.01)
        assert len(floor.said(Finished, latest=False)) == 2 * times
        floor.wait(0.01)
        assert len(floor.said(Finished, latest=False)) == 2 * times + 2
    floor.confirm()
    floor.run("t3")
    floor.end("t3")
    floor.do(Unconfirmed(floor.in_flight.popitem()[0], "returned"))
    floor.wait(0.1)
    assert len(floor.said(Finished)) == 20


def test_whoever_comes_before_the_scheduler_has_a_lease_with_the_scheduler():
    """All that is said at first is returned; then a heartbeat goes with it, and a grant is obeyed."""
    floor = Floor()
    floor.connect_only()
    for message_id in list(floor.in_flight):
        del floor.in_flight[message_id]
        floor.do(Unconfirmed(message_id, "returned"))
    floor.wait(0.1)
    assert [len(floor.said(kind)) for kind in (Online, Heartbeat)] == [2, 1]
    floor.confirm().confirm()
    assert len(floor.said(Heartbeat)) == 2
    floor.deliver()
    floor.grant("t1")
    assert floor.children.keys() == {"t1"}


def test_a_returned_heartbeat_is_not_repeated():
    """The next one says the same."""
    floor = Floor().connect()
    floor.wait(5)
    (message_id,) = floor.in_flight
    floor.in_flight.clear()
    floor.do(Unconfirmed(message_id, "returned"))
    floor.wait(4.9)
    assert len(floor.said(Heartbeat)) == 2


def test_online_is_said_once_and_again_only_if_it_may_be_lost():
    """A reconnect is no new boot."""
    floor = Floor()
    floor.connect_only()
    floor.disconnect()
    floor.connect()
    assert [effect.message_id for effect in floor.all(Publish) if isinstance(effect.event, Online)] == ["m1", "m1"]
    floor.disconnect()
    floor.connect()
    assert len(floor.said(Online)) == 2
    assert len(floor.all(Consume)) == 1


def test_started_is_said_again_at_once_after_a_reconnect():
    """An order sent meanwhile is lost with the connection's queue."""
    floor = Floor().connect()
    floor.deliver()
    floor.disconnect()
    floor.wait(30)
    assert len(floor.said(Started)) == 1
    floor.connect_only()
    assert len(floor.said(Started, latest=True)) == 1


def test_an_alarm_silences_what_need_not_be_kept():
    """Heartbeats and questions would only pile up; both are said at once when it is over."""
    floor = Floor().connect()
    floor.deliver()
    floor.do(Blocked("memory"))
    before = len(floor.all(Publish))
    floor.wait(60)
    assert len(floor.all(Publish)) == before
    floor.do(Unblocked())
    assert kinds(floor.latest(Publish)) == ["Started", "Heartbeat"]


def test_an_alarm_ends_with_its_connection():
    """The next connection may be free."""
    floor = Floor().connect()
    floor.do(Blocked("memory"))
    floor.disconnect()
    floor.connect()
    assert isinstance(floor.all(Publish)[-1].event, Heartbeat)


def test_a_confirm_of_nothing_changes_nothing():
    """Of `started`, say, which is not kept."""
    floor = Floor().connect()
    floor.do(Confirmed("unknown"))
    assert floor.new == []
    floor.do(Connected())
    assert len(floor.said(Online)) == 1
