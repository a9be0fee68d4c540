"""The tables of a Run: their columns, their canonical order, and their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from model.spec import InputError


@dataclass(frozen=True)
class Table:
    """One table: its columns with types, and the columns by which its rows are ordered (all before them are ties)."""

    columns: Mapping[str, pl.DataType]
    order: tuple[str, ...]

    def empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=dict(self.columns))

    def canonical(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Columns in order, of the right types, rows sorted, so that equal content is equal bytes."""
        missing = [name for name in self.columns if name not in frame.columns]
        if missing:
            raise InputError(f"column {missing[0]!r} is missing; expected {', '.join(self.columns)}")
        typed = frame.select(pl.col(name).cast(dtype) for name, dtype in self.columns.items())
        return typed.sort(self.order, maintain_order=True).rechunk()


def _columns(**types: type[pl.DataType]) -> dict[str, pl.DataType]:
    return {name: dtype() for name, dtype in types.items()}


TABLES: dict[str, Table] = {
    "latency": Table(
        _columns(basis=pl.String, endpoint=pl.String, window=pl.Int32, bucket=pl.Int32, count=pl.Int64),
        ("basis", "endpoint", "window", "bucket"),
    ),
    "totals": Table(
        _columns(
            endpoint=pl.String,
            window=pl.Int32,
            offered=pl.Int64,
            completed=pl.Int64,
            failed=pl.Int64,
            finished=pl.Int64,
            sum_sent_ns=pl.Int64,
            sum_scheduled_ns=pl.Int64,
        ),
        ("endpoint", "window"),
    ),
    "lags": Table(
        _columns(kind=pl.String, label=pl.String, window=pl.Int32, bucket=pl.Int32, count=pl.Int64, sum_ns=pl.Int64),
        ("kind", "label", "window", "bucket"),
    ),
    "gauges": Table(
        _columns(time_s=pl.Float64, gauge=pl.String, label=pl.String, value=pl.Float64),
        ("gauge", "label", "time_s", "value"),
    ),
    "steps": Table(
        _columns(step=pl.String, process=pl.String, visits=pl.Int64, items=pl.Int64, residence_ns=pl.Int64),
        ("step", "process"),
    ),
    "requests": Table(
        _columns(
            ordinal=pl.Int64,
            endpoint=pl.String,
            scheduled_s=pl.Float64,
            sent_s=pl.Float64,
            latency_s=pl.Float64,
            outcome=pl.String,
        ),
        ("ordinal",),
    ),
    "traces": Table(
        _columns(ordinal=pl.Int64, step=pl.String, branch=pl.Int64, begin_s=pl.Float64, residence_s=pl.Float64),
        ("ordinal", "begin_s", "branch", "step", "residence_s"),
    ),
}


def frame_digest(frame: pl.DataFrame) -> str:
    """A hash of names, types and values; independent of chunks and of the library's file format."""
    state = hashlib.sha256()
    for column in frame.iter_columns():
        state.update(f"{column.name}:{column.dtype}:{len(column)};".encode())
        if column.dtype == pl.String:
            names = column.unique().sort()
            state.update("\0".join(names.to_list()).encode() + b";")
            column = column.cast(pl.Enum(names)).to_physical().cast(pl.UInt32)
        state.update(column.to_numpy().tobytes())
    return state.hexdigest()
