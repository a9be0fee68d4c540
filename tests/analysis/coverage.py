"""How often nominal 95 % intervals cover the truth: M/M/1 on the compiled engine, many macro-replications.

    python -m tests.analysis.coverage            print the table of docs/statistics.md
    python -m tests.analysis.coverage --write    and put it there

Every macro-replication is one use of a method, with seeds of its own. The queue starts as a Poisson arrival finds it in
steady state (PASTA): a geometric number of requests stands there at time 0, whose own latencies are not counted, and
the first request that counts comes at time 0, behind them. (The first arrival *after* an instant finds less.) So every
residence time is exponential with mean 1 / (mu - lambda), that of the first as much as that of the last.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.analysis.batches import batch_interval
from model.analysis.intervals import Interval, Sections
from model.analysis.precision import Figure, Precision, StoppingRule
from model.analysis.replicate import PILOTS, replication_seed
from model.analysis.warmup import Warmup, common_length_s, mser5
from model.engine import layout as c
from model.engine.dataplane import DataPlane
from model.engine.plant import Plant
from model.engine.program import serve
from model.rng import generator
from model.runs import Histogram
from tests.engine.arrivals import at

SERVICE_S = 1e-3
LOADS = (0.5, 0.8, 0.9)
MACROS = 1_000
BAND = (0.93, 0.97)
"""What the true coverage of a 95 % interval may be taken for; 1 000 macro-replications know it to +- 1.4 points."""
RELAXATIONS = 500
"""Requests per replication, over 1 / (1 - load)^2, the scale on which the queue forgets (in requests)."""
FIXED = 40
"""Replications of the fixed length."""
FEW = 10
"""Replications that are too little data at these lengths; reported, since that is what one is tempted to do."""
LONG = 60
"""Length of the one long run, in lengths of a replication."""
PARTS = 256
CROWD = 400
WARMED_LOAD = 0.8
"""The load at which replications begin with a crowd of `CROWD` requests, and their warm-up has to be found."""
Use = Callable[[float, int], dict[tuple[str, str], tuple[Interval, float]]]
"""Load and macro-replication -> (figure, method) -> interval, and the requests that it took."""
WITHIN = {"mean": 0.03, "p99": 0.05}
"""Relative precision asked of the sequential rule."""
PAGE = Path(__file__).resolve().parents[2] / "docs" / "statistics.md"
BEGIN, END = "<!-- measured: coverage -->\n", "<!-- end -->"

FEW_NAME, FIXED_NAME, SEQUENTIAL_NAME, LONG_NAME = (
    f"{FEW} replications", f"{FIXED} replications", "sequential", "one long run",
)  # fmt: skip
WARMED_NAME = f"{FIXED} replications, warm-up cut"
HELD = (FIXED_NAME, SEQUENTIAL_NAME, LONG_NAME, WARMED_NAME)
METHODS = (FEW_NAME, *HELD)
"""The methods that are held to `BAND`."""


@dataclass(frozen=True)
class Row:
    """What was found for one load, figure and method."""

    load: float
    statistic: str
    method: str
    requests: float
    """Requests per interval, on average."""
    sections: float
    """Replications or batches per interval, on average."""
    relative_half_width: float
    coverage: float
    above: float
    """Share of the intervals that lie below the truth."""

    def line(self) -> str:
        """The row of a Markdown table."""
        bold = "**" if self.method in HELD else ""
        return (
            f"| {self.load:g} | {self.statistic} | {self.method} | {self.requests:,.0f} | {self.sections:.1f} | "
            f"{100 * self.relative_half_width:.1f} % | {bold}{100 * self.coverage:.1f} %{bold} | "
            f"{100 * self.above:.1f} % |"
        )


def length(load: float) -> int:
    """Requests of one replication."""
    return round(RELAXATIONS / (1 - load) ** 2)


def residence_ns(load: float, requests: int, seed: int, present: int | None = None) -> npt.NDArray[np.int64]:
    """Residence times of `requests` arrivals at an M/M/1 queue, in order of leaving: one that has been running for
    ever, or one that begins with so many `present`."""
    random = generator(seed, "coverage")
    stationary = int(random.geometric(1 - load)) - 1
    present = stationary if present is None else present
    gaps_ns = random.exponential(1e9 * SERVICE_S / load, requests)
    gaps_ns[0] = 0
    times_ns = np.concatenate([np.zeros(present, np.int64), np.cumsum(gaps_ns).astype(np.int64)])
    plant = Plant()
    plant.step("work", SERVICE_S, law="exponential")
    plant.fifo("station")
    plant.endpoints.append([serve("work", on="station")])
    logged: list[npt.NDArray[np.int64]] = []
    plane = DataPlane(plant, seed, blocks=iter([at(times_ns)]), on_log=logged.append)
    plane.advance(1 << 61)
    plane.drain()
    rows = np.concatenate(logged)
    values: npt.NDArray[np.int64] = rows[rows[:, c.L_ORDINAL] >= present, c.L_VALUE]
    return values


def replications(load: float, macro: int) -> Iterator[Histogram]:
    """Independent replications without end; those of different macro-replications are independent too."""
    number = 0
    while True:
        yield Histogram.of(residence_ns(load, length(load), replication_seed(2 * macro, number + 1)))
        number += 1


def one_macro(load: float, macro: int) -> dict[tuple[str, str], tuple[Interval, float]]:
    """One interval of each method for each figure, with the requests that it took.

    The methods that use replications share them, as far as each goes.
    """
    found: dict[tuple[str, str], tuple[Interval, float]] = {}
    sections = {name: Sections(Figure(name, "delivery").q) for name in WITHIN}
    rules = {name: StoppingRule(Precision(Figure(name, "delivery"), within, 0.95)) for name, within in WITHIN.items()}
    for count, histogram in enumerate(replications(load, macro), start=1):
        for name, section in sections.items():
            section.add(histogram)
            interval = section.interval()
            if interval is None:
                continue  # the first few replications of a low load have too small a tail
            requests = float(count * length(load))
            if count in (FEW, FIXED):
                found[name, FEW_NAME if count == FEW else FIXED_NAME] = interval, requests
            if not rules[name].stopped and rules[name].ask(interval):
                found[name, SEQUENTIAL_NAME] = rules[name].precision.at_stop(interval), requests
        if count >= FIXED and all(rule.stopped for rule in rules.values()):
            break
    requests = LONG * length(load)
    values = residence_ns(load, requests, replication_seed(2 * macro + 1, 1))
    parts = [Histogram.of(part) for part in np.array_split(values, PARTS)]
    for name, section in sections.items():
        found[name, LONG_NAME] = batch_interval(parts, section.q).interval, float(requests)
    return found


def warmed_up(load: float, macro: int) -> dict[tuple[str, str], tuple[Interval, float]]:
    """As `one_macro`, for `FIXED` replications that begin with a queue of `CROWD` and are cut as `replicate` cuts."""
    seeds = [replication_seed(2 * macro, number + 1) for number in range(FIXED)]
    runs = [residence_ns(load, length(load), seed, CROWD) for seed in seeds]
    points = [mser5(values) for values in runs[:PILOTS]]
    cut = round(common_length_s([Warmup(point.observations, None, point.found) for point in points]))
    found = {}
    for name in WITHIN:
        sections = Sections(Figure(name, "delivery").q)
        for values in runs:
            sections.add(Histogram.of(values[cut:]))
        interval = sections.interval()
        assert interval is not None
        found[name, WARMED_NAME] = interval, float(FIXED * length(load))
    return found


def study(load: float, macros: int, threads: int = 1, use: Use = one_macro) -> list[Row]:
    """The rows of one load."""
    mean_s = SERVICE_S / (1 - load)
    truth = {"mean": mean_s, "p99": mean_s * math.log(100)}
    results: list[dict[tuple[str, str], tuple[Interval, float]]] = []
    with ThreadPoolExecutor(threads) as pool:
        for found in pool.map(lambda macro: use(load, macro), range(macros)):
            results.append(found)
    rows = []
    for name in WITHIN:
        for method in (each for each in METHODS if (name, each) in results[0]):
            intervals, requests = zip(*(found[name, method] for found in results), strict=True)
            rows.append(
                Row(
                    load, name, method, float(np.mean(requests)),
                    float(np.mean([each.sections for each in intervals])),
                    float(np.median([each.relative_half_width for each in intervals])),
                    float(np.mean([each.covers(truth[name]) for each in intervals])),
                    float(np.mean([each.high < truth[name] for each in intervals])),
                )
            )  # fmt: skip
    return rows


def table(rows: list[Row]) -> str:
    """Markdown."""
    head = ("load", "figure", "method", "requests", "replications or batches", "± (median)", "covers", "truth above")
    lines = [f"| {' | '.join(head)} |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join([*lines, *(row.line() for row in rows)]) + "\n"


def main() -> None:
    """The table, on stdout or in the docs."""
    parser = argparse.ArgumentParser(description="Coverage of nominal 95 % intervals on M/M/1")
    parser.add_argument("--macros", type=int, default=MACROS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--loads", type=float, nargs="+", default=LOADS)
    parser.add_argument("--write", action="store_true", help="put the table into docs/statistics.md")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for load in arguments.loads:
        began = time.monotonic()
        rows += study(load, arguments.macros, arguments.threads)
        if load == WARMED_LOAD:
            rows += study(load, arguments.macros, arguments.threads, warmed_up)
        sys.stderr.write(f"load {load:g}: {time.monotonic() - began:.0f} s\n")
    if arguments.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        PAGE.write_text(f"{before}{BEGIN}{table(rows)}{end}{after}", encoding="utf-8")
    sys.stdout.write(table(rows))


if __name__ == "__main__":
    main()
