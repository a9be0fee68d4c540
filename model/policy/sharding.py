"""Which Redis shard holds a key: consistent hashing over a ring of virtual nodes (Karger et al., STOC'97).

Hashes are the upper 63 bits of splitmix64 (Steele, Lea, Flood, OOPSLA'14): never negative, so that plain Python,
numpy and numba, which types mixed signed and unsigned arithmetic as signed, agree on every comparison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY_RING = 0
KEY_TIMELINE = 1
"""A home timeline and what belongs to it; the ident is the user."""
KEY_POST = 2
"""A post's metadata hash; the ident is the post."""
KEY_HOT = 3
"""The list of a pulled author's newest posts; the ident is the author."""

_MASK = 0xFFFFFFFFFFFFFFFF
_KIND_BITS = 3
_VIRTUAL_NODE_BITS = 16


def hash64(key: int) -> int:
    """A 63-bit hash of a non-negative integer below 2**63: splitmix64 without its lowest bit."""
    # Each shift is masked to what a logical shift leaves: numba holds x in a signed word, Python in a wide one.
    x = (key + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ ((x >> 30) & 0x3FFFFFFFF)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ ((x >> 27) & 0x1FFFFFFFFF)) * 0x94D049BB133111EB) & _MASK
    return ((x ^ ((x >> 31) & 0x1FFFFFFFF)) >> 1) & 0x7FFFFFFFFFFFFFFF


def key_hash(kind: int, ident: int) -> int:
    """The ring position of a key: `kind` is one of the KEY_ constants, `ident` lies in 0 .. 2**60 - 1."""
    return hash64((ident << 3) | kind)


def ring_points(shards: int, virtual_nodes: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The ring: ascending positions int64[shards * virtual_nodes] and the shard that owns each, int32 likewise.

    A further shard only takes keys, it moves none between the others.
    """
    owners = np.repeat(np.arange(shards, dtype=np.int64), virtual_nodes)
    nodes = np.tile(np.arange(virtual_nodes, dtype=np.int64), shards)
    points = _key_hashes(KEY_RING, (owners << _VIRTUAL_NODE_BITS) | nodes)
    order = np.lexsort((owners, points))
    return points[order], owners[order].astype(np.int32)


def shard_of(key_hash: int, points: Sequence[int], owners: Sequence[int]) -> int:
    """The shard that owns a ring position: that of the first point at or after it, round the end to the first.

    `points` and `owners` are those of `ring_points`, as arrays or (faster in plain Python) as lists.
    """
    low = 0
    high = len(points)
    while low < high:
        middle = (low + high) >> 1
        if points[middle] < key_hash:
            low = middle + 1
        else:
            high = middle
    if low == len(points):
        low = 0
    return owners[low]


def shards_of(
    kind: int, idents: NDArray[np.integer], points: NDArray[np.int64], owners: NDArray[np.int32]
) -> NDArray[np.int32]:
    """`shard_of(key_hash(kind, ident), ...)` for an array of idents at once."""
    return owners[ring_positions(kind, idents, points)]


def ring_positions(kind: int, idents: NDArray[np.integer], points: NDArray[np.int64]) -> NDArray[np.int64]:
    """The index of the point that each key belongs to: the first at or after it, round the end to the first."""
    position = np.searchsorted(points, _key_hashes(kind, np.asarray(idents, np.int64)), side="left")
    return np.where(position == len(points), 0, position)


def _key_hashes(kind: int, idents: NDArray[np.int64]) -> NDArray[np.int64]:
    x = ((idents.astype(np.uint64) << np.uint64(_KIND_BITS)) | np.uint64(kind)) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)
