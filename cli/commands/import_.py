"""`headway import`: DAG files of workflows in other formats."""

from pathlib import Path

import click

from ..helping import Command, Group


@click.group(name="import", cls=Group, examples=("headway import wfformat montage.json -o montage.dag.json",))
def import_() -> None:
    """Make DAG files of workflows in other formats.

    What comes out is an ordinary DAG file, for `headway check` and to be changed at will.
    """


@import_.command(
    cls=Command,
    examples=(
        "headway import wfformat montage.json -o montage.dag.json",
        "headway import wfformat montage.json --runtime 0.001",
    ),
)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="OUT", help="Where to; without it, stdout.")
@click.option(
    "--runtime",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="FACTOR",
    help="Each task sleeps its real time times this; 0: it does nothing.",
)
def wfformat(file: Path, *, output: Path | None, runtime: float) -> None:
    """Make a DAG file (*.dag.json) of a WfCommons workflow (WfFormat 1.5).

    The DAG's id is the file's name made legal. Task ids stay, with characters that are not legal as _.
    """
    from headway.protocol.document import to_document
    from headway.protocol.errors import InvalidDag, UserError

    from ..wfformat import import_wfformat

    try:
        text = file.read_bytes()
    except OSError as error:
        raise UserError(detail=f"File {file} cannot be read: {error.strerror}.") from error
    try:
        document = to_document(import_wfformat(text, name=file.name, runtime_factor=runtime))
    except InvalidDag as error:
        raise InvalidDag(detail=f"{file}: {error}") from error
    if output is None:
        click.echo(document.decode(), nl=False)
        return
    try:
        output.write_bytes(document)
    except OSError as error:
        raise UserError(detail=f"File {output} cannot be written: {error.strerror}.") from error
