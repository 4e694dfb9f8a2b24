"""What `headway trigger` makes of its words: dates, parameters and names of runs."""

import re
from datetime import UTC, datetime

import pytest

from headway.cli.addressing import join_index, split_index
from headway.cli.commands.trigger import new_run_id, parse_date, parse_params
from headway.protocol.errors import UserError
from headway.protocol.names import check_name

DEFAULTS = {"region": "EU", "n": 3, "share": 0.5, "dry": False, "any": None}


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T06:00+01:00", datetime(2026, 1, 31, 5, tzinfo=UTC)),
        ("2026-01-31 06:00:30.5", datetime(2026, 1, 31, 6, 0, 30, 500_000, tzinfo=UTC)),
        ("2026-01-31T06:00:00Z", datetime(2026, 1, 31, 6, tzinfo=UTC)),
    ],
)
def test_a_date_is_in_utc(text: str, date: datetime):
    """Also where it was written with another offset, or with none."""
    assert parse_date(text) == date
    assert parse_date(text).tzinfo is UTC


def test_what_is_no_date_is_named():
    """The sentence shows how to write one."""
    with pytest.raises(UserError, match="'tomorrow' is not a date"):
        parse_date("tomorrow")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("region=US=east", "US=east"),
        ("region=7", "7"),
        ("n=7", 7),
        ("share=1", 1),
        ("share=0.25", 0.25),
        ("dry=true", True),
        ("any=text", "text"),
        ("any=7", 7),
        ("any=null", None),
    ],
)
def test_a_parameter_has_the_type_of_its_default(text: str, value: object):
    """Where the default is nothing, JSON says the type, and all else is text."""
    (found,) = parse_params("d", DEFAULTS, (text,)).values()
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("text", ["n=many", "n=1.5", "n=true", "share=half", "dry=1", "dry=yes"])
def test_a_parameter_of_another_type_is_refused(text: str):
    """The scheduler would start a run that nobody wanted."""
    with pytest.raises(UserError, match=r"Parameter '\w+' is .* is not\."):
        parse_params("d", DEFAULTS, (text,))


def test_an_unknown_parameter_is_refused_with_the_known_ones():
    """And with the one that may have been meant."""
    with pytest.raises(UserError, match=r"no parameter 'regoin' \(did you mean 'region'\?\); it has region, n"):
        parse_params("d", DEFAULTS, ("regoin=US",))


def test_a_parameter_without_a_value_is_refused():
    """It must be NAME=VALUE."""
    with pytest.raises(UserError, match="write --param NAME=VALUE"):
        parse_params("d", DEFAULTS, ("region",))


def test_a_new_run_has_a_legal_name_that_sorts_like_time():
    """Even where the DAG's id is as long as an id may be."""
    now = datetime(2026, 1, 31, 6, 7, 8, tzinfo=UTC)
    assert re.fullmatch(r"sales__20260131T060708Z_[0-9a-f]{4}", new_run_id("sales", now))
    assert check_name("run id", new_run_id("x" * 200, now))


def test_a_task_instance_is_named_with_its_index():
    """Both ways, and without one where the task is not mapped."""
    assert split_index("part[3]") == ("part", 3)
    assert split_index("part") == ("part", -1)
    assert (join_index("part", 3), join_index("part", -1), join_index(None, None)) == ("part[3]", "part", "")
