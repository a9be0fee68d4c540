"""A flush meter: a process that makes one log block durable at regular instants, and notes how long each took.

    python -m loadtests.calibrate.flush --file PATH --core 0 --priority 2

It flushes beside the load, in the file system and on the core of the servers that the stack starts, so that it shares
the disk with the primary's flushes and those of its standbys. On a quiet rig it goes before the backend, so that it
sees the disk alone and no queue for the core. It uses about 0.2 % of that. It runs until its standard input closes,
then prints JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import os
import select
import sys
import time
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loadtests.meters import MeterProcess, core_arguments, report_ready, run_on
from model.spec.errors import InvalidRunError
from real_backend.stack.rig import REALTIME_PRIORITY, Rig

INTERVAL_MS = 50
BLOCK = b"\0" * 8192
BLOCKS = 2048
"""As many as a log segment has: written once beforehand, so that a flush never has to extend the file."""
WRITE_AND_WAIT = 2 | 4
"""SYNC_FILE_RANGE_WRITE and SYNC_FILE_RANGE_WAIT_AFTER of Linux."""
RARE = 30.0
FEWEST_RARE = 10
"""Fewer flushes than this that last over `RARE` medians are stalls of the disk too rare to model."""


class FlushMeter(MeterProcess):
    """Runs the meter as a process; a context manager, after which `durations_s` holds what it saw."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        priority = REALTIME_PRIORITY + 1 if rig.realtime else 0
        file = ("--file", str(folder / "flush-meter"), "--priority", str(priority))
        super().__init__("loadtests.calibrate.flush", *file, *core_arguments(rig.backend_core))

    @property
    def durations_s(self) -> npt.NDArray[np.float64]:
        """Of the flushes, in order, f64[n, 2]: until written, and from then until durable. Without the disk's rare
        stalls. Raises InvalidRunError where the meter had to be killed."""
        if self.document is None:
            raise InvalidRunError("the flush meter did not end: the disk hangs, and what a flush takes is not known")
        durations = np.array(self.document["durations_ns"], float).reshape(-1, 2) * 1e-9
        return durations[usual(durations.sum(axis=1))]


def usual(durations_s: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which of these are not rare stalls: a few flushes far beyond the rest say that they happen, not how often. Where
    there are many, they are part of the disk, and usual."""
    if not len(durations_s):
        return np.zeros(0, bool)
    within = durations_s <= RARE * np.median(durations_s)
    return within if int((~within).sum()) < FEWEST_RARE else np.ones(len(durations_s), bool)


def watch(file: int) -> array[int]:
    """Flush until standard input closes: for each flush two durations in ns.

    `fdatasync` writes the data and waits, then has the disk make them durable and waits again. `sync_file_range` does
    the first half alone; where the file system does not know it, all falls to the second.
    """
    write_out = ctypes.CDLL(None, use_errno=True).sync_file_range
    write_out.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    durations = array("q")
    poll = select.poll()
    poll.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
    blocks = itertools.cycle(range(BLOCKS))
    while not poll.poll(INTERVAL_MS):
        offset = len(BLOCK) * next(blocks)
        os.pwrite(file, BLOCK, offset)
        began_ns = time.monotonic_ns()
        write_out(file, offset, len(BLOCK), WRITE_AND_WAIT)
        written_ns = time.monotonic_ns()
        os.fdatasync(file)
        durations.extend((written_ns - began_ns, time.monotonic_ns() - written_ns))
    return durations


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.calibrate.flush", description=__doc__)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--core", type=int)
    parser.add_argument("--priority", type=int, default=0)
    options = parser.parse_args(arguments)
    file = os.open(options.file, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, BLOCK * BLOCKS)
        os.fsync(file)
        run_on(options.core, options.priority)
        report_ready()
        durations = watch(file)
    finally:
        os.close(file)
        options.file.unlink()
    sys.stdout.write(json.dumps({"durations_ns": durations.tolist()}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
