"""Cron against a walk over every minute of ten years, in five time zones whose clocks change in five ways."""

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from headway.protocol.schedule import Schedule, last_until, next_after, schedule_fault

FIRST, LAST = datetime(2016, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ZONES = ("UTC", "Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo")
"""No change; at 2 and 3 in the night; half an hour; and in Sao Paulo, until 2019, at midnight."""

Fields = tuple[frozenset[int], ...]


@cache
def changes_of(zone: str) -> list[datetime]:
    """Return the minutes before which the clock of a zone changes: found minute by minute where an hour has one."""
    hours = int((LAST - FIRST) / (60 * MINUTE))
    offsets = [(FIRST + 60 * MINUTE * hour).astimezone(ZoneInfo(zone)).utcoffset() for hour in range(hours + 1)]
    found = []
    for hour in range(hours):
        if offsets[hour] != offsets[hour + 1]:
            minutes = (FIRST + 60 * MINUTE * hour + MINUTE * minute for minute in range(61))
            found.append(next(one for one in minutes if one.astimezone(ZoneInfo(zone)).utcoffset() != offsets[hour]))
    return found


def values(text: str, low: int, high: int) -> frozenset[int]:
    """Return what a field of cron stands for, read as its manual says."""
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        begin, _, end = span.partition("-")
        first, last = (low, high) if span == "*" else (int(begin), int(end or (high if step else begin)))
        found |= set(range(first, last + 1, int(step or 1)))
    return frozenset(found)


def walk(cron: str, zone: str, since: datetime, days: int) -> list[datetime]:
    """Return the nominal dates within so many days, minute by minute."""
    fields = cron.split()
    bounds = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
    read = [values(text, *bound) for text, bound in zip(fields, bounds, strict=True)]
    both = fields[2].startswith("*") or fields[4].startswith("*")
    is_wild = fields[0].startswith("*") or fields[1].startswith("*")
    found = []
    wall_before = (since - MINUTE).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    highest = max((since - MINUTE * back).astimezone(ZoneInfo(zone)).replace(tzinfo=None) for back in range(1, 181))
    for number in range(days * 24 * 60):
        moment = since + number * MINUTE
        wall = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        if is_wild:
            due = matches(wall, read, both=both)
        else:  # all that the wall shows for the first time now, or has leapt over
            shown = [wall_before + MINUTE * step for step in range(1, int((wall - wall_before) / MINUTE) + 1)]
            due = any(matches(one, read, both=both) for one in shown if one > highest)
        if due:
            found.append(moment)
        wall_before, highest = wall, max(highest, wall)
    return found


def matches(wall: datetime, read: list[frozenset[int]], *, both: bool) -> bool:
    """Say whether a time on the wall is one of a line's."""
    weekday = wall.isoweekday()
    days = (wall.day in read[2], weekday in read[4] or weekday % 7 in read[4])
    at = wall.minute in read[0] and wall.hour in read[1] and wall.month in read[3]
    return at and (all(days) if both else any(days))


def field(low: int, high: int) -> st.SearchStrategy[str]:
    """Return a strategy for a field of cron."""
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.integers(1, high).map(lambda size: f"*/{size}")
    return st.one_of(
        st.just("*"),
        number.map(str),
        st.lists(number, min_size=2, max_size=4).map(lambda items: ",".join(map(str, items))),
        span,
        step,
    )


CRON = st.tuples(field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 7)).map(" ".join)
NIGHTLY = st.tuples(field(0, 59), field(0, 4)).map(lambda pair: f"{pair[0]} {pair[1]} * * *")


@settings(max_examples=400, deadline=None)
@given(cron=st.one_of(CRON, NIGHTLY), zone=st.sampled_from(ZONES), data=st.data())
def test_the_dates_are_those_of_a_walk_over_the_minutes(cron: str, zone: str, data: st.DataObject):
    """Two days and a half around a change of the clock, or anywhere in ten years; then backwards."""
    somewhere = st.integers(0, int((LAST - FIRST) / MINUTE) - 5000).map(lambda minute: FIRST + minute * MINUTE)
    around = [st.sampled_from(changes_of(zone)).map(lambda at: at - 1500 * MINUTE)] if changes_of(zone) else []
    since = data.draw(st.one_of(*around, somewhere))
    schedule = Schedule(text=cron, timezone=zone)
    walked = walk(cron, zone, since, days=2)
    assert schedule_fault(cron) is None
    found = []
    at = next_after(schedule, since - MINUTE)
    while at is not None and at < since + timedelta(days=2):
        found.append(at)
        at = next_after(schedule, at)
    assert found == walked
    probe = since + data.draw(st.integers(0, 2 * 24 * 60 - 1)) * MINUTE
    before = bisect_right(walked, probe)
    if before:
        assert last_until(schedule, probe) == walked[before - 1]
