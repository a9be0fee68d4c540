"""One platform through the engine and the reference: the same log, row by row, and the same books."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from model.engine import layout as c
from model.engine.dataplane import Sessions
from model.engine.plant import Plant
from tests.engine.arrivals import Arrivals
from tests.engine.planes import Recorded
from tests.reference.model import Reference, Row
from tests.reference.stations import Pool, Station

Request = tuple[int, int, int, int]
"""Instant in ns, endpoint, user, target."""


class Controlled(Protocol):
    """What a control process can do to a platform, in the engine and in the reference."""

    def pause(self, station: int) -> None: ...
    def resume(self, station: int) -> None: ...
    def slow_down(self, station: int, factor: float) -> None: ...
    def slow_down_host(self, host: str, factor: float) -> None: ...
    def set_servers(self, station: int, servers: int) -> None: ...
    def switch(self, name: str, on: bool) -> None: ...


Action = Callable[[Controlled], None]


@dataclass(frozen=True)
class Platform:
    """What both are given. `build` fills a fresh Plant each time; `data` are copied."""

    build: Callable[[Plant], None]
    requests: Sequence[Request] = ()
    sessions: Sequence[Sequence[tuple[int, int, int, int]]] = ()
    """Closed mode: endpoint, user, target and think time in ns of each request of each session."""
    actions: Sequence[tuple[int, Action]] = ()
    """Control, by its instant in ns."""
    until_ns: int = 1 << 50
    seed: int = 1
    settings: Mapping[int, int] = field(default_factory=dict)
    data: Mapping[str, Any] | None = None
    stalls: tuple[float, str] | None = None
    shards: int = 1

    def plant(self) -> Plant:
        plant = Plant()
        self.build(plant)
        return plant

    def options(self) -> dict[str, Any]:
        """The arguments that both take."""
        data = {name: array.copy() for name, array in self.data.items()} if self.data is not None else None
        settings = {c.SET_TRACE_MASK: 0, **self.settings}
        return {"settings": settings, "data": data, "stalls": self.stalls, "shards": self.shards}


Blocks = Callable[[Arrivals], Iterable[Arrivals]]


def recorded_plane(platform: Platform, in_blocks: Blocks = lambda arrivals: [arrivals]) -> Recorded:
    """The platform in the compiled engine, before its first event."""
    columns = np.array(platform.requests, np.int64).reshape(-1, 4).T
    blocks = None if platform.sessions else in_blocks(Arrivals(0, columns[0], columns[1], columns[2], columns[3]))
    options = platform.options()
    if platform.sessions:
        endpoint, user, target, think_ns = np.moveaxis(np.array(platform.sessions, np.int64), -1, 0)
        options["sessions"] = Sessions(endpoint, user, target, think_ns)
    return Recorded(platform.plant(), blocks, platform.seed, **options)


def engine_run(platform: Platform, in_blocks: Blocks = lambda arrivals: [arrivals]) -> Recorded:
    """The platform in the compiled engine, run to its end."""
    run = recorded_plane(platform, in_blocks)
    for instant_ns, action in platform.actions:
        run.plane.advance(instant_ns)
        action(run.plane)
    run.plane.advance(platform.until_ns)
    return run


def reference_run(platform: Platform) -> Reference:
    """The platform in the reference model."""
    model = Reference(
        platform.plant(), platform.seed, requests=platform.requests, sessions=platform.sessions, **platform.options()
    )
    for instant_ns, action in platform.actions:
        model.advance(instant_ns)
        action(model)
    model.advance(platform.until_ns)
    return model


def rows_of(run: Recorded) -> list[Row]:
    """The engine's log with the names of the steps."""
    labels = run.plane.labels
    rows: list[Row] = []
    for kind, label, *rest in run.rows().tolist():
        rows.append((kind, labels[label] if kind == c.LOG_STEP else label, *rest))
    return rows


def engine_books(run: Recorded) -> dict[str, Any]:
    """What steps, stations, caches and limiters did."""
    plane = run.plane
    state = plane.state
    kinds = state.stations[:, c.S_KIND]
    columns = [c.S_BUSY_NS, c.S_VISITS, c.S_WAKES]
    counters = {
        "hits": c.X_HITS, "misses": c.X_MISSES, "expected": c.X_EXPECTED, "primary_reads": c.X_PRIMARY_READS,
        "standby_reads": c.X_STANDBY_READS, "stale_reads": c.X_STALE_READS, "posts": c.X_POSTS,
        "commits": c.X_COMMITTED,
    }  # fmt: skip
    names = plane.plant.cache_specs
    return {
        "steps": dict(zip(plane.plant.step_names, map(tuple, state.visits.tolist()), strict=True)),
        "stations": {
            row: tuple(state.stations[row, columns].tolist()) for row in range(len(kinds)) if kinds[row] != c.K_POOL
        },
        "waiting": state.stations[:, c.S_LENGTH].tolist(),
        "queues": state.queues[:, c.Q_LENGTH].tolist(),
        "caches": state.caches[: len(names), [c.CA_HITS, c.CA_MISSES, c.CA_EVICTED, c.CA_EXPIRED]].tolist(),
        "limiters": state.limiters[:, c.B_REFUSED].tolist(),
        "feed": {name: plane.scalar(column) for name, column in counters.items()},
    }


def reference_books(model: Reference) -> dict[str, Any]:
    """The same of the reference."""
    feed = model.feed
    return {
        "steps": {name: (step.visits, step.items, step.residence_ns) for name, step in model.steps.items()},
        "stations": {
            row: (station.busy_ns, station.visits, station.wakes if isinstance(station, Station) else 0)
            for row, station in enumerate(model.stations)
            if not isinstance(station, Pool)
        },
        "waiting": [len(station.waiting) for station in model.stations],
        "queues": [len(queue.messages) for queue in model.queues],
        "caches": [[cache.hits, cache.misses, cache.evicted, cache.expired] for cache in model.caches],
        "limiters": [limiter.refused for limiter in model.limiters],
        "feed": {**feed.counters, "commits": feed.commits} if feed is not None else None,
    }


def assert_agree(platform: Platform) -> Reference:
    """Both do the same, in the same order, to the nanosecond. Returns the reference's run."""
    run, model = engine_run(platform), reference_run(platform)
    ours, theirs = model.log, rows_of(run)
    for number, (expected, found) in enumerate(zip(ours, theirs, strict=False)):
        assert found == expected, f"row {number}; before it {ours[max(0, number - 5) : number]}"
    assert len(theirs) == len(ours)
    expected_books, books = reference_books(model), engine_books(run)
    for name, expected_book in expected_books.items():
        assert expected_book is None or books[name] == expected_book, name
    return model
