"""The list of commands, and how errors leave."""

import subprocess
import sys

import click
import pytest

from headway.cli.app import SECTIONS, LazyGroup, _sentence, headway
from headway.protocol.errors import UnknownRun

ENTRIES = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


@pytest.mark.parametrize("name", ENTRIES)
def test_the_table_says_what_the_command_says(name: str):
    """The line of help that is shown without importing the command is the command's own, and so is its name."""
    command = headway.get_command(click.Context(headway), name)
    assert command is not None
    assert command.name == name
    assert command.get_short_help_str(200) == ENTRIES[name].line


def test_help_imports_no_command():
    """Not even msgspec is imported for `headway --help`."""
    script = "import sys; from headway.cli.app import headway; headway.main(['--help'], standalone_mode=False); "
    heavy = "{'msgspec', 'sqlalchemy', 'pika', 'kombu', 'alembic', 'yaml', 'rich', 'headway.cli.commands'}"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}sys.exit(' '.join({heavy} & sys.modules.keys()) or 0)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert all(name in done.stdout for name in ENTRIES)


def test_an_unknown_command_is_no_command():
    """Click says the rest."""
    group = LazyGroup("g", sections={}, examples=())
    assert group.get_command(click.Context(group), "x") is None
    assert group.list_commands(click.Context(group)) == []


def test_a_mistake_in_the_words_says_where_the_right_ones_stand():
    """One sentence, with the command whose help to ask for."""
    context = click.Context(headway, info_name="headway")
    error = click.UsageError("No such option '--x'.", context)
    assert _sentence(error) == "No such option '--x': `headway --help` says how."


def test_our_errors_speak_for_themselves():
    """Their text is the sentence."""
    assert _sentence(UnknownRun(run_id="r")) == "Run 'r' is not known here: `headway runs` lists the runs."
