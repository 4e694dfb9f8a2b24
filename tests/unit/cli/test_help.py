"""What a person reads who asks for help, of every command: what it is for, and lines that can be copied."""

import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from headway.cli.app import headway
from headway.cli.helping import USAGE

ENV = {"COLUMNS": "100", "HEADWAY_CONFIG": "/dev/null"}


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command, the groups among them."""
    yield path
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


COMMANDS = list(commands(headway))


def help_of(path: tuple[str, ...]) -> str:
    """Return what `headway PATH --help` prints."""
    done = CliRunner().invoke(headway, [*path, "--help"], env=ENV, prog_name="headway")
    assert done.exit_code == 0, done.output
    return done.output


def section(text: str, title: str) -> list[str]:
    """Return the lines of a section of a help text, or none where there is no such section."""
    _, _, rest = text.partition(f"\n{title}:\n")
    return [line.strip() for line in rest.partition("\n\n")[0].splitlines()]


def parse(words: list[str]) -> tuple[str, ...]:
    """Parse a command line as click does when it is run, without running it; return the command's path."""
    context = headway.make_context("headway", words)
    path: list[str] = []
    while isinstance(context.command, click.Group):
        rest = [*context._protected_args, *context.args]  # noqa: SLF001 - as click's own Group.invoke reads them
        if not rest:
            break
        name, command, rest = context.command.resolve_command(context, rest)
        assert command is not None
        context = command.make_context(name, rest, parent=context)
        path.append(str(name))
    return tuple(path)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_says_what_it_is_for_and_shows_how(path: tuple[str, ...]):
    """A sentence, a paragraph, and one to three examples, each of this command and right in every word."""
    text = help_of(path)
    usage, paragraph, more, *_ = text.split("\n\n")
    assert usage.startswith(f"Usage: {' '.join(('headway', *path))} [OPTIONS]")
    assert paragraph.strip().endswith(".")
    assert more.strip().endswith("."), "a paragraph says more than the line in the list"
    examples = section(text, "Examples")
    assert 1 <= len(examples) <= 3
    for example in examples:
        words = shlex.split(example)
        words = words[words.index("headway") + 1 :]
        words = [word for word in words if not word.startswith(">")]
        assert parse(words)[: len(path)] == path
        assert len(example) <= 100


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_exit_codes_stand_where_they_matter(path: tuple[str, ...]):
    """In order, and with what each means."""
    codes = section(help_of(path), "Exit codes")
    numbers = [int(line.split()[0]) for line in codes if line.split()[0].isdigit()]
    assert numbers in ([], [0, 1, 2], [0, 2], [0, 1, 2, 130])
    command: click.Command = headway
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    assert bool(codes) == (getattr(command, "exits", None) is not None)


def test_a_mistake_of_the_user_has_one_exit_code():
    """In every help that speaks of them."""
    assert list(USAGE) == [2]
    assert "2  a mistake in the command" in help_of(("check",))


def test_examples_are_not_wrapped():
    """However narrow the terminal is: what is wrapped cannot be copied."""
    done = CliRunner().invoke(headway, ["trigger", "--help"], env=ENV | {"COLUMNS": "40"}, prog_name="headway")
    assert "\n  headway trigger sales --date 2026-01-31 --param region=EU\n" in done.output
