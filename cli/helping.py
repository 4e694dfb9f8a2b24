"""What stands at the end of a command's help: lines to copy, and exit codes where they say more than right and wrong.

@click.command(cls=Command, examples=("headway cancel sales-1",), exits={1: "the run has ended already"})
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

USAGE: Final = {2: "a mistake in the command, a file or a setting, said in one sentence"}
"""What every command ends with where its user can mend it."""


class _Helpful(click.Command):
    """A command whose help ends with examples and exit codes."""

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - what click takes
        examples: Sequence[str],
        exits: Mapping[int, str] | None = None,
        **kwargs: Any,  # noqa: ANN401 - what click takes
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.exits = exits

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write both; examples as they are, for a wrapped one could not be copied."""
        del ctx
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
        if self.exits is not None:
            with formatter.section("Exit codes"):
                formatter.write_dl([(str(code), meaning) for code, meaning in {**self.exits, **USAGE}.items()])


class Command(_Helpful):
    """A command with examples."""


class Group(_Helpful, click.Group):
    """A group of commands with examples."""
