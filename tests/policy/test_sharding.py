"""Sharding: known hashes, one answer in every form, a balanced ring that moves little."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.policy import KEY_HOT, KEY_POST, KEY_TIMELINE, hash64, key_hash, ring_points, shard_of, shards_of
from model.rng.compiled import njit

hash64_njit = njit(hash64)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0xE220A8397B1DCDAF), (1, 0x6E789E6AA1B965F4), (2, 0x06C45D188009454F), (3, 0xF88BB8A8724C81EC)],
)
def test_hash_is_splitmix64_without_the_lowest_bit(step: int, expected: int) -> None:
    """The published outputs of splitmix64 for seed 0: its n-th output hashes n times the golden gamma."""
    key = step * 0x9E3779B97F4A7C15 % 2**64
    assert hash64(key) == expected >> 1


@given(st.integers(0, 2**63 - 1))
def test_hash_compiled_equals_plain(key: int) -> None:
    assert hash64_njit(key) == hash64(key)
    assert hash64_njit(np.int64(key)) == hash64(key)
    assert 0 <= hash64(key) < 2**63


def test_shard_compiled_and_vectorised_equal_plain() -> None:
    hash_of, shard = njit(hash64), njit(shard_of)
    points, owners = ring_points(5, 64)
    idents = np.concatenate((np.arange(500), np.array([2**31, 2**40 + 7, 2**60 - 1])))
    listed = points.tolist(), owners.tolist()
    for kind in (KEY_TIMELINE, KEY_POST, KEY_HOT):
        plain = [shard_of(key_hash(kind, ident), *listed) for ident in idents.tolist()]
        assert [shard_of(key_hash(kind, ident), points, owners) for ident in idents.tolist()] == plain  # type: ignore[arg-type]
        assert [shard(hash_of((ident << 3) | kind), points, owners) for ident in idents.tolist()] == plain
        assert shards_of(kind, idents, points, owners).tolist() == plain


def test_ring_ends_meet() -> None:
    points, owners = [10, 20], [7, 8]
    answers = [shard_of(position, points, owners) for position in (0, 10, 11, 20, 21)]
    assert answers == [7, 7, 8, 8, 7]
    assert {shard_of(key_hash(KEY_POST, i), *ring_points(1, 1)) for i in range(50)} == {0}  # type: ignore[arg-type]


@pytest.mark.parametrize(("shards", "virtual_nodes"), [(3, 128), (8, 256), (16, 512)])
def test_ring_is_balanced(shards: int, virtual_nodes: int) -> None:
    """A shard's share of the ring has a standard deviation of about 1/sqrt(virtual nodes) of its mean."""
    owners = shards_of(KEY_TIMELINE, np.arange(200_000), *ring_points(shards, virtual_nodes))
    counts = np.bincount(owners, minlength=shards)
    worst = np.abs(counts / counts.mean() - 1).max()
    assert worst < 3.5 / np.sqrt(virtual_nodes)


def test_balance_of_hashes_without_the_ring() -> None:
    """Consecutive idents fill 64 equal bins like a multinomial draw: chi-squared within six standard deviations."""
    keys = np.array([key_hash(KEY_POST, ident) for ident in range(64_000)])
    counts = np.bincount(keys >> 57, minlength=64)
    chi2 = float(((counts - 1000.0) ** 2 / 1000.0).sum())
    assert abs(chi2 - 63) < 6 * np.sqrt(2 * 63)


def test_a_further_shard_moves_only_its_own_share() -> None:
    idents = np.arange(50_000)
    before, after = (shards_of(KEY_POST, idents, *ring_points(shards, 256)) for shards in (4, 5))
    moved = before != after
    assert set(after[moved].tolist()) == {4}
    assert 0.12 < moved.mean() < 0.28
