"""Process trees and threads as Linux shows them in /proc, read cheaply enough to sample during a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def tree(root: int) -> list[int]:
    """The process `root` and all its descendants that are alive, parents first; empty when it is gone."""
    found: list[int] = []
    waiting = [root]
    while waiting:
        pid = waiting.pop(0)
        thread_ids = threads(pid)
        if not thread_ids:
            continue
        found.append(pid)
        for thread in thread_ids:
            try:
                waiting += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_bytes().split())
            except OSError:
                continue
    return found


def threads(pid: int) -> list[int]:
    """Thread ids of a process; empty when it is gone."""
    try:
        return [int(entry) for entry in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def tree_threads(root: int) -> Iterator[tuple[int, int]]:
    """(process id, thread id) of every thread in the tree below `root`."""
    for pid in tree(root):
        for thread in threads(pid):
            yield pid, thread
