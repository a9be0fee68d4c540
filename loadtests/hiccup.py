"""A hiccup meter: a process that sleeps in short steps on one core and notes when it woke late.

    python -m loadtests.hiccup --core 1 --interval-ms 5

It costs about 10 us of the core a step. In real time it sees only what nothing on the core can help: the hypervisor
and the kernel. It runs until its standard input closes, then prints its hiccups as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.spec.errors import MachineError

REALTIME_PRIORITY = 50
_STOP_TIMEOUT_S = 5.0


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


class HiccupMeter:
    """Runs the meter as a process; a context manager, after which `hiccups` holds what it saw."""

    def __init__(self, core: int | None, *, interval_s: float = 0.005, threshold_s: float = 0.001) -> None:
        self._command = [sys.executable, "-m", "loadtests.hiccup"]
        self._command += ["--interval-ms", str(interval_s * 1e3), "--threshold-ms", str(threshold_s * 1e3)]
        if core is not None:
            self._command += ["--core", str(core)]
        self._process: subprocess.Popen[str] | None = None
        self.hiccups: Hiccups | None = None

    @property
    def process(self) -> subprocess.Popen[str]:
        """The running meter."""
        assert self._process is not None
        return self._process

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=own_environment(),
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            self.__exit__()
            raise MachineError("the hiccup meter did not start")
        return self

    def __exit__(self, *_error: object) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            out, _errors = process.communicate(timeout=_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _errors = process.communicate()
        if out.strip():
            document = json.loads(out)
            time_ns, late_ns = (np.array(document.pop(name), np.int64) for name in ("time_ns", "late_ns"))
            self.hiccups = Hiccups(time_ns=time_ns, late_ns=late_ns, **document)


def own_environment() -> dict[str, str]:
    """The environment in which `python -m loadtests...` finds this very package, wherever it is started."""
    root = str(Path(__file__).resolve().parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}


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
    if options.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})
    realtime = True
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
    except (AttributeError, OSError):
        realtime = False
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    began_s = time.monotonic()
    interval_ns = max(round(options.interval_ms), 1) * 1_000_000
    times, late, steps = watch(interval_ns, round(options.threshold_ms * 1e6))
    document = {"time_ns": times.tolist(), "late_ns": late.tolist(), "observed_s": time.monotonic() - began_s}
    sys.stdout.write(json.dumps({**document, "steps": steps, "realtime": realtime}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
