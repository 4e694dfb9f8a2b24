"""The list of commands, and what becomes of an error.

`headway --help` answers within 150 ms, so nothing is imported here but click: each command is imported when it is run,
and its line of help stands in the table below, where a test compares it with the command's own.
"""

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import click
from click.shell_completion import CompletionItem

from headway.protocol.errors import HeadwayError

from .helping import Group

INTERRUPTED: Final = 130
"""The exit code of a command that Ctrl-C ended, as in every shell."""


class Entry(NamedTuple):
    """A command: its module under commands/, the name in there, and its line of help."""

    module: str
    name: str
    line: str


class LazyGroup(Group):
    """A group that imports a command when it is run, and lists them without importing any."""

    def __init__(self, *args: Any, sections: Mapping[str, Mapping[str, Entry]], **kwargs: Any) -> None:  # noqa: ANN401
        """Take what click takes, and the commands by section of the help."""
        super().__init__(*args, **kwargs)
        self.sections = sections
        self.entries = {name: entry for section in sections.values() for name, entry in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the table's order."""
        del ctx
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        module = importlib.import_module(f".commands.{entry.module}", __package__)
        command: click.Command = getattr(module, entry.name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table."""
        del ctx
        for title, section in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.line) for name, entry in section.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin so, without importing any, and what click knows beside them."""
        names = [CompletionItem(name, help=e.line) for name, e in self.entries.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)


SECTIONS: Final[dict[str, dict[str, Entry]]] = {
    "Services": {
        "scheduler": Entry("services", "scheduler", "Decide: run a scheduler until SIGTERM."),
        "worker": Entry("services", "worker", "Work: run a worker until SIGTERM drains it."),
        "standalone": Entry("services", "standalone", "Do everything in one process, until SIGTERM."),
        "logkeeper": Entry("services", "logkeeper", "Keep what tasks write: run a logkeeper until SIGTERM."),
        "db": Entry("db", "db", "Create or migrate the database's schema."),
    },
    "DAGs and runs": {
        "run": Entry("run", "run", "Run a DAG to its end, right here."),
        "check": Entry("check", "check", "Validate DAG files, without any effect."),
        "dags": Entry("dags", "dags", "List DAGs, show one, read the DAG files anew."),
        "trigger": Entry("trigger", "trigger", "Start a run of a DAG."),
        "cancel": Entry("cancel", "cancel", "End a run, or one task of it, without success."),
        "backfill": Entry("backfill", "backfill", "Run a DAG for the dates of its schedule in a time that is over."),
        "pause": Entry("pausing", "pause", "Let a DAG rest."),
        "unpause": Entry("pausing", "unpause", "Let a paused DAG go on."),
        "import": Entry("import_", "import_", "Make DAG files of workflows in other formats."),
    },
    "What is going on": {
        "runs": Entry("runs", "runs", "List runs, show one with its tasks."),
        "backfills": Entry("backfills", "backfills", "Show how far the backfills are, the newest first."),
        "why": Entry("why", "why", "Say exactly why a task is in its state."),
        "logs": Entry("logs", "logs", "Show what a task wrote."),
        "events": Entry("events", "events", "Show the recorded events of a run, with their verdicts."),
        "queues": Entry("queues", "queues", "Show each queue: the database's side and the broker's."),
        "pools": Entry(
            "pools", "pools", "Show each pool: its slots, how many are taken, and how many tasks wait for one."
        ),
        "workers": Entry("workers", "workers", "Show the workers and what the scheduler believes of them."),
        "audit": Entry("audit", "audit", "Fold and decide the recorded events again, compare with the state."),
    },
    "This command": {
        "completion": Entry("completion", "completion", "Print what lets a shell complete commands and ids."),
    },
}


@click.group(
    cls=LazyGroup,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"]},
    examples=("headway check dags/", "headway trigger sales --wait", "headway why sales-1 load"),
)
@click.version_option(package_name="headway")
def headway() -> None:
    """Headway, a workflow scheduler on RabbitMQ.

    Settings stand in environment variables (HEADWAY_BROKER_URL, HEADWAY_DATABASE_URL, HEADWAY_HOME, HEADWAY_DAGS and
    others) or in headway.toml; docs/reference/headway.toml shows all of them. `headway COMMAND --help` says more.
    """


def main() -> int:
    """Run one command; return its exit code, and say on stderr in one sentence what was wrong."""
    try:
        code = headway.main(standalone_mode=False)
        sys.stdout.flush()
    except (click.ClickException, HeadwayError) as error:
        click.echo(_sentence(error), err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; what Python would flush at exit has nowhere to go either.
        _write_no_more()
        return 1
    except OSError as error:
        _write_no_more()
        what = "the output cannot be written" if error.filename is None else str(error.filename)
        click.echo(f"{what[0].upper()}{what[1:]}: {error.strerror}.", err=True)
        return 1
    return code if isinstance(code, int) else 0


def _write_no_more() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _sentence(error: click.ClickException | HeadwayError) -> str:
    """Return what was wrong; a mistake in the command's words says where the right ones stand."""
    if not isinstance(error, click.ClickException):
        return str(error)
    message = error.format_message()
    if not isinstance(error, click.UsageError) or isinstance(error, click.exceptions.NoArgsIsHelpError):
        return message
    path = error.ctx.command_path if error.ctx is not None else "headway"
    return f"{message.rstrip('.')}: `{path} --help` says how."
