"""A process of the running platform, as control processes see it."""

from __future__ import annotations

from dataclasses import dataclass

from model.engine import layout as c
from model.engine.dataplane import DataPlane
from model.engine.environment import NS_PER_S


@dataclass(frozen=True, eq=False)
class Station:
    """One process of the running platform, for control processes: `platform.redis[2].slow_down(5)`."""

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

    @property
    def queue_length(self) -> int:
        """Visits waiting, without the one in service."""
        return int(self.plane.state.stations[self.row, c.S_LENGTH])

    @property
    def busy_s(self) -> float:
        """Service time begun so far."""
        return float(self.plane.state.stations[self.row, c.S_BUSY_NS]) / NS_PER_S


def stations_of(plane: DataPlane, group: str) -> list[Station]:
    """The stations of a group, in order."""
    names = plane.plant.station_names
    return [Station(plane, row, name) for row, name in enumerate(names) if name.rstrip("0123456789") == group]
