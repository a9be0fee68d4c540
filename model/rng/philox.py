"""Philox4x32-10, the counter-based generator behind every draw of the engine.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC'11). A draw is a pure function of
(seed, purpose, entity, attempt, draw): it does not depend on the order of events, so a new consumer shifts nobody's
draws and two configurations see common random numbers. The functions are plain Python that numba compiles; the
known-answer vectors of the paper's reference code are tested both ways.
"""

from __future__ import annotations

import hashlib

import numpy as np

from model.rng.compiled import inlined

_M0 = np.uint64(0xD2511F53)
_M1 = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_12 = np.uint64(12)
_TO_UNIT = 2.0**-52


@inlined
def philox4x32(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Ten rounds over four 32-bit counters and two 32-bit keys, all held in uint64; returns four 32-bit words."""
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ k0, p1 & _LOW, (p0 >> _32) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@inlined
def u01(key, entity, attempt, draw):  # type: ignore[no-untyped-def]
    """A uniform number in (0, 1), the centre of one of 2^52 cells, for a 64-bit `key` from `purpose_key`."""
    e = np.uint64(entity)
    k = np.uint64(key)
    a, b, _, _ = philox4x32(e & _LOW, e >> _32, np.uint64(draw) & _LOW, np.uint64(attempt) & _LOW, k & _LOW, k >> _32)
    return (np.float64(((a << _32) | b) >> _12) + 0.5) * _TO_UNIT


@inlined
def u01_pair(key, entity, attempt):  # type: ignore[no-untyped-def]
    """Two independent uniform numbers in (0, 1) from one block; the first is that of `u01` with draw 0."""
    e = np.uint64(entity)
    k = np.uint64(key)
    zero = np.uint64(0)
    a, b, c, d = philox4x32(e & _LOW, e >> _32, zero, np.uint64(attempt) & _LOW, k & _LOW, k >> _32)
    first = (np.float64(((a << _32) | b) >> _12) + 0.5) * _TO_UNIT
    return first, (np.float64(((c << _32) | d) >> _12) + 0.5) * _TO_UNIT


def purpose_key(seed: int, purpose: str) -> int:
    """The 64-bit key of one purpose under one root seed (a signed value, as arrays of int64 hold it)."""
    digest = hashlib.blake2b(purpose.encode(), key=seed.to_bytes(8, "little"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
