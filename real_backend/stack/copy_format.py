"""PostgreSQL's binary COPY format straight from numpy arrays, a whole chunk of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
CHUNK_ROWS = 100_000


def copy_arrays(cursor: psycopg.Cursor[Any], table: str, columns: Mapping[str, NDArray[Any]]) -> None:
    """Fill `table`, which must have been truncated in this transaction, with one row per array element.

    `columns` maps column names to arrays of one length: int32 (integer), int64 (bigint, or microseconds since 2000 for
    timestamptz) or fixed-width bytes (text). Rows are frozen: visible to all without later hint-bit writes.
    """
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN WITH (FORMAT binary, FREEZE)"
    with cursor.copy(statement.encode()) as copy:
        copy.write(HEADER)
        for chunk in _chunks(list(columns.values())):
            copy.write(chunk)
        copy.write(TRAILER)


def _chunks(arrays: list[NDArray[Any]]) -> Iterator[bytes]:
    layout: list[tuple[str, str]] = [("fields", ">i2")]
    for i, array in enumerate(arrays):
        value = f"S{array.dtype.itemsize}" if array.dtype.kind == "S" else f">i{array.dtype.itemsize}"
        layout += [(f"length{i}", ">i4"), (f"value{i}", value)]
    for first in range(0, len(arrays[0]), CHUNK_ROWS):
        last = min(first + CHUNK_ROWS, len(arrays[0]))
        rows = np.zeros(last - first, dtype=np.dtype(layout))
        rows["fields"] = len(arrays)
        for i, array in enumerate(arrays):
            rows[f"length{i}"] = array.dtype.itemsize
            rows[f"value{i}"] = array[first:last]
        yield rows.tobytes()
