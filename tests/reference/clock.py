"""SimPy's environment with the order of simultaneous events that ARCHITECTURE.md ("Time and ties") states.

SimPy orders events by time, then priority, then by insertion. A priority may be anything that compares; here it is a
tuple, so that what happens at one instant happens in the stated order:

1. what has become ready at this instant, first in, first out (a process that begins, an event that has succeeded),
2. then the station that a job has left takes its next one,
3. then the next event of the list, by entity, step and branch,
4. then the next arrival.

Time is in whole nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import simpy

Tie = tuple[int, int, int]
"""Entity, step and branch."""

LAST_BRANCH = 1023
"""Branches are ordered by their ten lowest bits; a flush or the landing of a flight comes behind its job."""
_READY: Any = (1,)
_NEXT_JOB: Any = (2,)
_LISTED = 3
_ARRIVAL: Any = (4,)


class Instant(simpy.Event):
    """An event that will happen by itself."""

    def __init__(self, clock: Clock, delay_ns: int, order: Any) -> None:
        super().__init__(clock)
        self._ok = True
        self._value = None
        simpy.Environment.schedule(clock, self, order, delay_ns)


class Clock(simpy.Environment):
    """`at` is the event list; `after_each` is called when a process has run as far as it could."""

    def __init__(self) -> None:
        super().__init__(0)
        self.after_each: Callable[[], None] = lambda: None

    @property
    def now_ns(self) -> int:
        return int(self._now)

    def schedule(self, event: Any, _priority: Any = None, delay: Any = 0) -> None:
        """What SimPy schedules of its own accord is ready now."""
        super().schedule(event, _READY, delay)

    def at(self, time_ns: int, tie: Tie, then: Callable[[], None] | None = None) -> Instant:
        """An event of the list; a process can yield it, or `then` is called."""
        event = Instant(self, time_ns - self.now_ns, (_LISTED, *tie))
        return _calling(event, then)

    def next_job(self, then: Callable[[], None]) -> None:
        """Call `then` when nothing is ready any more at this instant."""
        _calling(Instant(self, 0, _NEXT_JOB), then)

    def arrival(self, time_ns: int, then: Callable[[], None]) -> None:
        """Call `then` at an instant, after all of its other events."""
        _calling(Instant(self, time_ns - self.now_ns, _ARRIVAL), then)

    def advance(self, until_ns: int) -> None:
        """Process every event before `until_ns`."""
        while self.peek() < until_ns:
            self.step()
            self.after_each()
        self._now = until_ns


def _calling(event: Instant, then: Callable[[], None] | None) -> Instant:
    if then is not None:
        event.callbacks.append(lambda _: then())
    return event
