"""A hiccup meter: a process that sleeps in short steps on one core and notes when it woke late.

    python -m loadtests.hiccup --core 1 --interval-ms 5

It costs about 10 us of the core a step. In real time it sees only what nothing on the core can help: the hypervisor
and the kernel. It runs until its standard input closes, then prints its hiccups as JSON.
"""

from __future__ import annotations

import argparse
import json
import select
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtests.meters import MeterProcess, core_arguments, report_ready, run_on

REALTIME_PRIORITY = 50


@dataclass(frozen=True, eq=False)
class Hiccups:
    """Late wake-ups of at least the threshold: when (ns, clock of `time.monotonic_ns`) and by how much, i64[n] each."""

    time_ns: NDArray[np.int64]
    late_ns: NDArray[np.int64]
    observed_s: float
    steps: int
    realtime: bool

    @property
    def rate_per_s(self) -> float:
        return len(self.late_ns) / self.observed_s if self.observed_s else 0.0


class HiccupMeter(MeterProcess):
    """Runs the meter as a process; a context manager, after which `hiccups` holds what it saw."""

    def __init__(self, core: int | None, *, interval_s: float = 0.005, threshold_s: float = 0.001) -> None:
        limits = ("--interval-ms", str(interval_s * 1e3), "--threshold-ms", str(threshold_s * 1e3))
        super().__init__("loadtests.hiccup", *limits, *core_arguments(core))

    @property
    def hiccups(self) -> Hiccups | None:
        """What the meter saw, once it has ended."""
        if self.document is None:
            return None
        document = dict(self.document)
        time_ns, late_ns = (np.array(document.pop(name), np.int64) for name in ("time_ns", "late_ns"))
        return Hiccups(time_ns=time_ns, late_ns=late_ns, **document)


def watch(interval_ns: int, threshold_ns: int) -> tuple[array[int], array[int], int]:
    """Sleep in steps until standard input closes: times and lateness of the hiccups, and the number of steps."""
    times, late = array("q"), array("q")
    steps = 0
    poll = select.poll()
    poll.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
    interval_ms = interval_ns / 1e6
    while True:
        before_ns = time.monotonic_ns()
        closed = poll.poll(interval_ms)
        woke_ns = time.monotonic_ns()
        steps += 1
        # poll rounds up to whole milliseconds, so that the shortest step tells nothing: the excess does.
        excess_ns = woke_ns - before_ns - interval_ns
        if excess_ns >= threshold_ns:
            times.append(woke_ns)
            late.append(excess_ns)
        # Only now: a stall that ended as the input closed is a stall all the same.
        if closed:
            return times, late, steps


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.hiccup", description=__doc__)
    parser.add_argument("--core", type=int)
    parser.add_argument("--interval-ms", type=float, default=5.0)
    parser.add_argument("--threshold-ms", type=float, default=1.0)
    options = parser.parse_args(arguments)
    realtime = run_on(options.core, REALTIME_PRIORITY)
    report_ready()
    began_s = time.monotonic()
    interval_ns = max(round(options.interval_ms), 1) * 1_000_000
    times, late, steps = watch(interval_ns, round(options.threshold_ms * 1e6))
    document = {"time_ns": times.tolist(), "late_ns": late.tolist(), "observed_s": time.monotonic() - began_s}
    sys.stdout.write(json.dumps({**document, "steps": steps, "realtime": realtime}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
