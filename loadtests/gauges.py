"""Samples of the backend's inner state beside a running load, taken cheaply from the generator's core."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import psycopg

from loadtests.queues import queue_of
from model.runs.builder import RunBuilder
from model.spec.steps import Process
from real_backend.config import BackendConfig
from real_backend.stack import speedometer
from real_backend.stack.usage import ProcessUsage

INTERVAL_S = 0.25
HOST = "backend"
"""The label of the utilisation of the backend's core."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one gauge; see model.runs for the names."""

    gauge: str
    label: str
    value: float


class Source(Protocol):
    """Reads one part of the backend. `now_s` is the time of the reading."""

    def read(self, now_s: float) -> Iterable[Sample]: ...
    def close(self) -> None: ...


class CpuSource:
    """Share of one core that each kind of process used since the previous reading, and each process where there are
    several of a kind; their sum on the backend's core; how often they were woken.

    `usage` gives totals by process name; `kinds` the kind of each; `on_backend_core` the kinds that run there.
    """

    def __init__(
        self,
        usage: Callable[[], Mapping[str, ProcessUsage]],
        kinds: dict[str, Process],
        on_backend_core: frozenset[Process],
    ) -> None:
        self._usage = usage
        self._kinds = kinds
        self._on_backend_core = on_backend_core
        self._last: tuple[float, Mapping[str, ProcessUsage]] | None = None

    def read(self, now_s: float) -> Iterable[Sample]:
        usage = self._usage()
        taken_s = time.monotonic()
        last, self._last = self._last, (taken_s, usage)
        if last is None:
            return
        shares = dict.fromkeys(self._kinds.values(), 0.0)
        wakes = dict.fromkeys(self._kinds.values(), 0.0)
        several = {kind for kind, count in Counter(self._kinds.values()).items() if count > 1}
        for name, used in usage.items():
            before = last[1].get(name, ProcessUsage(0.0, 0))
            share = (used.cpu_s - before.cpu_s) / (taken_s - last[0])
            shares[self._kinds[name]] += share
            if self._kinds[name] in several:
                yield Sample("utilisation", name, share)
            wakes[self._kinds[name]] += (used.wakes - before.wakes) / (taken_s - last[0])
        for kind, share in shares.items():
            yield Sample("utilisation", kind.value, share)
            yield Sample("wakes_per_s", kind.value, wakes[kind])
        yield Sample("utilisation", HOST, sum(shares[kind] for kind in shares if kind in self._on_backend_core))

    def close(self) -> None:
        self._last = None


class SpeedSource:
    """The speed of the backend's core since the previous reading, by the rig's speedometer."""

    def __init__(self, counts: Callable[[], tuple[int, float] | None]) -> None:
        self._counts = counts
        self._last: tuple[int, float] | None = None

    def read(self, now_s: float) -> Iterable[Sample]:
        last, self._last = self._last, self._counts()
        speed = speedometer.speed(last, self._last)
        if speed > 0:
            yield Sample("core_speed", HOST, speed)

    def close(self) -> None:
        self._last = None


class OutboxSource:
    """Posts committed, but not yet handed to the broker."""

    def __init__(self, primary_url: str) -> None:
        self._primary = psycopg.connect(primary_url, autocommit=True)

    def length(self) -> int:
        return int(_one(self._primary, "SELECT count(*) FROM outbox"))

    def read(self, now_s: float) -> Iterable[Sample]:
        yield Sample("outbox_length", "", self.length())

    def close(self) -> None:
        self._primary.close()


class QueueSource:
    """Messages in the broker that no worker has finished (on RabbitMQ: that no worker has taken)."""

    def __init__(self, config: BackendConfig) -> None:
        self._queue = queue_of(config)

    def read(self, now_s: float) -> Iterable[Sample]:
        yield Sample("fanout_queue_length", "", self._queue.length())

    def close(self) -> None:
        self._queue.close()


