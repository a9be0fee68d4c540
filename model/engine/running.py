"""A running platform as a control process sees it: its stations, queues, caches and switches, by name."""

from __future__ import annotations

from dataclasses import dataclass

from model.engine import layout as c
from model.engine.dataplane import DataPlane
from model.spec import InputError

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, eq=False)
class Station:
    """One station: `platform.redis[2].slow_down(5)`."""

    plane: DataPlane
    row: int
    name: str

    def slow_down(self, factor: float) -> None:
        """Multiply its service times by `factor` from now on; 1 is normal."""
        self.plane.slow_down(self.row, factor)

    def pause(self) -> None:
        """Stop it, as SIGSTOP does."""
        self.plane.pause(self.row)

    def resume(self) -> None:
        """Let it go on."""
        self.plane.resume(self.row)

    def set_servers(self, servers: int) -> None:
        """Give it another number of servers (or tokens); where more are busy, they finish first."""
        self.plane.set_servers(self.row, servers)

    @property
    def servers(self) -> int:
        """How many servers (or tokens) it has."""
        return self._column(c.S_SERVERS)

    @property
    def busy(self) -> int:
        """Servers (or tokens) in use."""
        return self._column(c.S_BUSY)

    @property
    def queue_length(self) -> int:
        """Visits waiting, without those in service."""
        return self._column(c.S_LENGTH)

    @property
    def busy_s(self) -> float:
        """Service time begun so far."""
        return self._column(c.S_BUSY_NS) / NS_PER_S

    @property
    def visits(self) -> int:
        """Services begun so far."""
        return self._column(c.S_VISITS)

    def _column(self, column: int) -> int:
        return int(self.plane.state.stations[self.row, column])


@dataclass(frozen=True, eq=False)
class CacheView:
    """One cache: `platform.cache("sessions").hit_ratio`."""

    plane: DataPlane
    row: int
    name: str

    def flush(self) -> None:
        """Empty it."""
        self.plane.flush_cache(self.name)

    @property
    def hits(self) -> int:
        return self._column(c.CA_HITS)

    @property
    def misses(self) -> int:
        return self._column(c.CA_MISSES)

    @property
    def entries(self) -> int:
        """Entries held, expired ones that nobody has asked for among them."""
        return self._column(c.CA_COUNT)

    @property
    def hit_ratio(self) -> float:
        """Share of the look-ups so far that found their key; NaN before the first."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else float("nan")

    def _column(self, column: int) -> int:
        return int(self.plane.state.caches[self.row, column])


class Running:
    """The platform. A group of stations is an attribute: `platform.api[0]`."""

    def __init__(self, plane: DataPlane) -> None:
        self.plane = plane

    def __getattr__(self, group: str) -> list[Station]:
        if not group.startswith("_") and group != "plane":
            try:
                return self.stations(group)
            except InputError:
                pass
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {group!r}")

    def stations(self, group: str) -> list[Station]:
        """The stations that were declared as a group, in order: `redis` is redis0, redis1, ... Raises InputError where
        there are none."""
        names = self.plane.plant.station_names
        rows = [row for row, name in enumerate(names) if name == group]
        rows = rows or [
            row for row, name in enumerate(names) if name.startswith(group) and name[len(group) :].isdigit()
        ]
        if not rows:
            raise InputError(f"station {group!r} is not defined; defined: {', '.join(names)}")
        return [Station(self.plane, row, names[row]) for row in rows]

    def cache(self, name: str) -> CacheView:
        """A cache by its name."""
        if name not in self.plane.plant.caches:
            defined = ", ".join(self.plane.plant.caches) or "none"
            raise InputError(f"cache {name!r} is not defined; defined: {defined}")
        return CacheView(self.plane, self.plane.plant.caches[name].row, name)

    def queue_length(self, queue: str) -> int:
        """Messages that stand in a queue."""
        return self.plane.queue_length(queue)

    def switch(self, name: str, on: bool) -> None:
        """Turn a switch on or off."""
        self.plane.switch(name, on)

    def start(self, job: str, *, lane: int = 0, server: int = -1) -> None:
        """Begin a job that the plant declared."""
        self.plane.start(job, lane=lane, server=server)

    @property
    def in_flight(self) -> int:
        """Requests sent and not answered."""
        return self.plane.scalar(c.X_IN_FLIGHT)

    @property
    def arrived(self) -> int:
        """Requests so far."""
        return self.plane.scalar(c.X_ARRIVED)

    @property
    def completed(self) -> int:
        """Requests that have ended, failed ones among them."""
        return self.plane.scalar(c.X_COMPLETED)

    @property
    def failed(self) -> int:
        """Requests that ended without an answer, those turned away among them."""
        return self.plane.scalar(c.X_FAILED)

    @property
    def rejected(self) -> int:
        """Requests that were turned away."""
        return self.plane.scalar(c.X_REJECTED)
