"""Reading the backend's own counters: what its processes did between two moments."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.runs.builder import RunBuilder
from model.spec.errors import MachineError
from model.spec.steps import STEPS, Process
from real_backend.lag_log import RECORD, lag_path
from real_backend.stack import Stack
from real_backend.telemetry import telemetry_path

_HTTP_TIMEOUT_S = 10.0
_FILE_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Reporter:
    """A process that keeps counters: an API process by its URL, relay and workers by their file and process id."""

    name: str
    kind: Process
    url: str = ""
    pid: int = 0


def reporters_of(stack: Stack) -> list[Reporter]:
    """The stack's processes that keep telemetry."""
    urls = dict(zip((f"api{i}" for i in range(len(stack.urls.api))), stack.urls.api, strict=True))
    return [
        Reporter(info.name, info.kind, url=urls.get(info.name, ""), pid=info.pids[0])
        for info in stack.processes
        if info.kind in (Process.API, Process.RELAY, Process.WORKER)
    ]


Documents = dict[str, dict[str, Any]]
"""The telemetry documents (see `real_backend.telemetry.Telemetry.document`) by process name."""


def read_all(reporters: Sequence[Reporter], folder: Path) -> Documents:
    """All documents as of now. Raises MachineError where a process does not report."""
    asked_ns = time.time_ns()
    for reporter in reporters:
        if not reporter.url:
            os.kill(reporter.pid, signal.SIGUSR1)
    return {
        reporter.name: _from_api(reporter) if reporter.url else _from_file(reporter, folder, asked_ns)
        for reporter in reporters
    }


def _from_api(reporter: Reporter) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"{reporter.url}/telemetry", timeout=_HTTP_TIMEOUT_S) as response:
            return dict(json.load(response))
    except (OSError, ValueError) as error:
        raise MachineError(f"{reporter.name} does not answer GET /telemetry: {error}") from None


def _from_file(reporter: Reporter, folder: Path, asked_ns: int) -> dict[str, Any]:
    path, deadline = telemetry_path(folder, reporter.name), time.monotonic() + _FILE_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            document = dict(json.loads(path.read_bytes()))
            if document["time_ns"] >= asked_ns:
                return document
        except (OSError, ValueError):
            pass
        time.sleep(0.01)
    raise MachineError(f"{reporter.name} has not written {path.name} within {_FILE_TIMEOUT_S:g} s")


def add_steps(builder: RunBuilder, reporters: Sequence[Reporter], before: Documents, after: Documents) -> None:
    """What each step did between two readings, under the kind of process that serves it.

    A read that the primary or a standby may serve is entered under "database": the reporter does not tell them apart.
    """
    for reporter in reporters:
        old, new = before[reporter.name]["steps"], after[reporter.name]["steps"]
        for step, totals in new.items():
            earlier: Mapping[str, float] = old.get(step, {})
            visits, items, total_s = (totals[key] - earlier.get(key, 0) for key in ("visits", "items", "total_s"))
            if visits:
                processes = STEPS[step].processes
                process = processes[0].value if len(processes) == 1 else "database"
                builder.add_step(step, process, int(visits), int(items), round(total_s * 1e9))


def add_counters(builder: RunBuilder, reporters: Sequence[Reporter], before: Documents, after: Documents) -> None:
    """Timeline hits and misses, reads by server and stale reads, summed over the API processes."""
    own = ("timeline_hits", "timeline_misses", "stale_reads")
    totals = dict.fromkeys((*own, "primary_reads", "standby_reads"), 0.0)
    for reporter in reporters:
        if reporter.kind is not Process.API:
            continue
        old, new = before[reporter.name], after[reporter.name]
        for name in own:
            totals[name] += new[name] - old[name]
        for server, reads in new["reads"].items():
            name = "primary_reads" if server == "primary" else "standby_reads"
            totals[name] += reads - old["reads"].get(server, 0)
    builder.counters.update(totals)


def visits(documents: Documents, step: str, key: str = "visits") -> int:
    """A step's visits (or items) summed over all processes."""
    return sum(int(document["steps"].get(step, {}).get(key, 0)) for document in documents.values())


@dataclass(frozen=True, eq=False)
class Lags:
    """What a process wrote into its lag log: when (ns since the epoch), how long after the commit (ns), how often."""

    time_ns: NDArray[np.int64]
    lag_ns: NDArray[np.int64]
    count: NDArray[np.int64]

    @classmethod
    def read(cls, folder: Path, process: str, since_ns: int) -> Lags:
        """What it wrote from `since_ns` (since the epoch) on."""
        try:
            raw = lag_path(folder, process).read_bytes()
        except OSError:
            raw = b""
        rows = np.frombuffer(raw[: len(raw) // RECORD.size * RECORD.size], dtype="<i8").reshape(-1, 3)
        rows = rows[(rows[:, 0] >= since_ns) & (rows[:, 2] > 0)]
        return cls(rows[:, 0].astype(np.int64), np.maximum(rows[:, 1], 0), rows[:, 2].astype(np.int64))
