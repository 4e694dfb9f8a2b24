"""When a DAG is due: cron lines, intervals and the words `@daily` and so on, as nominal dates. Pure: no clock.

A nominal date is the time at which a run is due, and the run's logical date; its data interval reaches from the nominal
date before it up to it. Cron is read in the DAG's time zone and changes of the clock are met as Debian's cron meets
them. A line with a fixed minute and hour has each of its times once: one that the clock leaps over is moved to the
end of the gap, one that the clock shows twice counts the first time. A line whose minute or hour begins with `*` has
every minute that a clock on the wall shows.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from .durations import parse_duration
from .errors import InvalidDag, InvalidDuration

DEFAULT_TIMEZONE: Final = "UTC"

ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
ONCE: Final = "@once"
CONTINUOUS: Final = "@continuous"
LISTED: Final = "@listed"
"""Of a schedule whose dates an author listed; no author writes it."""

LISTED_MAX: Final = 1_000
"""Four years of working days. They stand in the DAG's row, which is written whenever a run begins or ends."""

INTERVAL_SECONDS_MIN: Final = 1.0
"""Runs that are due more often are a stream, and no DAG."""

_CRON_FIELDS: Final = 5
_TICK: Final = timedelta(microseconds=1)
_DAY: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_MIN, _YEAR_MAX = 1900, 2200

_WINDOWS: Final = tuple(timedelta(days=days) for days in (1 / 24, 1, 32, 400, 9 * 366, 60 * 366))
"""How far back the nominal date before a time is looked for: the last window holds more than cronsim's 50 years."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When a DAG is due. `text` is cron, a duration or one of the words; no date lies before `start` or after `end`.

    If it is LISTED, the `dates` are these, in order.
    """

    text: str
    dates: tuple[datetime, ...] = ()
    timezone: str = DEFAULT_TIMEZONE
    start: datetime | None = None
    end: datetime | None = None
    catchup: bool = False


def parse_instant(value: object, timezone: str) -> datetime:
    """Return a date or time as an aware UTC time; one without an offset is of `timezone`. Raises InvalidDag."""
    try:
        if isinstance(value, date) and not isinstance(value, datetime):
            value = value.isoformat()
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(moment, datetime):
            zoned = moment if moment.tzinfo else moment.replace(tzinfo=zone_of(timezone))
            if _YEAR_MIN <= zoned.year <= _YEAR_MAX:
                return zoned.astimezone(UTC)
    except ValueError:
        pass
    raise InvalidDag(detail=f"{value!r} is not a date: write it like 2026-01-31 or 2026-01-31T06:00+01:00")


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone of the IANA's database; raise InvalidDag."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        text = f"timezone: {name!r} is not a known time zone: write one like 'Europe/Amsterdam' or 'UTC'"
        raise InvalidDag(detail=text, word="timezone") from error


def day_of(moment: datetime, timezone: str) -> str:
    """Return the day that a calendar in a time zone shows: `2026-01-31`."""
    return moment.astimezone(zone_of(timezone)).date().isoformat()


def schedule_fault(text: str) -> str | None:
    """Say what is wrong with the text of a schedule, or None."""
    if text.startswith("@"):
        known = (*ALIASES, ONCE, CONTINUOUS)
        return None if text in known else f"there is no schedule {text!r}; the words are {', '.join(known)}"
    seconds = _seconds(text)
    if seconds is not None:
        is_long = seconds >= INTERVAL_SECONDS_MIN
        return None if is_long else f"{text!r} is too short an interval: runs are due once a second at most"
    return _cron_fault(text)


