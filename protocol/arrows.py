"""The arrows of a DAG file: `a >> b` lets b wait for a. On either side stands a task, a group, or a list of them.

A group stands for those of its tasks that nothing within it is before, or behind: its first ones wait for what is at
the left of the arrow, its last ones are waited for.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TypeVar

from .errors import InvalidDag

_Nodes = TypeVar("_Nodes", bound="Node | Sequence[Node]")


class Node(ABC):
    """What an arrow may lead to or from."""

    __slots__ = ()

    @abstractmethod
    def firsts(self) -> "Sequence[Waiter]":
        """Return the tasks that an arrow to here leads to."""

    @abstractmethod
    def lasts(self) -> "Sequence[Waiter]":
        """Return the tasks that an arrow from here leads from."""

    def __rshift__(self, others: _Nodes) -> _Nodes:
        connect(self, others)
        return others

    def __lshift__(self, others: _Nodes) -> _Nodes:
        connect(others, self)
        return others

    def __rrshift__(self, others: "Sequence[Node]") -> "Node":
        connect(others, self)
        return self

    def __rlshift__(self, others: "Sequence[Node]") -> "Node":
        connect(self, others)
        return self


class Waiter(Node):
    """A task, which waits for tasks."""

    __slots__ = ()

    def firsts(self) -> "Sequence[Waiter]":
        """Return the task itself."""
        return (self,)

    def lasts(self) -> "Sequence[Waiter]":
        """Return the task itself."""
        return (self,)

    @abstractmethod
    def wait_for(self, others: object) -> None:
        """Let this task start only after `others`: a task, a group, or a list of them."""


def connect(before: object, after: object) -> None:
    """Let what is at the right of an arrow wait for what is at its left; raise InvalidDag."""
    lasts = [task for node in nodes_in(before) for task in node.lasts()]
    for node in nodes_in(after):
        for task in node.firsts():
            task.wait_for(lasts)


def nodes_in(others: object) -> Iterable[Node]:
    """Return what stands on one side of an arrow; raise InvalidDag for anything else."""
    nodes = others if isinstance(others, list | tuple) else (others,)
    for node in nodes:
        if not isinstance(node, Node):
            raise InvalidDag(
                detail=f"only tasks, groups and lists of them can be dependencies, and {node!r} is none of them"
            )
    return nodes
