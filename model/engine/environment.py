"""SimPy decides, compiled code serves: a SimPy environment that advances the data plane between its events.

A control instant t (any SimPy event) is reached by processing every data event strictly before t; then the control
process runs and sees, and may change, the platform exactly as it stands at t; data events at t come after it. The
data plane keeps all its state in tables between two calls, so the interruption is exact: stopping more often changes
nothing.
"""

from __future__ import annotations

from typing import Any

import simpy
from simpy.core import EmptySchedule

from model.engine.dataplane import DataPlane

NS_PER_S = 1_000_000_000


class Environment(simpy.Environment):
    """A `simpy.Environment` in seconds, coupled to a data plane."""

    def __init__(self, plane: DataPlane) -> None:
        super().__init__(0.0)
        self.plane = plane
        self._watchers: dict[str, list[tuple[int, simpy.Event]]] = {}

    def step(self) -> None:
        """Bring the data plane to the next control instant, then process that instant.

        Raises EmptySchedule when no control event is left.
        """
        upcoming = self.peek()
        if upcoming == float("inf"):
            raise EmptySchedule
        if self.plane.advance(round(upcoming * NS_PER_S)):
            # A watched queue stopped the data plane early: its event fires now, before the one we were heading for.
            self._now = self.plane.now_ns / NS_PER_S
            self._notify(self.plane.watch_fired)
            return
        super().step()

    def queue_above(self, queue: str, length: int) -> simpy.Event:
        """An event that fires as soon as more than `length` messages stand in a queue of the data plane.

        Its value is the time in seconds. It fires at once where that many stand there already.
        """
        event = simpy.Event(self)
        self._watchers.setdefault(queue, []).append((length, event))
        self._notify(queue)
        return event

    def _notify(self, queue: str) -> None:
        """Fire the events of a queue that are due, and watch for the next one."""
        standing = self.plane.queue_length(queue)
        waiting = []
        for length, event in self._watchers.get(queue, []):
            if standing > length:
                event.succeed(self._now)
            else:
                waiting.append((length, event))
        self._watchers[queue] = waiting
        self.plane.watch(queue, min((length for length, _ in waiting), default=-1))

    def run(self, until: Any = None) -> Any:
        """Run to `until` seconds (or an event, as in SimPy); the data plane is left at the same instant."""
        result = super().run(until)
        if isinstance(until, int | float):
            self.plane.advance(round(until * NS_PER_S))
        return result
