"""Platforms drawn by Hypothesis: hosts, stations of every kind and paths over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from model.engine.plant import Background, Plant
from model.engine.program import (
    Acquire,
    Forever,
    Get,
    Part,
    Path,
    Put,
    Release,
    Turn,
    delay,
    flush,
    serve,
    spawn,
)  # fmt: skip
from model.engine.tables import lognormal_from_mean_cv
from tests.engine.arrivals import Arrivals

KINDS = ("fifo", "loop", "multi")


@dataclass(frozen=True)
class Draft:
    """What Hypothesis draws; `build` makes a fresh Plant of it, since a Plant is used once."""

    seed: int
    cores: tuple[int, ...]
    stations: tuple[tuple[str, int, int], ...]
    """Kind, host, servers."""
    costs: tuple[tuple[int, float], ...]
    """Mean in ns and coefficient of variation of each step."""
    paths: tuple[tuple[tuple[str, int, int], ...], ...]
    """Per endpoint: kind of part, station or duration, step."""
    times_ns: tuple[int, ...]
    endpoints: tuple[int, ...]
    stall_rate_per_s: float

    def build(self) -> Plant:
        plant = Plant()
        for number, cores in enumerate(self.cores):
            plant.host(f"host{number}", cores)
        for number, (mean_ns, cv) in enumerate(self.costs):
            plant.step(f"step{number}", mean_ns * 1e-9, cv=cv)
        plant.step("commit", 0.0)
        plant.wait("flush", lognormal_from_mean_cv(300.0, 0.5))
        plant.wait("stall", lognormal_from_mean_cv(500.0, 1.0))
        for number, (kind, host, servers) in enumerate(self.stations):
            name, on = f"station{number}", f"host{host % len(self.cores)}"
            if kind == "fifo":
                plant.fifo(name, servers=servers)
            elif kind == "loop":
                plant.loop(name, host=on, wake_s=20e-9, poll_s=5e-9)
            else:
                plant.multi(name, host=on, wake_s=20e-9)
        plant.pool("pool", 2)
        plant.wait("sync", lognormal_from_mean_cv(200.0, 0.5))
        plant.group_commit("wal", "flush")
        plant.group_commit("led", "flush", leader=True)
        plant.queue("messages")
        plant.backgrounds.append(Background((Forever((Get("messages"), self._visit(0, 0))),)))
        plant.endpoints.extend(self._path(parts) for parts in self.paths)
        return plant

    def arrivals(self) -> Arrivals:
        times, zeros = np.array(self.times_ns, np.int64), np.zeros(len(self.times_ns), np.int64)
        return Arrivals(0, times, np.array(self.endpoints, np.int64), zeros, zeros)

    def options(self) -> dict[str, Any]:
        """Further arguments of the DataPlane."""
        return {"stalls": (self.stall_rate_per_s, "stall")}

    def _visit(self, station: int, step: int) -> Part:
        return serve(f"step{step % len(self.costs)}", on=f"station{station % len(self.stations)}")

    def _path(self, parts: Sequence[tuple[str, int, int]]) -> Path:
        path: list[Part] = [delay(fixed_s=1e-9)]
        for kind, first, second in parts:
            match kind:
                case "serve":
                    path.append(self._visit(first, second))
                case "delay":
                    path.append(delay(fixed_s=100e-9 * first))
                case "commit":
                    path += [Acquire("pool"), self._visit(first, second), flush("commit", on="wal"), Release("pool")]
                case "led":
                    turn = Turn(f"step{second % len(self.costs)}", f"station{first % len(self.stations)}", "sync")
                    path += [self._visit(first, second), flush("commit", on="led", turn=turn)]
                case "put":
                    path.append(Put("messages"))
                case _:
                    path.append(spawn([self._visit(first, second)], 1 + first % 3))
        return path


_PARTS = st.tuples(
    st.sampled_from(["serve", "serve", "serve", "delay", "commit", "led", "put", "spawn"]),
    st.integers(0, 3),
    st.integers(0, 3),
)


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    """Small platforms under up to 120 requests; half of them arrive on a coarse grid, so that events tie."""
    grid = draw(st.sampled_from([1, 100]))
    gaps = draw(st.lists(st.integers(0, 400 // grid), min_size=1, max_size=120))
    paths = draw(st.lists(st.lists(_PARTS, max_size=5).map(tuple), min_size=1, max_size=3))
    return Draft(
        seed=draw(st.integers(0, 2**32)),
        cores=tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))),
        stations=tuple(
            draw(
                st.lists(
                    st.tuples(st.sampled_from(KINDS), st.integers(0, 1), st.integers(1, 3)), min_size=1, max_size=4
                )
            )
        ),
        costs=tuple(
            draw(st.lists(st.tuples(st.integers(1, 300), st.sampled_from([0.0, 0.5, 2.0])), min_size=1, max_size=3))
        ),
        paths=tuple(paths),
        times_ns=tuple(int(t) * grid for t in np.cumsum(gaps)),
        endpoints=tuple(draw(st.lists(st.integers(0, len(paths) - 1), min_size=len(gaps), max_size=len(gaps)))),
        stall_rate_per_s=draw(st.sampled_from([0.0, 1e5])),
    )
