"""Small platforms under Poisson arrivals or a fixed population, run by the compiled engine and read off its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from model.analysis.verification.quantities import Quantity
from model.analysis.verification.sections import SECTIONS
from model.engine import layout as c
from model.engine.dataplane import DataPlane, Sessions
from model.engine.plant import Plant
from model.rng import generator

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BLOCK = 100_000
WARM_SHARE = 0.02
"""The part of a run that is not counted. Every run begins empty, and forgets that within a hundredth of its length."""
NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class Requests:
    """Consecutive requests, in order of time."""

    ordinal: int
    time_ns: IntArray
    endpoint: IntArray
    user: IntArray
    target: IntArray


@dataclass(frozen=True)
class Measured:
    """The requests that count, in order of arrival: residence time, endpoint and outcome [n] of each."""

    residence_s: FloatArray
    endpoint: IntArray
    outcome: IntArray


@dataclass(frozen=True)
class Bench:
    """How checks run their platforms: with which seed, at which confidence, and with what done to the engine first.

    `disturb` makes the engine wrong on purpose, to see that the checks find it.
    """

    confidence: float
    seed: int = 1
    disturb: Callable[[DataPlane], None] = field(default=lambda plane: None)

    def plane(
        self,
        plant: Plant,
        blocks: Iterator[Requests] | None = None,
        sessions: Sessions | None = None,
        on_log: Callable[[IntArray], None] | None = None,
    ) -> DataPlane:
        """The engine with a platform on it."""
        made = DataPlane(plant, self.seed, blocks=blocks, sessions=sessions, on_log=on_log)
        self.disturb(made)
        return made

    def poisson(
        self,
        purpose: str,
        *,
        rate_per_s: float,
        requests: int,
        endpoints: Sequence[float] = (1.0,),
        targets: FloatArray | None = None,
    ) -> Iterator[Requests]:
        """Poisson arrivals in blocks; each asks for an endpoint and a target with the given probabilities."""
        last_ns = 0.0
        for block in range(-(-requests // BLOCK)):
            random = generator(self.seed, f"verify.{purpose}", block)
            size = min(BLOCK, requests - block * BLOCK)
            times_ns = last_ns + np.cumsum(random.exponential(NS_PER_S / rate_per_s, size))
            last_ns = float(times_ns[-1])
            zeros = np.zeros(size, np.int64)
            yield Requests(
                block * BLOCK,
                times_ns.astype(np.int64),
                _drawn(random, np.asarray(endpoints), size),
                zeros,
                zeros if targets is None else _drawn(random, targets, size),
            )

    def measure(self, plant: Plant, blocks: Iterator[Requests]) -> Measured:
        """All requests through the platform, to the last."""
        parts: list[IntArray] = []
        plane = self.plane(plant, blocks, on_log=lambda rows: parts.append(rows[:, _COLUMNS]))
        plane.advance(1 << 62)
        plane.drain()
        rows = np.concatenate(parts)
        rows = rows[np.argsort(rows[:, 0])][round(WARM_SHARE * len(rows)) :]
        return Measured(rows[:, 1] / NS_PER_S, rows[:, 2], rows[:, 3])

    def readings(self, plane: DataPlane, *, end_s: float) -> FloatArray:
        """What the engine counts in each section of time, after the warm-up: [SECTIONS, 1 + steps, 2].

        Row 0 has requests answered and seconds, the others visits of each step and their residence in seconds.
        """
        edges_s = np.linspace(WARM_SHARE * end_s, end_s, SECTIONS + 1)
        rows = []
        for edge_s in edges_s:
            plane.advance(round(edge_s * NS_PER_S))
            visits = plane.state.visits[:, [0, 2]] / (1.0, NS_PER_S)
            rows.append(np.vstack(([plane.scalar(c.X_COMPLETED), edge_s], visits)))
        return np.diff(np.array(rows), axis=0)


_COLUMNS = [c.L_ORDINAL, c.L_VALUE, c.L_LABEL, c.L_WEIGHT]


@dataclass(frozen=True)
class Check:
    """Some quantities of one platform, with the theory that gives them."""

    name: str
    model: str
    """What is modelled, in a line."""
    source: str
    quantities: tuple[str, ...]
    """Names of what `measure` returns, in order: how many there are decides how wide the intervals must be."""
    measure: Callable[[Bench], Sequence[Quantity]]


def _drawn(random: np.random.Generator, shares: FloatArray, size: int) -> IntArray:
    """Indices with these probabilities."""
    if len(shares) == 1:
        return np.zeros(size, np.int64)
    cumulative = np.cumsum(shares)
    drawn = np.searchsorted(cumulative, random.random(size) * cumulative[-1], side="right")
    indices: IntArray = np.minimum(drawn, len(shares) - 1).astype(np.int64)
    return indices
