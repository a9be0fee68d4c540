"""Philox against the known answers of its authors, compiled and as plain Python; its draws against the uniform law."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from model.rng import philox
from model.rng.philox import purpose_key

# Random123 (Salmon et al.), kat_vectors, philox4x32-10: counter, key, answer.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def plain(function: Any) -> Callable[..., Any]:
    """The Python function behind a compiled one, or the function itself where the JIT is off."""
    return getattr(function, "py_func", function)  # type: ignore[no-any-return]


@pytest.fixture(params=["compiled", "plain"])
def flavour(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "plain":
        monkeypatch.setattr(philox, "u01", plain(philox.u01))
        monkeypatch.setattr(philox, "philox4x32", plain(philox.philox4x32))
    return str(request.param)


@pytest.mark.usefixtures("flavour")
@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers(counter: tuple[int, ...], key: tuple[int, ...], answer: tuple[int, ...]) -> None:
    words = philox.philox4x32(*(np.uint64(word) for word in (*counter, *key)))
    assert tuple(int(word) for word in words) == answer


@pytest.mark.usefixtures("flavour")
def test_a_draw_is_made_of_the_first_two_words() -> None:
    """Entity, draw and attempt are the counter, the purpose's key is the key: the middle of a cell."""
    key, entity, attempt, draw = purpose_key(7, "work"), (1 << 40) + 5, 3, 11
    unsigned = key % 2**64
    counter = (entity & 0xFFFFFFFF, entity >> 32, draw, attempt)
    words = philox.philox4x32(*(np.uint64(word) for word in (*counter, unsigned & 0xFFFFFFFF, unsigned >> 32)))
    bits = (int(words[0]) << 32 | int(words[1])) >> 12
    assert philox.u01(np.int64(key), entity, attempt, draw) == (bits + 0.5) / 2**52


def test_compiled_and_plain_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [
        (np.int64(purpose_key(s, "x")), e, a, d) for s in (1, 2) for e in (0, 9, 2**40) for a in (0, 1) for d in (0, 7)
    ]
    compiled = [philox.u01(*each) for each in arguments]
    monkeypatch.setattr(philox, "philox4x32", plain(philox.philox4x32))
    assert [plain(philox.u01)(*each) for each in arguments] == compiled


def draws(n: int, axis: int) -> npt.NDArray[np.float64]:
    """`n` draws along one of entity (0), attempt (1) and draw (2)."""
    u01, key = philox.u01, np.int64(purpose_key(5, "uniform"))

    def along(values: npt.NDArray[np.float64]) -> None:
        for i in range(len(values)):
            values[i] = u01(key, i if axis == 0 else 3, i if axis == 1 else 4, i if axis == 2 else 5)

    values = np.empty(n)
    jit: Any = numba.njit
    jit(along)(values)
    return values


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["entity", "attempt", "draw"])
def test_draws_along_each_axis_are_uniform_and_independent(axis: int) -> None:
    values = draws(200_000, axis)
    assert 0 < values.min() < 1e-4
    assert 1 - 1e-4 < values.max() < 1
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    for lag in (1, 2, 64):
        assert abs(np.corrcoef(values[:-lag], values[lag:])[0, 1]) < 4 / np.sqrt(len(values))


def test_the_ends_are_never_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """A draw of 0 or 1 would have an infinite quantile."""
    for word in (0, 0xFFFFFFFF):
        monkeypatch.setattr(philox, "philox4x32", lambda *_, word=word: (np.uint64(word),) * 4)
        assert 0 < plain(philox.u01)(1, 2, 3, 4) < 1


def test_every_coordinate_counts() -> None:
    keys = [purpose_key(seed, purpose) for seed in (1, 2) for purpose in ("a", "b", "ab")]
    grid = itertools.product(keys, (0, 1, 2**32, 2**40), (0, 1), (0, 1))
    values = {philox.u01(np.int64(key), *rest) for key, *rest in grid}
    assert len(values) == len(keys) * 4 * 2 * 2


def test_purposes_have_different_keys() -> None:
    names = [f"{process}.{step}" for process in ("api", "redis", "db", "worker") for step in range(500)]
    keys = {purpose_key(seed, name) for seed in range(5) for name in names}
    assert len(keys) == 5 * len(names)
    assert all(-(2**63) <= key < 2**63 for key in keys)
