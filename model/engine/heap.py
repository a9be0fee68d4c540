"""The event list: a 4-ary heap of rows (time, tie, what), ordered by time, then by tie, then by `what`.

`what` begins with the number of the event, modulo 2^32: of two that agree in time and tie, the difference of the two
columns, in wrapping arithmetic, is negative where the first was scheduled first.

LaMarca and Ladner, "The influence of caches on the performance of heaps" (1996): four children to a node keep a
node's children in one or two cache lines.
"""

from __future__ import annotations

from model.rng.compiled import inlined


@inlined
def heap_push(heap, size, time, tie, what):  # type: ignore[no-untyped-def]
    """Insert the latest event into a heap of `size` rows; the caller increments the size."""
    i = size
    while i > 0:
        parent = (i - 1) >> 2
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
    i = 0
    while True:
        first = 4 * i + 1
        if first >= size:
            break
        least = first
        for child in range(first + 1, min(first + 4, size)):
            if heap[child, 0] < heap[least, 0] or (
                heap[child, 0] == heap[least, 0]
                and (
                    heap[child, 1] < heap[least, 1]
                    or (heap[child, 1] == heap[least, 1] and heap[child, 2] - heap[least, 2] < 0)
                )
            ):
                least = child
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
