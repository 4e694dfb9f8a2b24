"""`headway completion`: what a shell reads to complete our words."""

import click
from click.shell_completion import get_completion_class

from ..helping import Command

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_HEADWAY_COMPLETE"


@click.command(
    cls=Command,
    examples=(
        "headway completion bash >~/.local/share/bash-completion/completions/headway",
        "headway completion zsh >~/.zfunc/_headway",
        "headway completion fish >~/.config/fish/completions/headway.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what lets a shell complete commands and ids.

    Commands, options, and the ids of DAGs and runs, as far as the database answers at once. Put the output where the
    shell looks for such files, as the examples do, and start a new shell; the folder must be there. For zsh, ~/.zshrc
    must hold `fpath+=~/.zfunc` before `autoload -Uz compinit && compinit`.
    """
    from ..app import headway

    kind = get_completion_class(shell)
    if kind is None:  # a Choice of those that click knows
        raise click.UsageError(f"There is no completion for {shell}.")
    click.echo(kind(headway, {}, "headway", VARIABLE).source())
