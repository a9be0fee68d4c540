"""Keeps one core awake at idle priority (``python -I -S spinner.py CORE FILE``), so that it neither sleeps nor slows
down, and counts how fast the core is.

Whatever else is runnable on the core goes first. Only for a rig whose backend runs in real time: under ordinary
scheduling even an idle-priority competitor delays wake-ups.

The loop is always the same, so the rounds it makes per second of its own CPU time are the core's speed as its
neighbours on the host leave it: on shared machines that changes by tens of percent within minutes. FILE holds two
native int64: rounds made, and CPU nanoseconds spent on them.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import time
from pathlib import Path

COUNTS = struct.Struct("=qq")
ROUND = range(1_000)


def main(core: int, path: Path) -> None:
    # The priority first: on a busy core the second call might have to wait long.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    os.sched_setaffinity(0, {core})
    path.write_bytes(bytes(COUNTS.size))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), COUNTS.size) as shared:
        rounds = 0
        while True:
            for _ in ROUND:
                pass
            rounds += 1
            COUNTS.pack_into(shared, 0, rounds, time.thread_time_ns())


def read(path: Path) -> tuple[int, float] | None:
    """(rounds made, CPU seconds spent) so far; None where no spinner runs."""
    try:
        rounds, cpu_ns = COUNTS.unpack(path.read_bytes())
    except (OSError, struct.error):
        return None
    return rounds, cpu_ns * 1e-9


def rounds_per_s(before: tuple[int, float] | None, after: tuple[int, float] | None) -> float:
    """The core's speed between two readings, in rounds per CPU second; 0 where no spinner ran."""
    if before is None or after is None or after[1] <= before[1]:
        return 0.0
    return (after[0] - before[0]) / (after[1] - before[1])


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
