"""Sums of integers by an integer key, added chunk by chunk: what a Run's counting tables are collected in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]

_DENSE_KEYS = 1 << 22
_PENDING_ROWS = 1 << 20


class KeyedSums:
    """Exact 64-bit sums of `width` columns by key. Adding costs about 0.1 us a row; memory is that of the keys seen."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._keys: list[Int64s] = []
        self._sums: list[Int64s] = []
        self._pending = 0

    def add(self, keys: Int64s, *columns: Int64s | int) -> None:
        """Add `columns` (arrays of the keys' length, or one number for all) to the sums of `keys`."""
        if not len(keys):
            return
        compact, sums = _grouped(keys, columns)
        self._keys.append(compact)
        self._sums.append(sums)
        self._pending += len(compact)
        if self._pending > _PENDING_ROWS:
            self.collect()
            # Keys that do not repeat cannot be merged away: wait for as many again.
            self._pending = 0

    def collect(self) -> tuple[Int64s, Int64s]:
        """(keys i64[n] ascending, sums i64[n, width])."""
        if not self._keys:
            return np.zeros(0, np.int64), np.zeros((0, self._width), np.int64)
        if len(self._keys) > 1:
            keys, sums = np.concatenate(self._keys), np.concatenate(self._sums)
            compact, merged = _grouped(keys, tuple(sums.T))
            self._keys, self._sums = [compact], [merged]
        return self._keys[0], self._sums[0]


def _grouped(keys: Int64s, columns: tuple[Int64s | int, ...]) -> tuple[Int64s, Int64s]:
    """Unique keys, ascending, and the sums of each column by them."""
    first = int(keys.min())
    span = int(keys.max()) - first + 1
    if span <= max(_DENSE_KEYS, 8 * len(keys)):
        place = keys - first
        times = np.bincount(place, minlength=span)
        used = np.flatnonzero(times)
        dense = [_dense_sums(place, column, times) for column in columns]
        return used + first, np.stack([column[used] for column in dense], axis=1)
    unique, place = np.unique(keys, return_inverse=True)
    times = np.bincount(place)
    return unique, np.stack([_dense_sums(place, column, times) for column in columns], axis=1)


def _dense_sums(place: Int64s, column: Int64s | int, times: Int64s) -> Int64s:
    if isinstance(column, int):
        return column * times
    sums = np.zeros(len(times), np.int64)
    np.add.at(sums, place, column)
    return sums
