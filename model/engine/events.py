"""The event list as the rest of the kernel sees it: what comes when, and in which order at one instant."""

from __future__ import annotations

import numpy as np

from model.engine.heap import heap_push, heap_replace_root
from model.engine.layout import EVENT_KINDS, X_HEAP, X_SCHEDULED
from model.rng.compiled import inlined

# numba compiles a function again for each literal argument; numbers with a type are not literals.
ZERO = np.int64(0)
ONE = np.int64(1)
NEVER = np.int64(1 << 62)
SHARE_ENTITY = np.int64(1 << 39)
STALL_ENTITY = np.int64((1 << 39) + 1)  # what is due on a shared host ends before its cores are gone
LAST_BRANCH = np.int64(1023)
ORDER_SHIFT = np.int64(32)
_ROW = np.int64(0xFFFFFFFF)
_SIGN = np.int64(1 << 31)


@inlined
def tie_of(entity, operation, branch):  # type: ignore[no-untyped-def]
    """Order among events of one instant: by entity, then step, then branch (whose upper bits count attempts)."""
    return (entity << 22) | (operation << 10) | (branch & LAST_BRANCH)


@inlined
def event_code(kind, row):  # type: ignore[no-untyped-def]
    """What an event is that belongs to no job: below zero."""
    return -1 - kind - EVENT_KINDS * row


@inlined
def what_of(entry):  # type: ignore[no-untyped-def]
    """The job, or the code below zero, in the last column of the event list."""
    return ((entry & _ROW) ^ _SIGN) - _SIGN


@inlined
def schedule(x, heap, time, tie, what):  # type: ignore[no-untyped-def]
    """Add an event; the first one after an event was taken replaces the root instead of sifting twice.

    Above the job's row its last column counts the events, modulo 2^32: where two tie in everything else (two spawned
    jobs of one number, messages of one request), the one that was scheduled first comes first.
    """
    x[X_SCHEDULED] += 1
    what = (x[X_SCHEDULED] << ORDER_SHIFT) | (what & _ROW)
    if x[X_HEAP] < 0:  # the root is a hole
        x[X_HEAP] = -x[X_HEAP]
        heap_replace_root(heap, x[X_HEAP], time, tie, what)
    else:
        heap_push(heap, x[X_HEAP], time, tie, what)
        x[X_HEAP] += 1
