"""Cheap, always-on telemetry under the model's step names.

A process has one `Telemetry`; each request, message or background round has one `Trace`. A trace walks through its
steps: `mark(step, items)` says that everything since the previous mark was that step, so that a boundary costs one
clock reading. A scatter over several servers is one visit per server, written with `visit` and closed with `resume`.

How to read it: an API process answers `GET /telemetry`. The relay ("relay") and the workers ("worker0", ...) write
`telemetry-<name>.json` into the runtime folder once a second when something changed, and at once on SIGUSR1; the file
is replaced whole, and its `time_ns` says when. Both have the document of `Telemetry.document`. Counters only grow.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import os
import signal
import time
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final

import orjson

from model.spec.scenario import ENDPOINTS
from model.spec.steps import STEPS

STEP_NAMES: Final = tuple(STEPS)
STEP_CODES: Final = {name: code for code, name in enumerate(STEP_NAMES)}


def continued(step: int) -> int:
    """The code for more of a step that a trace has visited already: its time counts, but it is no further visit."""
    return step + len(STEP_NAMES)


LATENCY_BOUNDS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class StepCounter:
    """Totals of one step; `total_s` and `squares_s2` are the sums of the visits' residence times and their squares."""

    __slots__ = ("items", "squares_s2", "total_s", "visits")

    def __init__(self) -> None:
        self.visits = 0
        self.items = 0
        self.total_s = 0.0
        self.squares_s2 = 0.0


class RequestCounter:
    """Answers of one endpoint by HTTP status, and their latency as this process saw it."""

    __slots__ = ("buckets", "statuses", "total_s")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.total_s = 0.0

    def add(self, status: int, latency_s: float) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.buckets[bisect.bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1
        self.total_s += latency_s


class Telemetry:
    """The counters of one process. `reads` has one entry per standby, and one more at the end for the primary."""

    def __init__(self, name: str, standbys: int) -> None:
        self.name = name
        self.steps = [StepCounter() for _ in range(2 * len(STEP_NAMES))]
        """By step code; the second half holds what was `continued`."""
        self.requests = [RequestCounter() for _ in ENDPOINTS]
        self.reads = [0] * (standbys + 1)
        self.stale_reads = 0
        self.timeline_hits = 0
        self.timeline_misses = 0
        self.counters: dict[str, int] = {}
        """Further totals by name."""

    def count(self, name: str, amount: int = 1) -> None:
        self.counters[name] = self.counters.get(name, 0) + amount

    def document(self) -> dict[str, Any]:
        """Everything as plain values: steps that were visited, requests by endpoint and status, reads by server.

        An API step is synchronous work between two awaits, so its `total_s` is the event loop's own time;
        any other step's is a residence time as this process saw it, queueing and its own event loop included.
        """
        return {
            "name": self.name,
            "pid": os.getpid(),
            "time_ns": time.time_ns(),
            "steps": {
                name: {
                    "visits": counter.visits,
                    "items": counter.items,
                    "total_s": counter.total_s + self.steps[continued(code)].total_s,
                    "squares_s2": counter.squares_s2,
                }
                for code, name in enumerate(STEP_NAMES)
                if (counter := self.steps[code]).visits
            },
            "requests": {
                endpoint.value: {str(status): n for status, n in counter.statuses.items()}
                for endpoint, counter in zip(ENDPOINTS, self.requests, strict=True)
            },
            "reads": {**{f"standby{i}": n for i, n in enumerate(self.reads[:-1])}, "primary": self.reads[-1]},
            "stale_reads": self.stale_reads,
            "timeline_hits": self.timeline_hits,
            "timeline_misses": self.timeline_misses,
            "counters": self.counters,
        }


class Trace:
    """The walk of one request through its steps; `real_backend.spans.SpanTrace` also records spans."""

    __slots__ = ("_steps", "begun_ns", "last_ns")

    def __init__(self, telemetry: Telemetry) -> None:
        self._steps = telemetry.steps
        self.begun_ns = self.last_ns = perf_counter_ns()

    @property
    def elapsed_s(self) -> float:
        """From the beginning to the last mark."""
        return (self.last_ns - self.begun_ns) * 1e-9

    def finish(self, status: int) -> None:
        """The request was answered; only a trace with spans has anything left to do."""

    def mark(self, step: int, items: int = 0, server: str = "") -> None:
        """The step `step` took everything since the previous mark."""
        now = perf_counter_ns()
        elapsed_s = (now - self.last_ns) * 1e-9
        self.last_ns = now
        counter = self._steps[step]
        counter.visits += 1
        counter.items += items
        counter.total_s += elapsed_s
        counter.squares_s2 += elapsed_s * elapsed_s

    def visit(self, step: int, items: int = 0, server: str = "") -> None:
        """One visit of a scatter that began at the previous mark and ends now; the others are still under way."""
        elapsed_s = (perf_counter_ns() - self.last_ns) * 1e-9
        counter = self._steps[step]
        counter.visits += 1
        counter.items += items
        counter.total_s += elapsed_s
        counter.squares_s2 += elapsed_s * elapsed_s

    def resume(self) -> None:
        """The next step begins now."""
        self.last_ns = perf_counter_ns()


class TelemetryFile:
    """Writes a process's counters into the runtime folder: once a second when they changed, at once on SIGUSR1."""

    INTERVAL_S = 1.0

    def __init__(self, telemetry: Telemetry, folder: Path) -> None:
        self._telemetry = telemetry
        self._path = telemetry_path(folder, telemetry.name)
        self._written = -1

    def write(self) -> None:
        partial = self._path.with_name(self._path.name + ".partial")
        partial.write_bytes(orjson.dumps(self._telemetry.document()))
        partial.replace(self._path)

    async def run(self) -> None:
        """Until cancelled; the last state is written on the way out."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self.write)
        try:
            while True:
                visits = sum(counter.visits for counter in self._telemetry.steps)
                if visits != self._written:
                    self._written = visits
                    self.write()
                await asyncio.sleep(self.INTERVAL_S)
        finally:
            with contextlib.suppress(OSError):
                self.write()


def outcome_of(status: int) -> str:
    """What an HTTP status means: ok, missing (no such post), rejected (bad input) or failed (an error of ours)."""
    if status < 400:
        return "ok"
    if status == 404:
        return "missing"
    return "rejected" if status < 500 else "failed"


def telemetry_path(folder: Path, name: str) -> Path:
    return folder / f"telemetry-{name}.json"
