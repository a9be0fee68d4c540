"""What passes between the controller and the generator process: the schedule in, the records out.

Plain numpy files, so that neither side imports the other's machinery (the generator never loads numba, the
controller is never monkey-patched by gevent).
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Outcome(IntEnum):
    """How a request ended, as the client saw it."""

    OK = 0
    MISSING = 1
    """The post did not exist (yet); the backend said so."""
    HTTP_ERROR = 2
    TIMEOUT = 3
    CONNECTION_ERROR = 4


@dataclass(frozen=True, eq=False)
class OpenArrivals:
    """A materialised open-loop schedule of n requests, in order of time."""

    time_ns: NDArray[np.int64]
    endpoint: NDArray[np.uint8]
    user: NDArray[np.int32]
    target: NDArray[np.int64]

    def save(self, path: Path) -> None:
        np.savez(path, time_ns=self.time_ns, endpoint=self.endpoint, user=self.user, target=self.target)


@dataclass(frozen=True, eq=False)
class ClosedSessions:
    """S sessions of up to K requests each; every array is [S, K]. `think_ns` is the pause before a request."""

    endpoint: NDArray[np.uint8]
    user: NDArray[np.int32]
    target: NDArray[np.int64]
    think_ns: NDArray[np.int64]

    def save(self, path: Path) -> None:
        np.savez(path, think_ns=self.think_ns, endpoint=self.endpoint, user=self.user, target=self.target)


def load_schedule(path: Path) -> OpenArrivals | ClosedSessions:
    """Read what either `save` wrote."""
    with np.load(path) as arrays:
        rest = (arrays["endpoint"], arrays["user"], arrays["target"])
        if "think_ns" in arrays:
            return ClosedSessions(*rest, arrays["think_ns"])
        return OpenArrivals(arrays["time_ns"], *rest)


COLUMNS = ("segment", "ordinal", "endpoint", "scheduled_ns", "sent_ns", "latency_ns", "outcome")


class Recorder:
    """Collects one row per finished request; appending costs well under a microsecond a column."""

    def __init__(self) -> None:
        self._columns = {name: array("q") for name in COLUMNS}
        self._appends = tuple(column.append for column in self._columns.values())

    def __len__(self) -> int:
        return len(self._columns["ordinal"])

    def add(
        self, segment: int, ordinal: int, endpoint: int, scheduled_ns: int, sent_ns: int, latency_ns: int, outcome: int
    ) -> None:
        """Times are relative to the segment's start; latency runs from sent until the whole body was read."""
        row = (segment, ordinal, endpoint, scheduled_ns, sent_ns, latency_ns, outcome)
        for append, value in zip(self._appends, row, strict=True):
            append(value)

    def save(self, path: Path, info: Mapping[str, Any]) -> None:
        """Write all rows, in order of (segment, ordinal), with the generator's own figures beside them."""
        columns = {name: np.frombuffer(column, dtype=np.int64) for name, column in self._columns.items()}
        order = np.lexsort((columns["ordinal"], columns["segment"]))
        partial = path.with_name(path.name + ".partial.npz")
        arrays: dict[str, Any] = {name: column[order] for name, column in columns.items()}
        np.savez(partial, info=np.array(json.dumps(info)), **arrays)
        partial.replace(path)


@dataclass(frozen=True, eq=False)
class Records:
    """The finished requests of one generator process; all arrays [n]."""

    segment: NDArray[np.int64]
    ordinal: NDArray[np.int64]
    endpoint: NDArray[np.int64]
    scheduled_ns: NDArray[np.int64]
    sent_ns: NDArray[np.int64]
    latency_ns: NDArray[np.int64]
    outcome: NDArray[np.int64]
    info: Mapping[str, Any] = field(default_factory=dict)
    """See `loadtests.generator.Generator.info`."""

    @classmethod
    def load(cls, path: Path) -> Records:
        with np.load(path) as arrays:
            return cls(**{name: arrays[name] for name in COLUMNS}, info=json.loads(str(arrays["info"])))

    def __len__(self) -> int:
        return len(self.ordinal)

    @property
    def slip_ns(self) -> NDArray[np.int64]:
        """How late each request was sent."""
        return self.sent_ns - self.scheduled_ns
