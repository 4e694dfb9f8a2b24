"""Headway: a workflow scheduler on RabbitMQ. What a DAG file imports stands here."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headway.protocol.authoring import DAG, argv, group, python, shell

__all__ = ["DAG", "argv", "group", "python", "shell"]


def __getattr__(name: str) -> object:
    """Import a name when it is asked for: `headway --help` needs none of them, and they take half of its time."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from headway.protocol import authoring  # noqa: PLC0415

    return getattr(authoring, name)
