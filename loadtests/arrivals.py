"""A Schedule made ready for the generator."""

from __future__ import annotations

from loadtests.records import ClosedSessions, OpenArrivals
from model.workload.schedule import ClosedSchedule, Schedule


def materialised(schedule: Schedule | ClosedSchedule) -> OpenArrivals | ClosedSessions:
    """All requests of a schedule in memory; the ordinals and post ids are those of the model."""
    if isinstance(schedule, ClosedSchedule):
        return ClosedSessions(*schedule.session_arrays())
    block = schedule.materialize()
    return OpenArrivals(block.time_ns, block.endpoint, block.user, block.target)
