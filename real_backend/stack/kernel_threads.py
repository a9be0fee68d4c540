"""The kernel's own threads on the backend's core, which a backend in real time would starve.

Each flush of the log ends through a worker of the kernel's block layer, on the core that asked for it, and packets that
came in bulk are handed on by that core's softirq thread. Both have ordinary priority. Beside a backend that runs in
real time they wait until it has nothing to do: at 60 % load that made a flush of 0.2 ms one of 1.1 ms, and of 7 ms at
the 99th percentile. So where the rig is quiet they go before the backend, as is usual on tuned real-time systems; they
use less than 1 % of the core.

What was raised is written down in the runtime folder before it is raised, and the reaper, or whoever else removes that
folder, puts it back.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from real_backend.stack.reaper import RAISED_THREADS

KERNEL_PARENT = 2
"""kthreadd, the parent of all kernel threads."""


def visible() -> bool:
    """Whether this process sees the kernel's threads at all; inside a container it does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{KERNEL_PARENT}/comm").read_text().strip() == "kthreadd"
    return False


def serving(core: int) -> list[int]:
    """Block-layer workers and the softirq thread of one core that have ordinary priority."""
    name = re.compile(rf"kworker/{core}:\d+H|ksoftirqd/{core}$")
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            stat = Path(f"/proc/{int(entry)}/stat").read_text()
            comm, _, rest = stat.partition("(")[2].rpartition(")")
            ordinary = os.sched_getscheduler(int(entry)) == os.SCHED_OTHER
            if int(rest.split()[1]) == KERNEL_PARENT and name.match(comm) and ordinary:
                found.append(int(entry))
    return found


def raise_above(priority: int, core: int, folder: Path) -> None:
    """Let them run in real time above `priority`, and note in `folder` which they were."""
    threads = serving(core)
    (folder / RAISED_THREADS).write_text("\n".join(map(str, threads)))
    for thread in threads:
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority + 1))
