"""Streams by name: reproducible, distinct, and none shifts another."""

from __future__ import annotations

import numpy as np
import pytest

from model.rng import generator


def test_same_key_same_draws() -> None:
    assert np.array_equal(generator(7, "a", 3).random(50), generator(7, "a", 3).random(50))


def test_distinct_keys_distinct_draws() -> None:
    entities: list[tuple[int, ...]] = [(), (0,), (1,), (0, 0), (1, 0), (0, 1)]
    names = [(1, "a"), (2, "a"), (1, "b"), (12, "a"), (1, "2/a")]
    first = {float(generator(*name, *entity).random()) for name in names for entity in entities}
    assert len(first) == len(names) * len(entities)


def test_neighbouring_streams_are_uncorrelated() -> None:
    """64 neighbouring streams of 2 000 draws: pairwise correlations have a standard deviation of 1/sqrt(2000)."""
    draws = np.stack([generator(11, "x", i).random(2_000) for i in range(64)])
    correlations = np.asarray(np.corrcoef(draws))[np.triu_indices(64, 1)]
    assert abs(correlations.std() * np.sqrt(2_000) - 1) < 0.1
    assert np.abs(correlations).max() < 5 / np.sqrt(2_000)


def test_the_longest_entity() -> None:
    assert generator(1, "a", 2**63, 5, 2**40).random() != generator(1, "a", 2**63, 5, 0).random()
    with pytest.raises(ValueError, match="at most 3"):
        generator(1, "a", 1, 2, 3, 4)
    with pytest.raises(ValueError, match="non-negative"):
        generator(1, "a", -1)
