"""Does a run have a steady state, and if not, what saturates?

Two signs that it has none: work is left over long after the last arrival, or the work in the platform (requests in
flight and messages in queues) grew from beginning to end of the scored part. The second is a test for trend (Mann 1945,
Kendall 1975) on 20 means, since a mean over a backlog that grows depends on nothing but when one stops.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import simpy

from model.engine import layout as c
from model.engine.dataplane import DataPlane
from model.engine.environment import NS_PER_S, Environment

BATCHES = 20
CRITICAL_SCORE = 4.0
"""Standard deviations of Kendall's statistic. On an M/M/1 queue of 300 requests/s over 55 s this saw a trend in none of
4 000 runs at utilisation 0.9, in 0.05 % at 0.95, and in 99.6 % at an offered load of 1.05 times the capacity."""
LEAST_GROWTH = 1.5
"""The last quarter's mean over the first's. A trend that is certain but small is not a run without a steady state."""
SATURATED = 0.9
MOST_OFFERED = 1.1
"""Work of more than this share of the capacity is an overload, however short the run; below it, it may be chance."""
"""A host or station this busy is the cause; where none is, those that hold tokens or take messages are looked at."""


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What is busiest in the scored part of a run."""

    name: str
    utilisation: float
    """Share of its servers' time, at most about 1."""
    mostly: str = ""
    """Of a host: the station that uses most of it, and how much."""

    def __str__(self) -> str:
        busy = f"{self.name}, busy {100 * self.utilisation:.1f} % of the scored part"
        return f"{busy} ({self.mostly})" if self.mostly else busy


class LoadWatch:
    """Reads, and never changes, how busy everything is while requests are offered."""

    def __init__(self, plane: DataPlane, begin_s: float, end_s: float, interval_s: float) -> None:
        self._plane = plane
        self._begin_s = begin_s
        self._end_s = end_s
        self._interval_s = interval_s
        self._backlog: list[int] = []
        stations = len(plane.plant.stations)
        self._busy_ns = np.zeros(stations)
        self._stalled_ns = np.zeros(len(plane.plant.hosts))
        self._held = np.zeros(stations)
        self._waiting = dict.fromkeys(plane.plant.queues, 0)

    def process(self, env: Environment) -> Generator[simpy.Event, Any, None]:
        """The control process."""
        yield env.timeout(self._begin_s)
        before_busy, before_stalled = self._clocks()
        while env.now < self._end_s:
            stations = self._plane.state.stations
            lengths = {queue: self._plane.queue_length(queue) for queue in self._waiting}
            self._backlog.append(self._plane.scalar(c.X_IN_FLIGHT) + sum(lengths.values()))
            self._held += stations[:, c.S_BUSY]
            for queue, length in lengths.items():
                self._waiting[queue] += length > 0
            yield env.timeout(min(self._interval_s, self._end_s - env.now))
        busy, stalled = self._clocks()
        self._busy_ns, self._stalled_ns = busy - before_busy, stalled - before_stalled

    @property
    def backlog(self) -> npt.NDArray[np.int64]:
        """Requests in flight and messages in queues at regular instants of the scored part."""
        return np.array(self._backlog, np.int64)

    def bottleneck(self) -> Bottleneck:
        """The busiest host or station; where none of them is saturated, perhaps a pool or a queue's workers.

        A group commit is none of them: however busy, its next flush covers all who wait.
        """
        plant = self._plane.plant
        length_ns = (self._end_s - self._begin_s) * NS_PER_S
        kinds = self._plane.state.stations[:, c.S_KIND]
        servers = self._plane.state.stations[:, c.S_SERVERS]
        of_host = self._plane.state.stations[:, c.S_HOST]
        found = []
        for name, row in plant.host_rows.items():
            rows = np.flatnonzero((of_host == row) & np.isin(kinds, (c.K_LOOP, c.K_MULTI)))
            if len(rows) == 0:
                continue
            capacity_ns = plant.hosts[row] * length_ns
            used = (self._busy_ns[rows].sum() + self._stalled_ns[row]) / capacity_ns
            most = rows[int(np.argmax(self._busy_ns[rows]))]
            share = self._busy_ns[most] / capacity_ns
            found.append(Bottleneck(f"host {name}", float(used), f"{plant.station_names[most]} {100 * share:.1f} %"))
        for station in np.flatnonzero(np.isin(kinds, (c.K_FIFO, c.K_LOOP))):
            used = float(self._busy_ns[station] / (max(1, servers[station]) * length_ns))
            found.append(Bottleneck(f"station {plant.station_names[station]}", used))
        # max takes the first of equals: a host before the station that fills it
        best = max(found, key=lambda each: each.utilisation, default=Bottleneck("nothing", 0.0))
        if best.utilisation >= SATURATED or not self._backlog:
            return best
        samples = len(self._backlog)
        holders = [
            Bottleneck(f"pool {plant.station_names[row]}", float(self._held[row] / (servers[row] * samples)))
            for row in np.flatnonzero(kinds == c.K_POOL)
        ]
        holders += [
            Bottleneck(f"the takers of queue {queue}", count / samples) for queue, count in self._waiting.items()
        ]
        return max([best, *holders], key=lambda each: each.utilisation)

    def overload(self) -> str:
        """Which host or station was given clearly more work than it can do in the time in which requests were offered;
        empty where none was. To be asked after the run has drained."""
        plant = self._plane.plant
        stations = self._plane.state.stations
        work_ns, kinds, of_host = (stations[:, column] for column in (c.S_BUSY_NS, c.S_KIND, c.S_HOST))
        length_ns = self._end_s * NS_PER_S
        given = {
            f"host {name}": float(work_ns[of_host == row].sum()) / (plant.hosts[row] * length_ns)
            for name, row in plant.host_rows.items()
        }
        for row in np.flatnonzero(kinds == c.K_FIFO):
            given[f"station {plant.station_names[row]}"] = work_ns[row] / (stations[row, c.S_SERVERS] * length_ns)
        most = max(given, key=lambda name: given[name], default="")
        if not most or given[most] < MOST_OFFERED:
            return ""
        return f"{most} was given {100 * given[most]:.0f} % of the work that it can do in {self._end_s:g} s"

    def _clocks(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        stations, hosts = self._plane.state.stations, self._plane.state.hosts
        stalled = hosts[: len(self._stalled_ns), c.H_STALL_NS]
        return stations[:, c.S_BUSY_NS].astype(np.float64), stalled.astype(np.float64)


def growth(backlog: Sequence[int] | npt.NDArray[np.int64]) -> tuple[float, float] | None:
    """The mean backlog in the first and in the last quarter of the samples, where it grew all along; else None.

    Kendall's test for trend on 20 means of consecutive samples, one-sided; with fewer than 40 samples it says nothing.
    """
    samples = np.asarray(backlog, np.float64)
    length = len(samples) // BATCHES
    if length < 2:
        return None
    means = samples[len(samples) - length * BATCHES :].reshape(BATCHES, length).mean(axis=1)
    earlier, later = np.triu_indices(BATCHES, 1)
    concordance = float(np.sign(means[later] - means[earlier]).sum())
    score = concordance / math.sqrt(BATCHES * (BATCHES - 1) * (2 * BATCHES + 5) / 18)
    first, last = float(means[: BATCHES // 4].mean()), float(means[-BATCHES // 4 :].mean())
    if score < CRITICAL_SCORE or last < max(LEAST_GROWTH * first, first + 1):
        return None
    return first, last