def _cron_fault(cron: str) -> str | None:
    if len(cron.split()) != _CRON_FIELDS:
        return f"{cron!r} is neither cron like '0 2 * * *', nor a duration like '90m', nor a word like '@daily'"
    try:
        next(CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return f"{cron!r} is not cron: {str(error)[:1].lower()}{str(error)[1:]}"
    except StopIteration:
        return f"{cron!r} never comes: no year has such a day"
    return None


def next_after(schedule: Schedule, time: datetime) -> datetime | None:
    """Return the first nominal date after a time, within start and end, or None where there is none."""
    if schedule.start is not None:
        time = max(time, schedule.start - _TICK)
    found = next(_dates_after(schedule, time), None)
    return None if found is None or (schedule.end is not None and found > schedule.end) else found


def last_until(schedule: Schedule, time: datetime) -> datetime | None:
    """Return the last nominal date up to a time, itself included, whatever start and end say."""
    if schedule.text in (ONCE, CONTINUOUS):
        return schedule.start if schedule.start is not None and schedule.start <= time else None
    if schedule.text == LISTED:
        return next(reversed(schedule.dates[: bisect_right(schedule.dates, time)]), None)
    step = _step(schedule)
    if step is not None:
        anchor = schedule.start or _EPOCH
        return anchor + (time - anchor) // step * step
    for window in _WINDOWS:
        found = None
        for found_date in _dates_after(schedule, time - window):
            if found_date > time:
                break
            found = found_date
        if found is not None:
            return found
    return None


def interval_before(
    schedule: Schedule | None, date_: datetime, *, last: datetime | None = None
) -> tuple[datetime, datetime]:
    """Return the data interval of a run: of the last nominal date up to its date, or nothing but the date itself.

    Of a continuous DAG it begins at the date of its `last` run.
    """
    if schedule is not None and schedule.text == CONTINUOUS:
        return (last or date_, date_)
    end = last_until(schedule, date_) if schedule is not None else None
    start = last_until(schedule, end - _TICK) if schedule is not None and end is not None else None
    return (start, end) if start is not None and end is not None else (date_, date_)


def next_between(
    schedule: Schedule, begin: datetime, end: datetime, *, after: datetime | None = None, reverse: bool = False
) -> datetime | None:
    """Return the first nominal date from `begin` to `end`, both included, or the one that follows on `after`.

    In reverse it is the last one, or the one before `after`. Start and end of the schedule do not count here.
    """
    if schedule.text in (ONCE, CONTINUOUS):
        return None
    if reverse:
        found = last_until(schedule, end if after is None else after - _TICK)
        return found if found is not None and found >= begin else None
    found = next(_dates_after(schedule, begin - _TICK if after is None else after), None)
    return found if found is not None and found <= end else None


# --- which run is next ------------------------------------------------------------------------------------------------


def first_date(schedule: Schedule, now: datetime, *, last: datetime | None = None) -> datetime | None:
    """Return the next date of a schedule that is new; `last` is the last date that the DAG had by another one.

    What was due before now is left alone, unless `catchup` says otherwise.
    """
    if schedule.text in (ONCE, CONTINUOUS):
        found = max(schedule.start, now) if schedule.start and schedule.text == CONTINUOUS else schedule.start or now
        return None if schedule.end is not None and found > schedule.end else found
    since = [now]
    if schedule.catchup and (last is not None or schedule.start is not None):
        since = [moment for moment in (last, schedule.start and schedule.start - _TICK) if moment is not None]
    return next_after(schedule, max(since))


def date_due(schedule: Schedule, planned: datetime, now: datetime) -> datetime:
    """Return the date that is run now: the planned one, or without `catchup` the last of those missed since."""
    if schedule.text == CONTINUOUS:
        return now
    if schedule.catchup or schedule.text == ONCE:
        return planned
    last = last_until(schedule, now if schedule.end is None else min(now, schedule.end))
    return max(planned, last) if last is not None else planned


def date_after(schedule: Schedule, date_: datetime, now: datetime) -> datetime | None:
    """Return the date that is planned once `date_` was run."""
    match schedule.text:
        case "@once":
            return None
        case "@continuous":
            found = max(now, date_ + _TICK)
            return None if schedule.end is not None and found > schedule.end else found
        case _:
            return next_after(schedule, date_)


# --- dates ------------------------------------------------------------------------------------------------------------


def _dates_after(schedule: Schedule, time: datetime) -> Iterator[datetime]:
    """Yield the nominal dates after a time, in UTC, each once, whatever start and end say."""
    if schedule.text == LISTED:
        yield from schedule.dates[bisect_right(schedule.dates, time) :]
        return
    step = _step(schedule)
    if step is not None:
        anchor = schedule.start or _EPOCH
        first = anchor + ((time - anchor) // step + 1) * step
        yield from (first + step * number for number in count())
    cron, zone = ALIASES.get(schedule.text, schedule.text), zone_of(schedule.timezone)
    walk = _walk_wall if any(part.startswith("*") for part in cron.split()[:2]) else _walk_fixed
    for moment in walk(cron, zone, time):
        if moment > time:
            yield moment
            time = moment


def _walk_fixed(cron: str, zone: ZoneInfo, time: datetime) -> Iterator[datetime]:
    """Yield the times of a line with a fixed minute and hour; those that the clock leaps over come together."""
    yield from (moment.astimezone(UTC) for moment in CronSim(cron, time.astimezone(zone)))


def _walk_wall(cron: str, zone: ZoneInfo, time: datetime) -> Iterator[datetime]:
    """Yield every minute at which the wall shows a time of the line: between two changes of the clock it just goes on.

    cronsim would do it too, but for clocks that change at midnight or by half an hour.
    """
    change: datetime | None = time + _TICK
    while change is not None:
        time, change = change - _TICK, None
        offset = _offset(zone, time + _TICK)
        for wall in CronSim(cron, time.replace(tzinfo=None) + offset):
            found = (wall - offset).replace(tzinfo=UTC)
            change = _change_between(zone, time + _TICK, found)
            if change is not None:
                break
            yield found
            time = found


def _change_between(zone: ZoneInfo, begin: datetime, end: datetime) -> datetime | None:
    """Return the first moment after `begin`, up to `end`, from which the zone's clock is another."""
    offset = _offset(zone, begin)
    while begin < end:
        day = min(begin + _DAY, end)
        if _offset(zone, day) != offset:
            while day - begin > _TICK:
                middle = begin + (day - begin) / 2
                begin, day = (middle, day) if _offset(zone, middle) == offset else (begin, middle)
            return day
        begin = day
    return None


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _step(schedule: Schedule) -> timedelta | None:
    seconds = _seconds(schedule.text)
    return None if seconds is None else timedelta(seconds=seconds)


def _seconds(text: str) -> float | None:
    try:
        return parse_duration(text)
    except InvalidDuration:
        return None
