"""Waiting in tests for a condition, with a deadline; and looking at what may have gone meanwhile."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable


def eventually(condition: Callable[[], object], what: str, deadline_s: float = 10.0) -> None:
    """Poll until `condition()` is true; fail naming `what` after the deadline."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {deadline_s:g} s: {what}"
        time.sleep(0.01)


def schedules_of(threads: Iterable[int]) -> set[tuple[int, int]]:
    """(policy, real-time priority) of those threads that still exist."""
    found = set()
    for thread in threads:
        with contextlib.suppress(ProcessLookupError):
            found.add((os.sched_getscheduler(thread), os.sched_getparam(thread).sched_priority))
    return found
