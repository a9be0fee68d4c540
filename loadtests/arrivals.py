"""A Schedule made ready for the generator."""

from __future__ import annotations

import math

from loadtests.records import ClosedSessions, OpenArrivals
from model.workload.schedule import ClosedSchedule, Schedule


def materialised(
    schedule: Schedule | ClosedSchedule, *, duration_s: float, think_time_s: float
) -> OpenArrivals | ClosedSessions:
    """All requests of a schedule in memory. A closed session gets more requests than it can send in `duration_s`
    even if every answer came at once."""
    if isinstance(schedule, ClosedSchedule):
        expected = duration_s / think_time_s
        endpoint, user, target, think_ns = schedule.session_arrays(math.ceil(expected + 6 * math.sqrt(expected) + 10))
        return ClosedSessions(endpoint, user, target, think_ns)
    block = schedule.materialize()
    return OpenArrivals(block.time_ns, block.endpoint, block.user, block.target)
