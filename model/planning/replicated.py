"""One row per point from several replications of each, with intervals and with the change from the first point."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from model.analysis.intervals import mean_interval
from model.analysis.paired import paired_difference

_ALIKE = ("cost_per_h",)
"""The same in every replication."""
_VERDICTS = ("slos_met", "valid")
_MEDIANS = ("mser5_s",)

Row = Mapping[str, Any]


def aggregated(points: Sequence[Sequence[Row]]) -> list[dict[str, Any]]:
    """From the figures of every replication (same seeds, same order) of every point.

    A figure becomes its mean over the replications, and gets four companions: ``<figure>_half_width`` at 95 %;
    ``<figure>_change``, the mean of the paired differences from the first point, with ``<figure>_change_half_width``
    and ``<figure>_variance_reduction`` (see `model.analysis.paired`), None in the first row. A figure that one
    replication lacks is None. ``slos_met`` and ``valid`` hold where they hold in all, ``mser5_s`` is the median.
    """
    return [_row(rows, points[0], is_first=number == 0) for number, rows in enumerate(points)]


def _row(rows: Sequence[Row], base: Sequence[Row], *, is_first: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"replications": len(rows)}
    for name in rows[0]:
        values = [row[name] for row in rows]
        complete = all(value is not None for value in values)
        if name in _ALIKE:
            found[name] = values[0]
        elif name in _VERDICTS:
            found[name] = all(values) if complete else None
        elif name in _MEDIANS:
            found[name] = statistics.median(values) if complete else None
        else:
            before = [row[name] for row in base]
            comparable = complete and not is_first and all(value is not None for value in before)
            found |= _figure(name, values if complete else None, before if comparable else None)
    return found


def _figure(name: str, values: list[float] | None, before: list[float] | None) -> dict[str, float | None]:
    interval = mean_interval(values) if values is not None else None
    change = paired_difference(before, values) if before is not None and values is not None else None
    return {
        name: interval.value if interval else None,
        f"{name}_half_width": interval.half_width if interval else None,
        f"{name}_change": change.interval.value if change else None,
        f"{name}_change_half_width": change.interval.half_width if change else None,
        f"{name}_variance_reduction": change.variance_reduction if change else None,
    }
