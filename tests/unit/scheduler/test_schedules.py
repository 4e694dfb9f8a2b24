"""Time: when a DAG is due, and which run is made of it, one row a case. Airflow's meaning: docs/concepts/time.md."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest

from headway.protocol.dag_events import PastEnded, Pause, RunCapacity, ScheduleTimer, Unpause
from headway.protocol.document import read_document, to_document
from headway.protocol.errors import InvalidDag
from headway.protocol.keywords import make_dag
from headway.protocol.messages import RunTimer
from headway.protocol.names import DagId, RunId, TaskId, scheduled_run_id
from headway.protocol.params import Param, param_of, say_param
from headway.protocol.schedule import Schedule, interval_before, last_until, next_after, schedule_fault
from headway.protocol.states import EndReason
from headway.protocol.validation import validate
from headway.scheduler.core.rows import AttemptKey, TaskKey
from world import World, cut_slices, dag
from world.audit import audit
from world.clockwork import at, dates, end, finish, known, learn, look

AMSTERDAM, NEW_YORK = "Europe/Amsterdam", "America/New_York"


# --- nominal dates ----------------------------------------------------------------------------------------------------

DATES = {
    # (schedule, time zone): after, then the next dates, all in UTC
    ("0 2 * * *", "UTC"): "2026-01-01 02:00 | 2026-01-02 02:00, 2026-01-03 02:00",
    ("0 2 * * *", AMSTERDAM): "2026-01-01 02:00 | 2026-01-02 01:00, 2026-01-03 01:00",
    ("*/20 * * * *", "UTC"): "2026-01-01 02:05 | 2026-01-01 02:20, 2026-01-01 02:40, 2026-01-01 03:00",
    ("0 0 13 * 5", "UTC"): "2026-02-01 00:00 | 2026-02-06 00:00, 2026-02-13 00:00, 2026-02-20 00:00",  # either day
    ("0 0 */2 * 5", "UTC"): "2026-02-01 00:00 | 2026-02-13 00:00, 2026-02-27 00:00",  # with a star both, as in Debian
    ("0 0 29 2 *", "UTC"): "2026-01-01 00:00 | 2028-02-29 00:00, 2032-02-29 00:00",
    ("0 0 * * MON#1", "UTC"): "2026-01-01 00:00 | 2026-01-05 00:00, 2026-02-02 00:00",
    ("@daily", AMSTERDAM): "2026-01-01 00:00 | 2026-01-01 23:00, 2026-01-02 23:00",
    ("@weekly", "UTC"): "2026-01-01 00:00 | 2026-01-04 00:00, 2026-01-11 00:00",
    ("@monthly", "UTC"): "2026-01-01 00:00 | 2026-02-01 00:00, 2026-03-01 00:00",
    ("@quarterly", "UTC"): "2026-01-01 00:00 | 2026-04-01 00:00, 2026-07-01 00:00",
    ("@yearly", "UTC"): "2026-01-01 00:00 | 2027-01-01 00:00",
    ("90m", "UTC"): "2026-01-01 00:00 | 2026-01-01 01:30, 2026-01-01 03:00",
    ("1d", AMSTERDAM): "2026-03-28 12:00 | 2026-03-29 00:00, 2026-03-30 00:00",  # 24 hours, whatever the clock does
    # The gap: at 02:00 of 29 March the clock shows 03:00 (01:00 UTC).
    ("30 2 * * *", AMSTERDAM): "2026-03-28 01:00 | 2026-03-28 01:30, 2026-03-29 01:00, 2026-03-30 00:30",
    ("10,50 2 * * *", AMSTERDAM): "2026-03-28 01:50 | 2026-03-29 01:00, 2026-03-30 00:10",  # both at once: one run
    ("30 * * * *", AMSTERDAM): "2026-03-29 00:00 | 2026-03-29 00:30, 2026-03-29 01:30",
    ("*/30 2 * * *", AMSTERDAM): "2026-03-29 00:00 | 2026-03-30 00:00, 2026-03-30 00:30",  # the wall never shows 2
    # The fold: at 03:00 of 25 October the clock shows 02:00 again (01:00 UTC).
    ("30 2 * * *", "Europe/Paris"): "2026-10-24 12:00 | 2026-10-25 00:30, 2026-10-26 01:30",
    ("30 2 * * *", "Europe/Berlin"): "2026-10-25 01:10 | 2026-10-26 01:30",  # it was 02:30 before
    ("0 3 * * *", AMSTERDAM): "2026-10-24 12:00 | 2026-10-25 02:00, 2026-10-26 02:00",
    ("30 * * * *", "Europe/Paris"): "2026-10-25 00:00 | 2026-10-25 00:30, 2026-10-25 01:30, 2026-10-25 02:30",
    ("30 1 * * *", NEW_YORK): "2026-11-01 00:00 | 2026-11-01 05:30, 2026-11-02 06:30",
}


@pytest.mark.parametrize("case", DATES, ids=" ".join)
def test_the_dates_of_a_schedule(case: tuple[str, str]):
    """Each comes once; backwards there are the same ones."""
    schedule = Schedule(text=case[0], timezone=case[1])
    after, _, dates = DATES[case].partition(" | ")
    moment = at(after)
    for nominal in map(at, dates.split(", ")):
        assert next_after(schedule, moment) == nominal
        assert last_until(schedule, nominal) == nominal
        moment = nominal


INTERVALS = {
    # (schedule, date of a run by hand): the data interval
    ("0 2 * * *", "2026-01-02 02:00"): "2026-01-01 02:00 | 2026-01-02 02:00",
    ("0 2 * * *", "2026-01-02 17:23"): "2026-01-01 02:00 | 2026-01-02 02:00",
    ("90m", "2026-01-01 04:00"): "2026-01-01 01:30 | 2026-01-01 03:00",
    ("@monthly", "2026-03-31 00:00"): "2026-02-01 00:00 | 2026-03-01 00:00",
    ("@once", "2026-03-31 00:00"): "2026-03-31 00:00 | 2026-03-31 00:00",
    ("", "2026-03-31 00:00"): "2026-03-31 00:00 | 2026-03-31 00:00",
}


@pytest.mark.parametrize("case", INTERVALS, ids=" at ".join)
def test_the_data_interval_ends_at_the_last_date(case: tuple[str, str]):
    """A run by hand gets the one that a run of the schedule would have had; without dates it is a moment."""
    schedule = Schedule(text=case[0]) if case[0] else None
    start, _, end = INTERVALS[case].partition(" | ")
    assert interval_before(schedule, at(case[1])) == (at(start), at(end))


# --- which runs are made ----------------------------------------------------------------------------------------------

HOURLY = {"schedule": "@hourly"}
SINCE_NINE = {"schedule": "@hourly", "start_date": "2026-01-01T09:00"}

SINCE_MIDNIGHT = {"catchup": True, "start_date": "2026-01-01"}
LISTED_DATES = {"schedule": ["2026-01-01T" + clock for clock in ("13:00", "09:00", "11:15", "15:30", "09:00")]}

RUNS: dict[str, tuple[dict[str, Any], str, str]] = {
    # what is said of the DAG, the moments at which somebody looks (it is known from 10:30 on), the runs that are made
    "each date": (HOURLY, "10:45 11:00 11:30 12:00", "11:00 12:00"),
    "nothing of before": (SINCE_NINE, "10:45 11:00", "11:00"),
    "the last of those missed": (HOURLY, "14:10 15:00", "14:00 15:00"),
    "catchup: all since the start": (SINCE_NINE | {"catchup": True}, "10:45 11:00", "09:00 10:00 11:00"),
    "catchup: all that were missed": (HOURLY | {"catchup": True}, "13:10", "11:00 12:00 13:00"),
    "not before the start": (HOURLY | {"start_date": "2026-01-01T12:30"}, "12:00 13:00", "13:00"),
    "the start itself": (HOURLY | {"start_date": "2026-01-01T12:00"}, "11:00 12:00", "12:00"),
    "not after the end": (HOURLY | {"end_date": "2026-01-01T12:00"}, "11:00 12:00 13:00", "11:00 12:00"),
    "missed until the end": (HOURLY | {"end_date": "2026-01-01T12:30"}, "16:00", "12:00"),
    "an interval from its start": (
        {"schedule": "45m", "start_date": "2026-01-01T10:10"},
        "11:00 12:00 12:30",
        "10:55 11:40 12:25",
    ),
    "once, at once": ({"schedule": "@once"}, "10:45 11:00", "10:30"),
    "once, at its start": ({"schedule": "@once", "start_date": "2026-01-01T12:15"}, "11:00 12:15 13:00", "12:15"),
    "once, long ago": ({"schedule": "@once", "start_date": "2026-01-01T08:00"}, "10:45", "08:00"),
    "never": ({}, "10:45 11:00", ""),
    "listed dates": (LISTED_DATES, "10:45 12:00 16:00", "11:15 15:30"),
    "listed dates, all": (
        LISTED_DATES | {"catchup": True, "start_date": "2026-01-01"},
        "16:00",
        "09:00 11:15 13:00 15:30",
    ),
    "listed dates that are over": ({"schedule": ["2026-01-01"]}, "10:45 11:00", ""),
}


@pytest.mark.parametrize("case", RUNS)
def test_the_runs_that_a_schedule_makes(case: str):
    """Each has the id of its date, and its record says the same again."""
    keywords, clocks, made = RUNS[case]
    world = known(**keywords)
    for clock in clocks.split():
        look(world, clock)
    assert dates(world) == made
    for run in world.db.runs.values():
        assert (run.kind, run.state) == ("scheduled", "success")
        assert run.run_id == scheduled_run_id(run.dag_id, run.logical_date)
        assert audit(world, run.run_id) == []


def test_a_run_has_the_interval_that_ends_at_its_date():
    """With the first one, too."""
    world = known(**HOURLY)
    look(world, "11:00")
    (run,) = world.db.runs.values()
    assert (run.data_interval_start, run.data_interval_end) == (at("2026-01-01 10:00"), at("2026-01-01 11:00"))
    message = world.published[0].message
    assert (message.context.ds, message.context.data_interval_start) == ("2026-01-01", at("2026-01-01 10:00"))


def test_the_day_is_that_of_the_dags_calendar():
    """Midnight in Amsterdam is 23:00 of the day before in UTC."""
    world = known(schedule="@daily", timezone=AMSTERDAM)
    world.ring_schedule()
    assert world.published[0].message.context.ds == "2026-01-02"
    assert world.published[0].message.context.logical_date == at("2026-01-01 23:00")


# --- pauses, limits and changes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("catchup", "made"), [(False, "11:00 14:00"), (True, "11:00 12:00 13:00 14:00")])
def test_a_paused_dag_is_not_due(catchup: bool, made: str):  # noqa: FBT001 - of the table
    """When it goes on, the dates that went by count as missed."""
    world = known(**HOURLY, catchup=catchup)
    look(world, "11:00")
    assert world.tell(Pause(dag_id=DagId("etl"))).applied
    look(world, "13:30")
    due = world.db.dags[DagId("etl")].next_date
    assert world.tell(ScheduleTimer(dag_id=DagId("etl"), due=due)).reason == "the DAG is paused"
    assert world.tell(Pause(dag_id=DagId("etl"))).reason == "the DAG is paused"
    assert world.tell(Unpause(dag_id=DagId("etl"))).applied
    assert world.tell(Unpause(dag_id=DagId("etl"))).reason == "the DAG is not paused"
    look(world, "14:00")
    assert dates(world) == made


def test_nobody_pauses_what_is_not_known():
    """The operator reads why."""
    assert World().tell(Pause(dag_id=DagId("etl"))).reason == "DAG etl is not known"


@pytest.mark.parametrize(("catchup", "made"), [(False, "11:00 13:00"), (True, "11:00 12:00")])
def test_a_dag_with_all_the_runs_it_may_have_is_not_due(catchup: bool, made: str):  # noqa: FBT001 - of the table
    """When one ends, it goes on as after any absence."""
    world = known(**HOURLY, catchup=catchup, max_active_runs=1)
    for clock in ("11:00", "12:00", "13:00"):
        look(world, clock, end=False)
    due = world.db.dags[DagId("etl")].next_date
    assert world.tell(ScheduleTimer(dag_id=DagId("etl"), due=due)).reason == "1 runs go on, as many as may"
    finish(world)
    look(world, "13:10", end=False)
    assert dates(world) == made


def test_runs_by_hand_wait_for_their_turn():
    """In the order of coming; a date of the schedule comes behind them."""
    world = known(**HOURLY, max_active_runs=1)
    for run_id in ("r1", "r2", "r3"):
        world.tell(world.trigger(run_id))
    assert [(run.state, run.hold) for run in world.db.runs.values()] == [
        ("running", None),
        ("queued", "max_active_runs"),
        ("queued", "max_active_runs"),
    ]
    assert world.states("r2") == {}
    assert world.tell(world.cancel(run_id="r2")).applied
    look(world, "11:00")
    finish(world)
    assert [run.state for run in world.db.runs.values()] == ["success", "cancelled", "running"]
    look(world, "11:10")
    finish(world)
    look(world, "11:10")
    assert list(world.db.runs) == ["r1", "r2", "r3", "etl__2026-01-01T11:00:00Z"]
    for run_id in world.db.runs:
        assert audit(world, run_id) == []


def test_a_higher_limit_lets_runs_begin():
    """As the new version is known; one that has its turn already is not begun twice."""
    world = known(max_active_runs=1)
    for run_id in ("r1", "r2", "r3"):
        world.tell(world.trigger(run_id))
    learn(world, {"max_active_runs": 2})
    assert [run.state for run in world.db.runs.values()] == ["running", "running", "queued"]
    late = RunCapacity(dag_id=DagId("etl"), run_id=RunId("r2"))
    assert world.tell(late).reason == "the run does not wait for its turn any more"
    assert world.run("r2").version == 1


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    # what was said of the DAG, what is said from 12:30 on; the runs until 14:00
    "another cron": (HOURLY, {"schedule": "15 * * * *"}, "11:00 12:00 13:15"),
    "another cron, all of it": (HOURLY, {"schedule": "15 * * * *", "catchup": True}, "11:00 12:00 12:15 13:15"),
    "no schedule": (HOURLY, {}, "11:00 12:00"),
    "a schedule at last": ({}, HOURLY, "13:00 14:00"),
    "another description": (HOURLY, HOURLY | {"description": "x"}, "11:00 12:00 13:00 14:00"),
    "once": (HOURLY, {"schedule": "@once"}, "11:00 12:00 12:30"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_new_version_may_have_another_schedule(case: str):
    """It counts from the moment that it is known; with catchup from the last date of the one before."""
    before, after, made = CHANGES[case]
    world = known(**before)
    look(world, "11:00")
    look(world, "12:00")
    world.now = at("2026-01-01 12:30")
    learn(world, after)
    for clock in ("12:30", "13:00", "13:15", "14:00"):
        look(world, clock)
    assert dates(world) == made


def test_a_continuous_dag_begins_again_when_it_has_ended():
    """Its interval begins where the one before it ended."""
    world = known(schedule="@continuous", max_active_runs=1)
    look(world, "10:30", end=False)
    look(world, "10:40", end=False)
    finish(world)
    look(world, "10:50", end=False)
    first, second = world.db.runs.values()
    assert first.logical_date == at("2026-01-01 10:30")
    assert (second.data_interval_start, second.data_interval_end) == (first.logical_date, second.logical_date)


def test_a_date_comes_once():
    """Told twice, late or early, it makes no second run; a run that is there already is left alone."""
    world = known(**HOURLY)
    due = world.db.dags[DagId("etl")].next_date
    event = ScheduleTimer(dag_id=DagId("etl"), due=due)
    assert world.tell(event).reason == "no such date is due"
    world.now = due
    assert world.tell(event).reason == "run etl__2026-01-01T11:00:00Z"
    assert world.tell(event).reason == "no such date is due"
    world.tell(world.trigger("etl__2026-01-01T12:00:00Z"))
    look(world, "12:00")
    assert len(world.db.runs) == 2
    assert "a run etl__2026-01-01T12:00:00Z exists already" in [decision.reason for _, decision in world.records]


def test_the_id_of_a_run_fits_whatever_the_dags_id():
    """Two long ids that begin alike have runs of their own."""
    one, two = (scheduled_run_id(DagId("d" * 190 + end), at("2026-01-01 00:00")) for end in "ab")
    assert (len(one), len(two)) == (200, 200)
    assert one != two


# --- bad input --------------------------------------------------------------------------------------------------------

FAULTS = {
    "61 * * * *": "'61 * * * *' is not cron: bad minute",
    "0 0 30 2 *": "'0 0 30 2 *' is not cron: bad day-of-month",
    "0 0 * *": "'0 0 * *' is neither cron like '0 2 * * *', nor a duration like '90m', nor a word like '@daily'",
    "@dayly": "there is no schedule '@dayly'; the words are @hourly, @daily,",
    "500ms": "'500ms' is too short an interval: runs are due once a second at most",
}


@pytest.mark.parametrize("text", FAULTS)
def test_what_is_no_schedule_is_said_so(text: str):
    """In one sentence, with what was written."""
    assert (schedule_fault(text) or "").startswith(FAULTS[text])


@pytest.mark.parametrize(
    ("keywords", "why"),
    [
        ({"start_date": "soon"}, "DAG 'etl': start_date: 'soon' is not a date: write it like 2026-01-31"),
        ({"schedule": ["2026-01-01", "soon"]}, "DAG 'etl': schedule: 'soon' is not a date"),
        ({"end_date": 5}, "DAG 'etl': end_date: 5 is not a date"),
        ({"start_date": "9999-01-01"}, "'9999-01-01' is not a date"),
        ({"start_date": "2026-01-01", "timezone": "Mars"}, "DAG 'etl': timezone: 'Mars' is not a known time zone"),
        ({"schedule": 5}, "DAG 'etl': schedule: expected text or a list or nothing, got a whole number"),
    ],
)
def test_what_is_no_date_is_refused_at_once(keywords: dict[str, Any], why: str):
    """While it is read."""
    with pytest.raises(InvalidDag, match=why):
        make_dag("etl", keywords)


# --- parameters -------------------------------------------------------------------------------------------------------

PARAMS: dict[str, Any] = {
    "region": "EU",
    "limit": {"type": "integer", "default": 5, "minimum": 1, "maximum": 9},
    "mode": {"type": "string", "default": "full", "enum": ["full", "delta"]},
    "share": {"type": ["number", "null"], "default": None},
    "name": {"type": "string", "minLength": 2, "maxLength": 4},
}

GIVEN = {
    # what is given: what is wrong with it
    "{}": "parameter 'name' has no default: give it a value",
    '{"name": "ab"}': "",
    '{"name": "ab", "region": "US", "limit": 9, "mode": "delta", "share": 1}': "",
    '{"name": "ab", "share": 0.5}': "",
    '{"name": "ab", "colour": 1}': "there is no parameter 'colour'; it has region, limit, mode, share, name",
    '{"name": "ab", "region": 1}': "parameter 'region' is text, and 1 is not",
    '{"name": "ab", "limit": "many"}': "parameter 'limit' is a whole number, and 'many' is not",
    '{"name": "ab", "limit": true}': "parameter 'limit' is a whole number, and True is not",
    '{"name": "ab", "limit": 0}': "parameter 'limit' is at least 1, and 0 is not",
    '{"name": "ab", "limit": 10}': "parameter 'limit' is at most 9, and 10 is not",
    '{"name": "ab", "mode": "none"}': "parameter 'mode' is one of 'full', 'delta', and 'none' is not",
    '{"name": "ab", "share": "half"}': "parameter 'share' is a number or null, and 'half' is not",
    '{"name": "a"}': "parameter 'name' has at least 2 characters, and 'a' has 1",
    '{"name": "abcde"}': "parameter 'name' has at most 4 characters, and 'abcde' has 5",
    '{"name": "a\\u0000"}': "parameter 'name' holds a NUL character, which no environment variable can",
}


@pytest.mark.parametrize("given", GIVEN)
def test_a_run_has_the_parameters_that_its_dag_allows(given: str):
    """Or there is no run."""
    world = known(params=PARAMS)
    event = msgspec.structs.replace(world.trigger("r"), params=msgspec.json.decode(given))
    assert world.tell(event).reason == GIVEN[given]
    assert bool(world.db.runs) == (not GIVEN[given])


def test_what_is_not_given_is_the_default():
    """The task is told all of them."""
    world = known(params=PARAMS)
    world.tell(world.trigger("r", name="ab", limit=7))
    expected = {"region": "EU", "limit": 7, "mode": "full", "share": None, "name": "ab"}
    assert world.published[0].message.context.params == expected


# --- deadlines and time-outs ------------------------------------------------------------------------------------------


def test_a_run_whose_time_is_over_fails():
    """What waits is cancelled at once, what runs is told to stop; each says why. The time counts from its beginning."""
    world = World(msgspec.structs.replace(dag("a >> b, c"), run_timeout=3600.0))
    world.tell(world.online())
    world.tell(world.trigger())
    world.start("a")
    begun = world.now
    assert world.ring_run("run_timeout").reason == "its time is over: it fails"
    assert world.now == begun + timedelta(hours=1)
    assert world.tell(world.cancel()).reason == "the run is being ended already"
    assert world.states() == {"a": "running", "b": "cancelled", "c": "cancelled"}
    world.tell(world.finished("a", None, signal="SIGTERM", reason=EndReason.CANCELLED))
    assert (world.run_state(), world.task("a").state, world.db.timers) == ("failed", "cancelled", {})
    for name in "abc":
        detail = "cancelled, for its run had gone on for 3600 s"
        assert (world.task(name).reason, world.task(name).detail) == ("run_timeout", detail)
    assert audit(world) == []


def test_a_run_of_which_nothing_runs_fails_at_once(monkeypatch: pytest.MonkeyPatch):
    """In slices, where it is large."""
    cut_slices(monkeypatch, 2)
    world = World(msgspec.structs.replace(dag("a >> b >> c >> d >> e"), run_timeout=60.0))
    world.tell(world.trigger())
    world.ring_run("run_timeout")
    assert (world.run_state(), set(world.states().values())) == ("failed", {"cancelled"})
    assert audit(world) == []


def test_a_run_that_ends_in_time_has_no_timer_left():
    """Nor has one that is being cancelled another end than that."""
    world = World(msgspec.structs.replace(dag("a", a={"deadline": 5.0}), run_timeout=60.0, deadline=30.0))
    world.tell(world.online())
    world.tell(world.trigger())
    world.play("a")
    assert (world.run_state(), world.db.timers) == ("success", {})
    world.tell(world.trigger("r2"))
    world.tell(world.started("a", run_id="r2"))
    world.tell(world.cancel(run_id="r2"))
    reason = "the timer is dropped: the run is being ended already"
    assert world.ring_run("run_timeout", "r2").reason == reason
    assert world.tell(world.finished("a", run_id="r2")).applied
    assert world.run_state("r2") == "cancelled"


def test_a_missed_deadline_is_an_event_and_changes_nothing():
    """Counted from the date of a schedule, and from the trigger of a run by hand."""
    world = known(**HOURLY, deadline="10m", max_active_runs=1)
    look(world, "11:20", end=False)
    (run,) = world.db.runs.values()
    assert run.deadline == at("2026-01-01 11:10")
    assert world.ring_run("deadline", run.run_id).reason == "it missed its deadline"
    assert (world.run_state(run.run_id), world.db.timers.keys() & {(run.run_id, "", -1, "deadline")}) == (
        "running",
        set(),
    )
    world.tell(world.trigger("r"))
    assert (world.run("r").hold, world.run("r").deadline) == ("max_active_runs", at("2026-01-01 11:30"))
    assert world.ring_run("deadline", "r").applied
    early = RunTimer(dag_id=run.dag_id, run_id=run.run_id, timer="deadline", due=world.now)
    assert world.tell(early).reason == "no such timer is due"


def test_a_task_has_a_deadline_too():
    """Whatever state it is in."""
    world = World(dag("a >> b", b={"deadline": 60.0}))
    world.tell(world.online())
    world.tell(world.trigger())
    assert world.timer("b", "deadline").due == world.now + timedelta(seconds=60)
    assert world.ring("b", "deadline").reason == "it missed its deadline"
    assert world.states() == {"a": "queued", "b": "waiting"}
    world.play("a", "b")
    assert world.run_state() == "success"
    assert audit(world) == []


# --- depends_on_past --------------------------------------------------------------------------------------------------


def with_past() -> World:
    """Return a world with two runs, of 11:00 and 12:00, in which b depends on the past."""
    world = World()
    world.now = at("2026-01-01 10:30")
    world.tell(world.online())
    world.tell(world.version(msgspec.structs.replace(PAST, schedule="@hourly")))
    look(world, "11:00", end=False)
    look(world, "12:00", end=False)
    return world


PAST = dag("a >> b >> c", b={"depends_on_past": True})
FIRST_RUN, SECOND_RUN = "etl__2026-01-01T11:00:00Z", "etl__2026-01-01T12:00:00Z"


def test_a_task_waits_for_its_past():
    """The end of the same task there lets it begin; other tasks do not wait."""
    world = with_past()
    end(world, SECOND_RUN, "a")
    assert world.states(SECOND_RUN) == {"a": "success", "b": "waiting", "c": "waiting"}
    end(world, FIRST_RUN, "a", "b")
    assert world.states(SECOND_RUN)["b"] == "queued"
    end(world, SECOND_RUN, "b", "c")
    assert world.run_state(SECOND_RUN) == "success"
    for run_id in world.db.runs:
        assert audit(world, run_id) == []


def test_a_past_that_is_over_is_not_waited_for():
    """And the run before is told of no more than its good ends."""
    world = with_past()
    end(world, FIRST_RUN, "a", "b", "c")
    assert [type(envelope.event) for envelope, _ in world.records].count(PastEnded) == 1
    end(world, SECOND_RUN, "a")
    assert world.states(SECOND_RUN)["b"] == "queued"
    assert audit(world, SECOND_RUN) == []


def test_a_past_that_failed_is_waited_for():
    """Until somebody clears or marks it there: that is Airflow's meaning too."""
    world = with_past()
    end(world, SECOND_RUN, "a")
    end(world, FIRST_RUN, "a")
    end(world, FIRST_RUN, "b", exit_code=1)
    assert (world.run_state(FIRST_RUN), world.states(SECOND_RUN)["b"]) == ("failed", "waiting")


