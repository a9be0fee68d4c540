"""The event list: a 4-ary heap of rows (time, tie, what), ordered by time, then by tie, then by `what`.

`what` begins with the number of the event, modulo 2^32: of two that agree in time and tie, the difference of the two
columns, in wrapping arithmetic, is negative where the first was scheduled first.

LaMarca and Ladner, "The influence of caches on the performance of heaps" (1996): four children to a node keep a
node's children in one or two cache lines.
"""

from __future__ import annotations

import numpy as np

from model.rng.compiled import inlined

# Unsigned, so that no index can be negative, which would have to be checked at each use.
_1, _2, _3, _4 = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)


@inlined
def before(heap, i, j):  # type: ignore[no-untyped-def]
    """Whether row i comes before row j; computed without a branch, since no branch could be predicted."""
    first = (heap[i, 1] < heap[j, 1]) | ((heap[i, 1] == heap[j, 1]) & (heap[i, 2] - heap[j, 2] < 0))
    return (heap[i, 0] < heap[j, 0]) | ((heap[i, 0] == heap[j, 0]) & first)


@inlined
def heap_push(heap, size, time, tie, what):  # type: ignore[no-untyped-def]
    """Insert the latest event into a heap of `size` rows; the caller increments the size."""
    i = np.uint64(size)
    while i > 0:
        parent = (i - _1) >> _2
        if heap[parent, 0] < time or (heap[parent, 0] == time and heap[parent, 1] <= tie):
            break
        heap[i, 0] = heap[parent, 0]
        heap[i, 1] = heap[parent, 1]
        heap[i, 2] = heap[parent, 2]
        i = parent
    heap[i, 0] = time
    heap[i, 1] = tie
    heap[i, 2] = what


@inlined
def heap_replace_root(heap, size, time, tie, what):  # type: ignore[no-untyped-def]
    """Put a row in place of the root, whose event has been taken, and sift it down."""
    i = np.uint64(0)
    n = np.uint64(size)
    while True:
        first = (i << _2) + _1
        if first + _3 < n:
            left = first + _1 if before(heap, first + _1, first) else first
            right = first + _3 if before(heap, first + _3, first + _2) else first + _2
            least = right if before(heap, right, left) else left
        elif first < n:
            least = first
            for child in (first + _1, first + _2):  # the last node has one to three children
                if child < n and before(heap, child, least):
                    least = child
        else:
            break
        if time < heap[least, 0] or (
            time == heap[least, 0] and (tie < heap[least, 1] or (tie == heap[least, 1] and what - heap[least, 2] < 0))
        ):
            break
        heap[i, 0] = heap[least, 0]
        heap[i, 1] = heap[least, 1]
        heap[i, 2] = heap[least, 2]
        i = least
    heap[i, 0] = time
    heap[i, 1] = tie
    heap[i, 2] = what


@inlined
def heap_pop(heap, size):  # type: ignore[no-untyped-def]
    """Remove the root; the caller decrements the size."""
    last = size - 1
    if last > 0:
        heap_replace_root(heap, last, heap[last, 0], heap[last, 1], heap[last, 2])
