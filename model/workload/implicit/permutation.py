"""A keyed permutation of 0 .. n - 1 and its inverse: who sits where, without a table.

A Feistel network over the bits of n - 1, with cycle walking for what lies beyond (Black and Rogaway, "Ciphers with
arbitrary finite domains", 2002); four rounds of a good hash look random (Luby and Rackoff, 1988). It takes less than
two walks on average, since fewer than half of the numbers of as many bits lie beyond.

The strata of a block of accounts are a second, small permutation: of 256 places, by a line modulo 256.
"""

from __future__ import annotations

import numpy as np

from model.rng.compiled import inlined
from model.rng.philox import purpose_key
from model.workload.implicit.columns import U_LEFT_BITS, U_RIGHT_BITS, U_ROUND_KEYS, U_USERS
from model.workload.implicit.hashing import hash64

ROUNDS = 4
STRATA = 256
"""Accounts of a block, one of each stratum."""

KEY_MASK = (1 << 62) - 1
"""Keys are added to numbers below 2^62, and the sum must not overflow."""
_ONE = np.int64(1)


def key_of(seed: int, purpose: str) -> int:
    """A 62-bit key, not negative."""
    return purpose_key(seed, purpose) & KEY_MASK


def describe_permutation(users: int, seed: int) -> dict[int, int]:
    """The columns of `crowd` that the permutation reads."""
    bits = max((users - 1).bit_length(), 2)
    keys = {U_ROUND_KEYS + i: key_of(seed, f"population.seats.{i}") for i in range(ROUNDS)}
    return {U_USERS: users, U_LEFT_BITS: bits // 2, U_RIGHT_BITS: bits - bits // 2, **keys}


@inlined
def seat_of(crowd, user):  # type: ignore[no-untyped-def]
    """Where `user` sits: the permutation."""
    right_bits = crowd[U_RIGHT_BITS]
    left_mask = (_ONE << crowd[U_LEFT_BITS]) - 1
    right_mask = (_ONE << right_bits) - 1
    x = user
    while True:
        left = x >> right_bits
        right = x & right_mask
        left ^= hash64(right + crowd[U_ROUND_KEYS]) & left_mask
        right ^= hash64(left + crowd[U_ROUND_KEYS + 1]) & right_mask
        left ^= hash64(right + crowd[U_ROUND_KEYS + 2]) & left_mask
        right ^= hash64(left + crowd[U_ROUND_KEYS + 3]) & right_mask
        x = (left << right_bits) | right
        if x < crowd[U_USERS]:
            return x


@inlined
def user_at(crowd, seat):  # type: ignore[no-untyped-def]
    """Who sits at `seat`: the inverse."""
    right_bits = crowd[U_RIGHT_BITS]
    left_mask = (_ONE << crowd[U_LEFT_BITS]) - 1
    right_mask = (_ONE << right_bits) - 1
    x = seat
    while True:
        left = x >> right_bits
        right = x & right_mask
        right ^= hash64(left + crowd[U_ROUND_KEYS + 3]) & right_mask
        left ^= hash64(right + crowd[U_ROUND_KEYS + 2]) & left_mask
        right ^= hash64(left + crowd[U_ROUND_KEYS + 1]) & right_mask
        left ^= hash64(right + crowd[U_ROUND_KEYS]) & left_mask
        x = (left << right_bits) | right
        if x < crowd[U_USERS]:
            return x


@inlined
def stratum_of(key, block, place):  # type: ignore[no-untyped-def]
    """The stratum 0 .. 255 of the account at `place` 0 .. 255 of a block."""
    h = hash64(block + key)
    return (((h & 255) | 1) * place + ((h >> 8) & 255)) & 255


@inlined
def place_of(key, block, stratum):  # type: ignore[no-untyped-def]
    """The place of the account of a block that has this stratum: the inverse."""
    h = hash64(block + key)
    factor = (h & 255) | 1
    inverse = factor  # right in its lowest three bits; each step doubles them (Newton)
    inverse = (inverse * (2 - factor * inverse)) & 255
    inverse = (inverse * (2 - factor * inverse)) & 255
    return (inverse * (stratum - ((h >> 8) & 255))) & 255
