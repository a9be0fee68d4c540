"""Consistent hashing with bounded loads: the cap, the order, few moves, the same answers compiled."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.policy import KEY_POST, assign_bounded, most_keys, ring_points, ring_positions, shards_of
from model.rng.compiled import njit


def place(keys: int, shards: int, most: int, virtual_nodes: int = 4) -> tuple[list[int], list[int]]:
    points, owners = ring_points(shards, virtual_nodes)
    loads, placed = [0] * shards, [0] * keys
    positions = ring_positions(KEY_POST, np.arange(keys), points)
    assign_bounded(positions.tolist(), owners.tolist(), most, loads, placed)
    return loads, placed


def test_a_full_shard_passes_on_to_the_next_with_room() -> None:
    owners = [0, 1, 0, 2]
    loads, placed = [0, 0, 0], [9] * 6
    assign_bounded([0, 0, 0, 3, 3, 1], owners, 2, loads, placed)
    # The third finds shard 0 full and goes to 1; the last finds 1 taken once, and stays.
    assert placed == [0, 0, 1, 2, 2, 1]
    assert loads == [2, 2, 2]
    more = [9, 9]
    assign_bounded([0, 2], owners, 2, loads, more)
    assert more == [-1, -1]
    assert loads == [2, 2, 2]


@given(st.integers(1, 300), st.integers(1, 12), st.floats(0.0, 3.0))
def test_no_shard_is_above_the_cap_and_every_key_has_one(keys: int, shards: int, epsilon: float) -> None:
    most = most_keys(keys, shards, epsilon)
    assert most * shards >= keys
    loads, placed = place(keys, shards, most)
    assert max(loads) <= most
    assert np.bincount(placed, minlength=shards).tolist() == loads


@pytest.mark.parametrize(("keys", "shards", "epsilon", "most"), [(100, 10, 0.1, 11), (7, 2, 0.0, 4), (10, 3, 0.5, 5)])
def test_the_cap_is_the_ceiling_of_the_decimal_product(keys: int, shards: int, epsilon: float, most: int) -> None:
    assert math.ceil((1 + 0.1) * 100 / 10) == 12  # what floats would make of it
    assert most_keys(keys, shards, epsilon) == most


def test_without_a_bound_it_is_the_plain_ring() -> None:
    _, placed = place(2_000, 7, most=2_000)
    assert placed == shards_of(KEY_POST, np.arange(2_000), *ring_points(7, 4)).tolist()


def test_compiled_equals_plain() -> None:
    compiled = njit(assign_bounded)
    points, owners = ring_points(9, 3)
    positions = ring_positions(KEY_POST, np.arange(500), points)
    loads, placed = np.zeros(9, np.int64), np.zeros(500, np.int64)
    compiled(positions, owners, most_keys(500, 9, 0.25), loads, placed)
    assert (loads.tolist(), placed.tolist()) == place(500, 9, most_keys(500, 9, 0.25), virtual_nodes=3)