def test_the_first_run_and_runs_by_hand_have_no_past():
    """Nor has anybody a run by hand as his past."""
    world = with_past()
    world.tell(world.trigger("r"))
    end(world, "r", "a", "b", "c")
    look(world, "13:00", end=False)
    assert world.run("etl__2026-01-01T13:00:00Z").previous == SECOND_RUN
    assert (world.run(FIRST_RUN).previous, world.run("r").previous) == (None, None)


def test_a_task_that_is_new_has_no_past():
    """The run before is of another version, and tells of all its ends."""
    world = World()
    world.now = at("2026-01-01 10:30")
    world.tell(world.online())
    world.tell(world.version(msgspec.structs.replace(dag("a >> c"), schedule="@hourly")))
    look(world, "11:00", end=False)
    root = dag("n, a >> c", n={"depends_on_past": True}, a={"depends_on_past": True})
    world.tell(world.version(msgspec.structs.replace(root, schedule="@hourly")))
    look(world, "12:00", end=False)
    assert world.states(SECOND_RUN) == {"n": "queued", "a": "waiting", "c": "waiting"}
    end(world, FIRST_RUN, "a")
    assert world.states(SECOND_RUN)["a"] == "queued"
    assert audit(world, SECOND_RUN) == []


def test_a_past_that_is_not_made_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    """The run before is made in slices, and they are slow."""
    cut_slices(monkeypatch, 2)
    world = World(settling=False, rounds_max=1)
    world.now = at("2026-01-01 10:30")
    each = dag("a, b, c", each={"depends_on_past": True})
    world.tell(world.online())
    world.tell(world.version(msgspec.structs.replace(each, schedule="@hourly")))
    look(world, "11:00", end=False)
    look(world, "12:00", end=False)
    while late := [event for event in world.owed if event.run_id == SECOND_RUN]:
        world.owed.remove(late[0])
        world.tell(late[0])
    assert list(world.states(SECOND_RUN).values()) == ["waiting"] * 3
    world.settling = True
    world.settle()
    end(world, FIRST_RUN, "a", "b", "c")
    assert set(world.states(SECOND_RUN).values()) == {"queued"}
    stale = PastEnded(dag_id=DagId("etl"), run_id=RunId(SECOND_RUN), task_id=TaskId("a"))
    assert world.tell(stale).reason == "the task does not wait for that"
    unknown = msgspec.structs.replace(stale, task_id=TaskId("z"))
    assert world.tell(unknown).reason == "no such task instance"
    for run_id in world.db.runs:
        assert audit(world, run_id) == []


