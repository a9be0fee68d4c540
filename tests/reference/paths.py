"""Paths with the place of each step, which orders simultaneous events of one request.

Steps are numbered as they are written: the endpoints one after the other, then the background jobs. What a part
contains is numbered before the part itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from model.engine.program import Attempt, Coalesce, Flush, Forever, Part, Path, Scatter, Spawn, When, While


@dataclass(frozen=True)
class Node:
    """A part, its places and the parts in it."""

    part: Part
    places: tuple[int, ...]
    bodies: tuple[Nodes, ...] = ()


Nodes = tuple[Node, ...]


@dataclass(frozen=True)
class Route:
    """A path that is begun at a place of its own."""

    start: int
    nodes: Nodes


class Numbering:
    """Gives out places."""

    def __init__(self) -> None:
        self._places = itertools.count()

    def route(self, path: Path) -> Route:
        """A path, its start first."""
        return Route(next(self._places), self._nodes(path))

    def _nodes(self, path: Path) -> Nodes:
        return tuple(self._node(part) for part in path)

    def _node(self, part: Part) -> Node:
        places: Iterator[int] = self._places
        match part:
            case Scatter(_, body) | Spawn(body, _) | Forever(body):
                return Node(part, (), (self._nodes(body),))
            case While(_, body):
                return Node(part, (), (self._nodes(body),))
            case When(then, otherwise):
                return Node(part, (), (self._nodes(then), self._nodes(otherwise)))
            case Attempt():
                tried = self._nodes(part.body)
                return Node(part, (next(places), next(places)), (tried,))  # waits before a retry, gives up
            case Coalesce(_, body):
                nodes = self._nodes(body)
                return Node(part, (next(places),), (nodes,))  # the others go on
            case Flush(_, _, turn) if turn is not None:
                # A turn before the flush, the flush, turn and wait of the leader, the turn after it, unlocking.
                return Node(part, tuple(itertools.islice(places, 6)))
            case _:
                return Node(part, (next(places),))
