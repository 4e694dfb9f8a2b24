"""docs/reference/dag.schema.json is what the code says, and it is a JSON Schema."""

import subprocess
import sys
from pathlib import Path

from jsonschema import Draft202012Validator

from headway.protocol.document import _DAG_WORDS, _TASK_WORDS
from headway.protocol.schema import COMMANDS, DESCRIPTIONS, build_schema, write_schema

PAGE = Path(__file__).parents[3] / "docs/reference/dag.schema.json"


def test_the_page_is_made_of_the_code():
    """It is stale? `make docs`."""
    assert PAGE.read_text("utf-8") == write_schema()


def test_it_is_a_schema():
    """Of the draft that it names."""
    Draft202012Validator.check_schema(build_schema())


def test_the_module_prints_it():
    """As `make docs` and whoever has no copy of the documentation use it."""
    command = [sys.executable, "-m", "headway.protocol.schema"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == write_schema()


def test_it_knows_the_words_of_a_document_and_no_others():
    """Each with its sentence."""
    schema = build_schema()
    task = schema["$defs"]["task"]["properties"]
    assert set(schema["properties"]) == set(_DAG_WORDS)
    assert set(task) == set(_TASK_WORDS)
    assert set(DESCRIPTIONS) == set(schema["properties"]) | set(task)
    assert set(COMMANDS) <= set(task)


def test_defaults_are_shown_as_an_author_would_write_them():
    """Durations as text."""
    task = build_schema()["$defs"]["task"]["properties"]
    assert (task["retry_delay"]["default"], task["timeout"]["default"], task["queue"]["default"]) == (
        "1m",
        None,
        "default",
    )