def test_a_past_that_was_removed_is_not_waited_for():
    """Old runs are removed one day."""
    world = with_past()
    world.checked = False
    del world.db.runs[RunId(FIRST_RUN)]
    for name in "abc":
        del world.db.tasks[TaskKey(RunId(FIRST_RUN), TaskId(name))]
        world.db.attempts.pop(AttemptKey(RunId(FIRST_RUN), TaskId(name), -1, 1), None)
    world.restart()
    end(world, SECOND_RUN, "a")
    assert world.states(SECOND_RUN)["b"] == "queued"


def test_the_past_is_told_once_more():
    """Of a task that failed there, or that waits for more than that, nothing follows."""
    world = with_past()
    told = PastEnded(dag_id=DagId("etl"), run_id=RunId(SECOND_RUN), task_id=TaskId("b"))
    assert world.tell(told).reason == "the task does not wait for that"
    end(world, SECOND_RUN, "a")
    assert world.tell(told).reason == "the task does not wait for that"


def test_a_day_that_no_year_has_never_comes():
    """A Monday that is the fifth of a February, and an odd day of three."""
    for cron in ("0 0 */3 2 MON#5", "*/5 0 */3 2 MON#5"):
        assert schedule_fault(cron) == f"{cron!r} never comes: no year has such a day"
        schedule = Schedule(text=cron, timezone="UTC")
        assert (next_after(schedule, at("2026-01-01 00:00")), last_until(schedule, at("2026-01-01 00:00"))) == (
            None,
            None,
        )


