"""The compiled hash against the one that the backend calls, wherever its argument comes from."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from model.policy import KEY_TIMELINE
from model.policy import hash64 as plain_hash64
from model.policy import key_hash as plain_key_hash
from model.rng.compiled import njit
from model.workload.implicit.hashing import hash64, key_hash


@njit
def hash_all(keys, hashes, ring_positions):  # type: ignore[no-untyped-def]
    """Both hashes of every key, whose range the compiler knows from the array's type."""
    for i in range(len(keys)):
        hashes[i] = hash64(np.int64(keys[i]))
        ring_positions[i] = key_hash(KEY_TIMELINE, np.int64(keys[i]))


@njit
def hash_numbers(hashes):  # type: ignore[no-untyped-def]
    """The hashes of 0, 1, 2, ..., whose range the compiler knows from the loop."""
    for i in range(len(hashes)):
        hashes[i] = hash64(i)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint32, np.int64])
def test_the_compiled_hash_is_the_shared_one(dtype: Any) -> None:
    keys: npt.NDArray[Any] = np.array([0, 1, 61, 127, 255, 6_138, 149_999_999, 2**31 - 1, 2**40, 2**59]).astype(dtype)
    keys = keys[keys >= 0]
    hashes, positions = np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
    hash_all(keys, hashes, positions)
    assert hashes.tolist() == [plain_hash64(int(key)) for key in keys]
    assert positions.tolist() == [plain_key_hash(KEY_TIMELINE, int(key)) for key in keys]


def test_the_hash_of_a_counter_is_the_shared_one() -> None:
    hashes = np.zeros(1_000, np.int64)
    hash_numbers(hashes)
    assert hashes.tolist() == [plain_hash64(i) for i in range(1_000)]
