"""The keyed permutations: every place once, the inverse, and nothing left of the order that was."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from model.workload.implicit.columns import CROWD_COLUMNS
from model.workload.implicit.permutation import STRATA, describe_permutation
from tests.workload.implicit.compiled import seats_and_back, strata_and_back

SIZES = (2, 3, 10, 257, 4_096, 10_007, (1 << 16) + 1)


def permuted(users: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    crowd = np.zeros(CROWD_COLUMNS, np.int64)
    for column, value in describe_permutation(users, seed).items():
        crowd[column] = value
    seats, back = np.zeros(users, np.int64), np.zeros(users, np.int64)
    seats_and_back(crowd, seats, back)
    assert (back == np.arange(users)).all()
    return seats


@pytest.mark.parametrize("users", SIZES)
def test_every_seat_has_one_user_and_the_inverse_finds_it(users: int) -> None:
    for seed in (1, 2, 3):
        assert (np.sort(permuted(users, seed)) == np.arange(users)).all()


def test_neighbours_sit_anywhere() -> None:
    """Seats of consecutive users, and the distances between them, are uniform: 64 cells, chi-squared at 1e-4."""
    users = 100_003
    seats = permuted(users, 7)
    for values in (seats[:20_000], np.diff(seats)[:20_000] % users, seats[::16][:6_000]):
        observed = np.bincount(values * 64 // users, minlength=64)
        assert stats.chisquare(observed).pvalue > 1e-4
    assert (permuted(users, 8) == seats).mean() < 0.001


def test_a_block_has_every_stratum_once() -> None:
    first = []
    for block in (*range(300), 1 << 33, (13 << 40) + 5):
        strata, places = np.zeros(STRATA, np.int64), np.zeros(STRATA, np.int64)
        strata_and_back(np.int64(123_456_789_123), block, strata, places)
        assert (np.sort(strata) == np.arange(STRATA)).all()
        assert (places == np.arange(STRATA)).all()
        first.append(strata[0])
    assert len(np.unique(first)) > 120, "blocks are laid out alike"
