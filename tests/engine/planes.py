"""Small data planes for engine tests: built from a Plant, run to the end, read from the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from model.engine import layout as c
from model.engine.dataplane import DataPlane
from model.engine.plant import Plant
from model.engine.program import Path
from tests.engine.arrivals import Arrivals

IntArray = npt.NDArray[np.int64]
Build = Callable[[Plant], Sequence[Path]]
END_NS = 1 << 61


class Recorded:
    """A data plane whose log is kept."""

    def __init__(self, plant: Plant, blocks: Iterable[Arrivals] | None, seed: int = 1, **options: Any) -> None:
        self._parts: list[IntArray] = []
        arrivals = None if blocks is None else iter(blocks)
        self.plane = DataPlane(plant, seed, blocks=arrivals, on_log=self._parts.append, **options)

    def finish(self, until_ns: int = END_NS) -> IntArray:
        """The log of requests int64 [n, LOG_COLUMNS] in order of their ordinals, after running on to `until_ns`."""
        self.plane.advance(until_ns)
        rows = self.log(c.LOG_REQUEST)
        by_ordinal: IntArray = rows[np.argsort(rows[:, c.L_ORDINAL], kind="stable")]
        return by_ordinal

    def log(self, kind: int) -> IntArray:
        """What has been logged of one kind so far, in order of time."""
        rows = self.rows()
        chosen: IntArray = rows[rows[:, c.L_KIND] == kind]
        return chosen

    def rows(self) -> IntArray:
        """All that has been logged so far, in order."""
        self.plane.drain()
        rows: IntArray = np.concatenate([np.zeros((0, c.LOG_COLUMNS), np.int64), *self._parts])
        return rows


def recorded(build: Build, arrivals: Sequence[tuple[int, int]], seed: int = 1, **options: Any) -> Recorded:
    """A data plane for requests (instant in ns, endpoint); user 0 asks for all of them."""
    plant = Plant()
    plant.endpoints.extend(build(plant))
    times, endpoints = np.array(arrivals, np.int64).reshape(-1, 2).T
    zeros = np.zeros(len(times), np.int64)
    return Recorded(plant, [Arrivals(0, times, endpoints, zeros, zeros)], seed, **options)


def departures(build: Build, arrivals: Sequence[tuple[int, int]], until_ns: int = END_NS, **options: Any) -> list[int]:
    """When each request leaves, in order of arrival. Stalls and background loops never end: give an `until_ns`."""
    log = recorded(build, arrivals, **options).finish(until_ns)
    assert len(log) == len(arrivals)
    return [int(value) for value in log[:, c.L_TIME] + log[:, c.L_VALUE]]


def in_blocks(arrivals: Arrivals, size: int) -> Iterator[Arrivals]:
    """The same arrivals in blocks of at most `size`."""
    for first in range(0, len(arrivals.time_ns), size):
        part = slice(first, first + size)
        yield Arrivals(
            arrivals.ordinal + first, arrivals.time_ns[part], arrivals.endpoint[part], arrivals.user[part],
            arrivals.target[part],
        )  # fmt: skip
