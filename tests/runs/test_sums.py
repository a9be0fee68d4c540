"""Sums by key against a dictionary."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.runs.sums import KeyedSums

# Near keys take the dense way, far ones the sorted way.
keys = st.one_of(st.integers(-50, 50), st.integers(-(2**61), 2**61))
rows = st.lists(st.tuples(keys, st.integers(-(2**40), 2**40)))


@given(st.lists(rows))
def test_sums_are_exact_whatever_the_chunks(chunks: list[list[tuple[int, int]]]) -> None:
    sums = KeyedSums(2)
    expected: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for chunk in chunks:
        sums.add(np.array([key for key, _ in chunk], np.int64), 1, np.array([value for _, value in chunk], np.int64))
        for key, value in chunk:
            expected[key][0] += 1
            expected[key][1] += value
    found_keys, found = sums.collect()
    assert found_keys.tolist() == sorted(expected)
    assert found.tolist() == [expected[key] for key in sorted(expected)]


def test_many_chunks_are_merged_on_the_way() -> None:
    sums = KeyedSums(1)
    for _ in range(40):
        sums.add(np.arange(100_000), 1)
    assert len(sums._keys) < 15
    assert (sums.collect()[1] == 40).all()
