"""The kernel's own threads on the backend's core, which a backend in real time would starve.

Each flush of the log ends through a worker of the kernel's block layer, on the core that asked for it, and packets that
came in bulk are handed on by that core's softirq thread. Both have ordinary priority. Beside a backend that runs in
real time they wait until it has nothing to do: at 60 % load that made a flush of 0.2 ms one of 1.1 ms, and of 7 ms at
the 99th percentile. So where the rig is quiet they go before the backend, as is usual on tuned real-time systems; they
use less than 1 % of the core.

What was raised is written down in the runtime folder before it is raised, and the reaper, or whoever else removes that
folder, puts it back, unless another stack still needs it. Workers that the kernel starts later are not among them.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from real_backend.stack.reaper import RAISED_THREADS, is_kernel_thread


def serving(core: int) -> list[int]:
    """The kernel's block-layer workers and its softirq thread on one core; none where they cannot be seen."""
    name = re.compile(rf"kworker/{core}:\d+H|ksoftirqd/{core}$")
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            if name.match(Path(f"/proc/{int(entry)}/comm").read_text().strip()) and is_kernel_thread(int(entry)):
                found.append(int(entry))
    return found


def may_be_raised(core: int) -> bool:
    """Whether this process sees the kernel's threads (not inside a container) and may schedule them (an rtprio limit
    does not suffice), found out by giving one the priority that it has."""
    for thread in serving(core):
        with contextlib.suppress(ProcessLookupError):
            try:
                os.sched_setscheduler(thread, os.sched_getscheduler(thread), os.sched_getparam(thread))
            except PermissionError:
                return False
            return True
    return False


def raise_above(priority: int, core: int, folder: Path) -> None:
    """Let them run in real time above `priority`, and note in `folder` which they were.

    One that already has that priority was raised by another stack, or by one that could not put it back; one with any
    other real-time priority is somebody else's.
    """
    ours = (os.SCHED_FIFO, priority + 1)
    threads = [thread for thread in serving(core) if _schedule(thread) in ((os.SCHED_OTHER, 0), ours)]
    (folder / RAISED_THREADS).write_text("\n".join(map(str, threads)))
    for thread in threads:
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority + 1))


def _schedule(thread: int) -> tuple[int, int] | None:
    with contextlib.suppress(ProcessLookupError):
        return os.sched_getscheduler(thread), os.sched_getparam(thread).sched_priority
    return None
