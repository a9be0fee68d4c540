"""What the kernel says about a core: how busy it was, and how much of it the hypervisor took away."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from real_backend.stack.reaper import processes_below

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


@dataclass(frozen=True)
class Interference:
    """What took part of the backend's core, or of the generator's, away from a run, as shares of one core."""

    steal: dict[int, float]
    """By the hypervisor, per core."""
    foreign: float
    """By processes that belong neither to the backend nor to the measurement, on the backend's core."""


class InterferenceMeter:
    """From its making until `read`. `folders` are the runtime folders of the stacks that are measured."""

    def __init__(self, core: int | None, folders: Sequence[Path]) -> None:
        self._core = core
        self._folders = folders
        self._cores = core_times()
        self._own = self._own_cpu_s()

    def read(self) -> Interference:
        now, own = core_times(), self._own_cpu_s()
        steal = steal_shares(self._cores, now)
        if self._core is None or self._core not in now:
            return Interference(steal, 0.0)
        before, after = self._cores[self._core], now[self._core]
        own_s = sum(cpu_s - self._own.get(pid, 0.0) for pid, cpu_s in own.items())
        foreign_s = after.busy_s - before.busy_s - own_s
        return Interference(steal, max(foreign_s / max(after.taken_s - before.taken_s, 1e-9), 0.0))

    def _own_cpu_s(self) -> dict[int, float]:
        """CPU seconds of every process of the stacks that runs on the core, spinner and speedometer included."""
        if self._core is None:
            return {}
        tick_s, used = 1 / os.sysconf("SC_CLK_TCK"), {}
        for folder in self._folders:
            for pid in processes_below(folder):
                with contextlib.suppress(OSError):
                    if os.sched_getaffinity(pid) == {self._core}:
                        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                        used[pid] = (int(fields[11]) + int(fields[12])) * tick_s
        return used
