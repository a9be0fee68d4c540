"""Measures how fast one core is, beside whatever runs on it (``python -I -S speedometer.py CORE FILE``).

A hundred times a second it wakes at idle priority and walks once through scattered objects. That is always the same
work, done as a process does it that has just been woken: its data have left the core's own caches. So the walks per
second of its own CPU time tell the core's speed as its neighbours on the host leave it: on shared machines that changes
by tens of percent within minutes, and what neighbours take is mostly caches and memory. Longer walks, walks without a
wake-up before them and loops in registers told less about what a request costs. The backend suffers more than a walk
does: over five runs of 75 s, in windows of 5 s, its utilisation against the prediction followed the walks with an
exponent of -1.95 and a correlation of -0.94. (Within one run the exponent looks smaller, -0.8 to -1.6, since there the
scatter of the readings is as large as the changes.)

A walk that was interrupted is not counted, since whoever came between has left other data in the caches. FILE holds two
native int64: walks made, and CPU nanoseconds spent on them.
"""

from __future__ import annotations

import itertools
import mmap
import os
import struct
import sys
import time
from pathlib import Path

COUNTS = struct.Struct("=qq")
INTERVAL_S = 0.01
OBJECTS = 2_000
"""In one walk: Python integers of 32 bytes and a list of pointers to them, 80 kB, some 60 us."""
SETS = 60
"""That take turns. Together they are several times as large as a core's own caches, so that none is found there."""
STRIDE = 7_919
"""Coprime to the number of all objects: neighbours in a walk are a quarter of a megabyte apart, beyond what prefetching
follows."""
INTERRUPTED_NS = 20_000
"""A walk whose wall time exceeds its CPU time by more was interrupted."""
REFERENCE_WALKS_PER_S = 15_000.0
"""A core that makes as many has speed 1."""
SENSITIVITY = 2.0
"""The exponent of the backend's CPU time in the walks, from those five runs together."""


def main(core: int, path: Path) -> None:
    # The priority first: on a busy core the second call might have to wait long.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    os.sched_setaffinity(0, {core})
    path.write_bytes(bytes(COUNTS.size))
    in_order = list(range(1_000, 1_000 + SETS * OBJECTS))
    scattered = [in_order[i * STRIDE % len(in_order)] for i in range(len(in_order))]
    sets = itertools.cycle([scattered[first : first + OBJECTS] for first in range(0, len(scattered), OBJECTS)])
    with path.open("r+b") as file, mmap.mmap(file.fileno(), COUNTS.size) as shared:
        walks = cpu_ns = 0
        for objects in sets:
            time.sleep(INTERVAL_S)
            began_ns, cpu_began_ns = time.monotonic_ns(), time.thread_time_ns()
            sum(objects)
            used_ns = time.thread_time_ns() - cpu_began_ns
            if time.monotonic_ns() - began_ns - used_ns < INTERRUPTED_NS:
                walks, cpu_ns = walks + 1, cpu_ns + used_ns
                COUNTS.pack_into(shared, 0, walks, cpu_ns)


def read(path: Path) -> tuple[int, float] | None:
    """(walks made, CPU seconds spent on them) so far; None where it does not run."""
    try:
        walks, cpu_ns = COUNTS.unpack(path.read_bytes())
    except (OSError, struct.error):
        return None
    return walks, cpu_ns * 1e-9


def speed(before: tuple[int, float] | None, after: tuple[int, float] | None) -> float:
    """The core's speed between two readings: CPU times are inversely proportional to it. 0 where none ran."""
    if before is None or after is None or after[1] <= before[1]:
        return 0.0
    return float(((after[0] - before[0]) / (after[1] - before[1]) / REFERENCE_WALKS_PER_S) ** SENSITIVITY)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
