"""Headway: a workflow scheduler on RabbitMQ. What a DAG file imports stands here."""

from headway.protocol.authoring import DAG, argv, shell

__all__ = ["DAG", "argv", "shell"]