class ReplicaLagSource:
    """How long the newest commit takes to be visible on each standby.

    A reading asks the primary for the end of its log, then each standby until it has replayed that far, for
    `PATIENCE_S` at most. The lag lies between the last look that missed it and the first that found it; the middle
    is reported, 0 where the first look found it. A standby that is further behind is reported at its age: the time
    since the primary's log ended where the standby is now, from the earlier readings.
    """

    PATIENCE_S = 0.02
    _PAUSE_S = 0.0005

    def __init__(self, primary_url: str, standby_urls: Sequence[str]) -> None:
        self._primary = psycopg.connect(primary_url, autocommit=True)
        self._standbys = [psycopg.connect(url, autocommit=True) for url in standby_urls]
        self._history: deque[tuple[float, int]] = deque(maxlen=20_000)

    def read(self, now_s: float) -> Iterable[Sample]:
        if not self._standbys:
            return
        flushed = flushed_lsn(self._primary)
        flushed_s = time.monotonic()
        self._history.append((flushed_s, flushed))
        for i, standby in enumerate(self._standbys):
            yield Sample("replica_lag_s", f"standby{i}", self._lag_s(standby, flushed, flushed_s))

    def caught_up(self) -> bool:
        """Whether every standby has replayed the primary's whole log."""
        flushed = flushed_lsn(self._primary)
        return all(replayed_lsn(standby) >= flushed for standby in self._standbys)

    def close(self) -> None:
        for connection in (self._primary, *self._standbys):
            connection.close()

    def _lag_s(self, standby: psycopg.Connection[Any], flushed: int, flushed_s: float) -> float:
        missed_s = None
        while True:
            asked_s = time.monotonic()
            replayed = replayed_lsn(standby)
            if replayed >= flushed:
                return 0.0 if missed_s is None else (missed_s + asked_s) / 2 - flushed_s
            missed_s = asked_s
            if asked_s - flushed_s > self.PATIENCE_S:
                return asked_s - self._ended_s(replayed, asked_s)
            time.sleep(self._PAUSE_S)

    def _ended_s(self, replayed: int, now_s: float) -> float:
        """When the primary's log ended at `replayed`: between two readings in proportion to the log written."""
        later_s, later = now_s, replayed
        for taken_s, lsn in reversed(self._history):
            if lsn <= replayed:
                share = (replayed - lsn) / (later - lsn) if later > lsn else 1.0
                return taken_s + share * (later_s - taken_s)
            later_s, later = taken_s, lsn
        return later_s


class GaugeSampler:
    """Reads all sources every `interval_s` in a thread of its own, from `begin` on until it is left.

    An error of a source is raised on leaving.
    """

    def __init__(self, sources: Sequence[Source], interval_s: float = INTERVAL_S) -> None:
        self._sources = sources
        self._interval_s = interval_s
        self._samples: list[tuple[float, Sample]] = []
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def begin(self, start_ns: int) -> None:
        """The schedule begins at `start_ns` on the clock of `time.monotonic_ns`."""
        self._thread = threading.Thread(target=self._run, args=(start_ns,), name="gauges")
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        for source in self._sources:
            with contextlib.suppress(Exception):
                source.close()
        if self._error is not None:
            raise self._error

    def samples(self) -> list[tuple[float, Sample]]:
        """(time in seconds since the start, sample) in order of time."""
        return list(self._samples)

    def add_to(self, builder: RunBuilder) -> None:
        """All samples as gauges; those of the replica lag also as lags."""
        series: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
        for time_s, sample in self._samples:
            times, values = series.setdefault((sample.gauge, sample.label), ([], []))
            times.append(time_s)
            values.append(sample.value)
        for (gauge, label), (times, values) in series.items():
            builder.add_gauge(times, gauge, label, values)
            if gauge == "replica_lag_s":
                builder.add_lags("replica", label, _ns(times), _ns(values))

    def _run(self, start_ns: int) -> None:
        start_s, tick = start_ns * 1e-9, 0
        try:
            while True:
                due_s = start_s + tick * self._interval_s
                if self._stopping.wait(max(due_s - time.monotonic(), 0)):
                    return
                for source in self._sources:
                    now_s = time.monotonic() - start_s
                    self._samples += [(now_s, sample) for sample in source.read(now_s)]
                # A reading that took longer than the interval skips the instants it missed.
                tick = max(tick + 1, int((time.monotonic() - start_s) / self._interval_s))
        except Exception as error:
            self._error = error


def flushed_lsn(primary: psycopg.Connection[Any]) -> int:
    """The end of the primary's log, in bytes."""
    return int(_one(primary, "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint"))


def replayed_lsn(standby: psycopg.Connection[Any]) -> int:
    """How far a standby has replayed, in bytes."""
    return int(_one(standby, "SELECT (coalesce(pg_last_wal_replay_lsn(), '0/0') - '0/0')::bigint"))


def _one(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else 0


def _ns(seconds: Sequence[float]) -> list[int]:
    return [round(value * 1e9) for value in seconds]
