"""The weather on a shared machine: a core whose speed changes while the platform runs."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import simpy

from model.engine.environment import Environment

if TYPE_CHECKING:
    from model.platform.simulate import Platform, Process


def core_speeds(times_s: Sequence[float], speeds: Sequence[float]) -> Process:
    """A control process that gives the backend's core another speed from each of the times (s, ascending) on.

    A speed is relative to that of the calibration: at 0.8 everything that uses the core takes 1/0.8 as long.
    """

    def process(env: Environment, platform: Platform) -> Generator[simpy.Event, Any, None]:
        for time_s, speed in zip(times_s, speeds, strict=True):
            yield env.timeout(max(time_s - env.now, 0.0))
            platform.plane.slow_down_host("backend", 1 / speed)

    return process
