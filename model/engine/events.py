"""The event list as the rest of the kernel sees it: what comes when, and in which order at one instant."""

from __future__ import annotations

import numpy as np

from model.engine.heap import heap_push, heap_replace_root
from model.engine.layout import EVENT_KINDS, X_HEAP
from model.rng.compiled import inlined

# numba compiles a function again for each literal argument; numbers with a type are not literals.
ZERO = np.int64(0)
ONE = np.int64(1)
NEVER = np.int64(1 << 62)
STALL_ENTITY = np.int64(1 << 39)
SHARE_ENTITY = np.int64((1 << 39) + 1)
LAST_BRANCH = np.int64(1023)


@inlined
def tie_of(entity, operation, branch):  # type: ignore[no-untyped-def]
    """Order among events of one instant: by entity, then step, then branch (whose upper bits count attempts)."""
    return (entity << 22) | (operation << 10) | (branch & LAST_BRANCH)


@inlined
def event_code(kind, row):  # type: ignore[no-untyped-def]
    """What an event is that belongs to no job: below zero."""
    return -1 - kind - EVENT_KINDS * row


@inlined
def schedule(x, heap, time, tie, what):  # type: ignore[no-untyped-def]
    """Add an event; the first one after an event was taken replaces the root instead of sifting twice."""
    if x[X_HEAP] < 0:  # the root is a hole
        x[X_HEAP] = -x[X_HEAP]
        heap_replace_root(heap, x[X_HEAP], time, tie, what)
    else:
        heap_push(heap, x[X_HEAP], time, tie, what)
        x[X_HEAP] += 1
