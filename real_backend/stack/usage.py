"""CPU time and wake-ups of every process of the stack, its children included."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from real_backend.stack.proc import tree_threads

_CHILDREN_TIMES = slice(13, 15)
"""cutime and cstime among the fields of /proc/PID/stat that follow the command's name."""
_SWITCHES = b"\nvoluntary_ctxt_switches:"


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """Totals since the process started; they never fall."""

    cpu_s: float
    """CPU time that the scheduler charged, from schedstat (ns resolution)."""
    wakes: int
    """Voluntary context switches: how often a thread blocked and was woken again."""


class UsageMeter:
    """Reads usage by logical name ("api0", "primary"), each name being the tree of one root process.

    Totals never go backwards although PostgreSQL's backends come and go: of what has ended, the larger of two records
    counts, the sum of what was last seen of each thread, and what the root has collected from its ended children (of
    processes also what they used after the last sample, but in clock ticks).
    """

    def __init__(self, roots: Mapping[str, int]) -> None:
        """`roots` maps names to process ids."""
        self._roots = dict(roots)
        self._seen: dict[str, dict[tuple[int, int], tuple[int, int]]] = {name: {} for name in roots}
        self._ended: dict[str, tuple[int, int]] = dict.fromkeys(roots, (0, 0))

    def sample(self) -> dict[str, ProcessUsage]:
        """Usage of every name now."""
        return {name: self._sample(name, root) for name, root in self._roots.items()}

    def _sample(self, name: str, root: int) -> ProcessUsage:
        before = self._seen[name]
        now: dict[tuple[int, int], tuple[int, int]] = {}
        cpu_ns, wakes = self._ended[name]
        for key in tree_threads(root):
            used = _thread_usage(*key)
            last = before.get(key)
            if used is not None and last is not None and used[0] < last[0]:
                # A new thread has got the id of one that ended.
                cpu_ns, wakes = cpu_ns + last[0], wakes + last[1]
            if used is not None:
                now[key] = used
        for key, last in before.items():
            if key not in now:
                cpu_ns, wakes = cpu_ns + last[0], wakes + last[1]
        cpu_ns = max(cpu_ns, _collected_ns(root))
        self._seen[name], self._ended[name] = now, (cpu_ns, wakes)
        return ProcessUsage(
            (cpu_ns + sum(used[0] for used in now.values())) / 1e9, wakes + sum(used[1] for used in now.values())
        )


def _collected_ns(root: int) -> int:
    """CPU time of the ended children that a process has waited for, in ns; 0 when the process is gone."""
    try:
        fields = Path(f"/proc/{root}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[_CHILDREN_TIMES])) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def _thread_usage(pid: int, thread: int) -> tuple[int, int] | None:
    """(CPU time in ns, voluntary switches) of a thread; None when it is gone."""
    task = f"/proc/{pid}/task/{thread}"
    try:
        cpu_ns = int(Path(f"{task}/schedstat").read_bytes().split()[0])
        status = Path(f"{task}/status").read_bytes()
    except (OSError, IndexError):
        return None
    return cpu_ns, int(status.partition(_SWITCHES)[2].split(None, 1)[0])
