"""What the kernel says about a core: how busy it was, and how much of it the hypervisor took away."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")
_IDLE, _IOWAIT, _STEAL = 3, 4, 7
_FIELDS = 8


@dataclass(frozen=True)
class CoreTimes:
    """Seconds since boot that one core spent busy (whatever the priority) and stolen, at `taken_s` (monotonic)."""

    taken_s: float
    busy_s: float
    steal_s: float


def core_times() -> dict[int, CoreTimes]:
    """One entry per core; empty where the kernel has no /proc/stat."""
    try:
        lines = _STAT.read_text().splitlines()
    except OSError:
        return {}
    tick_s, taken_s, cores = 1 / os.sysconf("SC_CLK_TCK"), time.monotonic(), {}
    for line in lines:
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            ticks = [int(field) for field in fields[:_FIELDS]]
            busy = sum(ticks) - ticks[_IDLE] - ticks[_IOWAIT] - ticks[_STEAL]
            cores[int(name[3:])] = CoreTimes(taken_s, busy * tick_s, ticks[_STEAL] * tick_s)
    return cores


def steal_shares(before: dict[int, CoreTimes], after: dict[int, CoreTimes]) -> dict[int, float]:
    """Share of the time between two readings that the hypervisor took, per core."""
    return {
        core: (after[core].steal_s - first.steal_s) / max(after[core].taken_s - first.taken_s, 1e-9)
        for core, first in before.items()
        if core in after
    }


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Run the calling thread, and threads and processes that it starts meanwhile, on one core."""
    if core is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
