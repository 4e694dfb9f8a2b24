"""Placeholders: found, counted and filled in once."""

import pytest

from headway.protocol.placeholders import fill_in, names_in


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("plain", []),
        ("{{ ds }}", ["ds"]),
        ("{{ds}}-{{  params.region }}", ["ds", "params.region"]),
        ("{{}}", [""]),
        ("{{ ds | upper }}", ["ds | upper"]),
        ("{ds} {{ds", []),
        ("{{a{{ds}}", ["ds"]),
    ],
)
def test_names_are_found_in_order(text, names):
    """Whatever stands between the braces is a name; whether there is such a one is another question."""
    assert names_in(text) == names


def test_values_are_filled_in_once():
    """A value that looks like a placeholder stays as it is."""
    assert fill_in("--day={{ ds }} {{a}}", {"ds": "{{ a }}", "a": "1"}) == "--day={{ a }} 1"


def test_a_name_without_a_value_is_an_error():
    """Validation has excluded it, so this is a fault of the caller."""
    with pytest.raises(KeyError):
        fill_in("{{ b }}", {"a": "1"})
