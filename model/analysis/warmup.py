"""Where the warm-up of a run ends: MSER-5.

White 1997, "An effective truncation heuristic for bias reduction in simulation output"; White, Cobb and Spratt 2000,
"A comparison of five steady-state truncation heuristics for simulation" (MSER on the means of batches of five).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from model.runs import Run

BATCH = 5
"""Observations per batch: the 5 of MSER-5."""
LEAST_BATCHES = 20
"""With fewer nothing is said."""
LEAST_KEPT = 5
"""Batches at the end that are never truncated: so few can agree with each other by chance."""


@dataclass(frozen=True, slots=True)
class Truncation:
    """How many observations at the beginning belong to the warm-up."""

    observations: int
    found: bool
    """False where the minimum lies in the second half or the series has fewer than 20 batches: the series is too short
    to tell. `observations` is then the best of the first half, which is no more than a guess."""


@dataclass(frozen=True, slots=True)
class Warmup:
    """The part at the beginning of a run that is not scored."""

    length_s: float
    """What is not scored: the later of the scenario's own warm-up and the truncation point, up to a whole window."""
    mser_s: float | None
    """The truncation point of MSER-5 in seconds since the start; None where it was not asked for."""
    found: bool
    """False where MSER-5 says that the run is too short."""


def common_length_s(pilots: Sequence[Warmup]) -> float:
    """The one warm-up that all replications of a scenario are scored after: the longest that MSER-5 found in a few.

    Not each its own. MSER-5 likes to cut a beginning that is slow by chance, so that runs which are cut at their own
    points have means that are too small: by 1.6 % on M/M/1 at load 0.8, where nothing needs to be cut at all. A point
    that hardly depends on a run's own luck does not do that. Pilots in which no end was found count only where that
    goes for half of them or more.
    """
    found = [pilot.length_s for pilot in pilots if pilot.found]
    return max(found if 2 * len(found) > len(pilots) else [pilot.length_s for pilot in pilots])


def mser5(series: npt.ArrayLike) -> Truncation:
    """The truncation point of a series float[n], in order of time, that minimises the squared standard error of the
    mean of what is kept, over batch means of 5.

    MSER(d) = sum over j > d of (Y_j - mean of those)^2 / (k - d)^2, for k batch means Y. A minimum in the second half
    means that the series is too short (White, Cobb and Spratt 2000).
    """
    values = np.asarray(series, np.float64)
    k = len(values) // BATCH
    if k < LEAST_BATCHES:
        return Truncation(0, found=False)
    means = values[: k * BATCH].reshape(k, BATCH).mean(axis=1)
    means -= means.mean()  # keeps the difference of two sums of squares small
    kept = np.arange(k, 0, -1)
    sums, squares = (np.cumsum(column[::-1])[::-1] for column in (means, means * means))
    errors = ((squares - sums * sums / kept) / kept**2)[: k - LEAST_KEPT]
    best = int(np.argmin(errors))
    if best > k // 2:
        return Truncation(BATCH * int(np.argmin(errors[: k // 2 + 1])), found=False)
    return Truncation(BATCH * best, found=True)


def warmup_of(run: Run) -> Warmup:
    """The warm-up of a run by MSER-5, no shorter than what the scenario states.

    Two series are looked at, and the later point counts: the latencies of the run's sample of requests in order of
    sending, and the work in the platform (requests in flight and messages in the queues) as it was sampled.
    """
    ends = []
    answered = run.requests.filter(pl.col("outcome") == "ok").sort("sent_s")
    if answered.height:
        ends.append(_end_s(answered["sent_s"].to_numpy(), answered["latency_s"].to_numpy()))
    work = backlog(run)
    if work.height >= LEAST_BATCHES * BATCH:  # with fewer samples of a short run the latencies have to do
        ends.append(_end_s(work["time_s"].to_numpy(), work["value"].to_numpy()))
    mser_s = max((end for end, _ in ends), default=0.0)
    windows = math.ceil(max(mser_s, run.scenario.warmup_s) / run.window_s - 1e-9)
    return Warmup(windows * run.window_s, mser_s, all(found for _, found in ends))


def scored_from(run: Run, warmup: Warmup) -> Run:
    """The same run, scored from the end of `warmup` on. Its digest is another one, since the scenario's warm-up is."""
    return replace(run, scenario=run.scenario.model_copy(update={"warmup_s": warmup.length_s}))


def backlog(run: Run) -> pl.DataFrame:
    """Requests in flight and messages in the queues, as sampled during the load: time_s, value."""
    rows = pl.concat([run.gauge(name) for name in ("in_flight", "outbox_length", "fanout_queue_length")])
    rows = rows.filter(pl.col("time_s") <= run.duration_s)
    return rows.group_by("time_s").agg(pl.col("value").sum()).sort("time_s")


def _end_s(times_s: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> tuple[float, bool]:
    point = mser5(values)
    return float(times_s[point.observations]) if point.observations else 0.0, point.found
