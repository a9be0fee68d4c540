"""The hiccup meter and the readings of the kernel."""

from __future__ import annotations

import os
import signal
import time

from loadtests.cores import core_times, on_core, steal_shares
from loadtests.hiccup import HiccupMeter


def test_a_stall_of_the_meter_is_seen() -> None:
    with HiccupMeter(max(os.sched_getaffinity(0)), interval_s=0.002) as meter:
        process = meter.process
        os.kill(process.pid, signal.SIGSTOP)
        deadline = time.monotonic() + 0.1
        while time.monotonic() < deadline:
            pass
        os.kill(process.pid, signal.SIGCONT)
    hiccups = meter.hiccups
    assert hiccups is not None
    assert hiccups.late_ns.max() > 80_000_000
    assert hiccups.steps > 0
    assert hiccups.rate_per_s >= 1 / hiccups.observed_s
    assert process.poll() is not None


def test_core_times_only_grow() -> None:
    before = core_times()
    deadline = time.process_time() + 0.05
    while time.process_time() < deadline:
        pass
    after = core_times()
    assert set(before) == set(after)
    assert sum(times.busy_s for times in after.values()) > sum(times.busy_s for times in before.values())
    assert all(0 <= share < 1 for share in steal_shares(before, after).values())


def test_a_thread_is_moved_and_moved_back() -> None:
    before = os.sched_getaffinity(0)
    with on_core(max(before)):
        assert os.sched_getaffinity(0) == {max(before)}
    assert os.sched_getaffinity(0) == before