def test_listed_dates_have_intervals_too():
    """Each begins at the date before it; a document says the same."""
    made = make_dag("etl", LISTED_DATES | {"timezone": AMSTERDAM})
    made = msgspec.structs.replace(made, tasks=dag("a").tasks)
    assert interval_before(made.plan, at("2026-01-01 12:00")) == (at("2026-01-01 10:15"), at("2026-01-01 12:00"))
    assert interval_before(made.plan, at("2026-01-01 08:00")) == (at("2026-01-01 08:00"), at("2026-01-01 08:00"))
    assert read_document(to_document(made)).dag == made
    assert validate(made) == ()


def test_a_date_may_be_a_date():
    """In a file of Python; without an offset it is of the DAG's time zone."""
    said = {"timezone": AMSTERDAM, "start_date": date(2026, 1, 1), "end_date": datetime(2026, 7, 1, 12, tzinfo=UTC)}
    made = make_dag("etl", said)
    assert (made.start_date, made.end_date) == (at("2025-12-31 23:00"), at("2026-07-01 12:00"))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("EU", "text, EU unless --param p=... says otherwise"),
        (None, "anything, None unless --param p=... says otherwise"),
        (Param(type=("integer", "null")), "a whole number or null, to be given as --param p=..."),
        (Param(type="string", enum=("a", "b"), description="how"), "text of a, b, to be given as --param p=... (how)"),
    ],
)
def test_a_parameter_is_said_for_a_person(said: Any, shown: str):
    """`headway dags show` says what it may be."""
    assert say_param(param_of(said), "p") == shown
