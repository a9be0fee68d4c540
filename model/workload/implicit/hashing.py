"""`model.policy.hash64` as compiled code computes it: the same answers, in unsigned words.

Compiled as it stands, the shared function multiplies signed words, whose overflow the optimiser may take for
impossible: where it knew the range of the argument (an account from an array of int32) it made a constant of the hash.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import config
from numba.extending import overload, register_jitable

from model.policy import sharding
from model.rng.compiled import inlined

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_30, _27, _31, _1 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(1)


@inlined
def unsigned_hash64(key):  # type: ignore[no-untyped-def]
    """splitmix64 without its lowest bit, as int64."""
    x = np.uint64(key) + _GOLDEN
    x = (x ^ (x >> _30)) * _FIRST
    x = (x ^ (x >> _27)) * _SECOND
    return np.int64((x ^ (x >> _31)) >> _1)


@overload(sharding.hash64)
def _hash64(key):  # type: ignore[no-untyped-def]
    return lambda key: unsigned_hash64(key)


def _plain_hash64(key: int) -> int:
    return sharding.hash64(int(key))  # tables hold words of 64 bits, which would overflow


register_jitable(sharding.key_hash)
hash64: Any = _plain_hash64 if config.DISABLE_JIT else unsigned_hash64  # type: ignore[attr-defined]
key_hash: Any = sharding.key_hash
