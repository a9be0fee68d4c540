"""What holds for every platform that can be drawn: conservation at every instant, no negative waits, determinism, and
that looking changes nothing."""

from __future__ import annotations

import copy
import heapq
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
import simpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import kernel
from model.engine import layout as c
from model.engine.dataplane import DataPlane
from model.engine.environment import Environment
from tests.engine.planes import IntArray, Recorded, in_blocks
from tests.reference.compared import Platform, engine_run, recorded_plane
from tests.reference.drawn import UNTIL_NS, Drawn, drawn_platforms

slow = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def everything(run: Recorded) -> tuple[bytes, ...]:
    """All that a run leaves: its log, what each step and station did, the number of events."""
    state = run.plane.state
    columns = [c.S_BUSY_NS, c.S_VISITS, c.S_WAKES, c.S_LENGTH]
    scalars = [c.X_EVENTS, c.X_ARRIVED, c.X_COMPLETED, c.X_FAILED, c.X_REJECTED, c.X_HITS, c.X_COMMITTED]
    return (
        run.rows().tobytes(),
        state.visits.tobytes(),
        state.stations[:, columns].tobytes(),
        state.caches.tobytes(),
        state.limiters.tobytes(),
        state.x[scalars].tobytes(),
    )


def check_books(plane: DataPlane) -> None:
    """What has arrived has ended or is under way, and every row of the tables is accounted for."""
    s = plane.state
    arrived, completed, in_flight = (plane.scalar(x) for x in (c.X_ARRIVED, c.X_COMPLETED, c.X_IN_FLIGHT))
    assert arrived == completed + in_flight
    assert min(completed, in_flight) >= 0
    assert plane.scalar(c.X_REJECTED) <= plane.scalar(c.X_FAILED) <= completed
    assert _free_rows(s.jobs, c.J_NEXT, plane.scalar(c.X_JOB_FREE)) + plane.scalar(c.X_JOB_COUNT) == len(s.jobs)
    flights = _free_rows(s.flights, c.F_CHAIN, plane.scalar(c.X_FLIGHT_FREE))
    assert flights + plane.scalar(c.X_FLIGHT_COUNT) == len(s.flights)
    assert in_flight <= plane.scalar(c.X_JOB_COUNT)
    assert int(s.queues[:, c.Q_LENGTH].sum()) == plane.scalar(c.X_MESSAGE_COUNT)
    serving = s.stations[np.isin(s.stations[:, c.S_KIND], [c.K_FIFO, c.K_POOL])]
    idle = (serving[:, c.S_LENGTH] > 0) & (serving[:, c.S_BUSY] < serving[:, c.S_SERVERS])
    assert not (idle & (serving[:, c.S_PAUSED] == 0)).any(), "a server idles while jobs wait"
    assert (serving[:, c.S_LENGTH] >= 0).all()
    fifo = serving[:, c.S_KIND] == c.K_FIFO
    # A token goes back to the pool that the job chooses then, which a path that is routed meanwhile makes another one.
    assert (serving[fifo, c.S_BUSY] >= 0).all()
    assert serving[~fifo, c.S_BUSY].sum() >= 0
    shared = s.hosts[:, c.H_SHARED] != 0
    used = np.where(shared, c.ANY_CORES, s.hosts[:, c.H_CORES]) - s.hosts[:, c.H_FREE]
    assert ((used >= 0) & (shared | (used <= s.hosts[:, c.H_CORES]))).all()
    assert (used[shared] == s.hosts[shared, c.H_SHARING]).all()
    assert ((s.hosts[:, c.H_HEAD] < 0) | (s.hosts[:, c.H_FREE] == 0)).all(), "a core idles while processes wait for it"
    assert (s.caches[:, c.CA_COUNT] <= s.caches[:, c.CA_CAPACITY]).all()


def _free_rows(table: IntArray, column: int, row: int) -> int:
    free = 0
    while len(table) and 0 <= row < len(table):
        free, row = free + 1, int(table[row, column])
    return free


def stopping(platform: Platform, stops: list[int], look: Callable[[DataPlane], None]) -> Recorded:
    """The engine's run, stopped at further instants to `look`; control goes first where both are due."""
    run = recorded_plane(platform)
    due: Iterator[tuple[int, int, Any]] = heapq.merge(
        ((instant, 0, action) for instant, action in platform.actions), ((stop, 1, look) for stop in sorted(stops))
    )
    for instant, _, act in due:
        run.plane.advance(instant)
        act(run.plane)
    run.plane.advance(platform.until_ns)
    return run


@given(drawn=drawn_platforms(), stops=st.lists(st.integers(0, 60_000), max_size=12))
@slow
def test_conservation_at_every_instant(drawn: Drawn, stops: list[int]) -> None:
    platform = drawn.platform()
    run = stopping(platform, stops, check_books)
    check_books(run.plane)
    rows = run.rows()
    assert (rows[:, c.L_VALUE] >= 0).all(), "somebody waited less than not at all"
    requests = rows[rows[:, c.L_KIND] == c.LOG_REQUEST]
    assert len(np.unique(requests[:, c.L_ORDINAL])) == len(requests) == run.plane.scalar(c.X_COMPLETED)
    if not platform.sessions:
        assert run.plane.scalar(c.X_ARRIVED) == len(platform.requests)
        arrived = np.array(platform.requests, np.int64).reshape(-1, 4)[requests[:, c.L_ORDINAL], 0]
        assert (requests[:, c.L_TIME] == arrived).all()


@given(drawn=drawn_platforms())
@slow
def test_the_same_seed_gives_the_same_run(drawn: Drawn) -> None:
    assert everything(engine_run(drawn.platform())) == everything(engine_run(drawn.platform()))


@given(drawn=drawn_platforms(), block=st.integers(1, 40))
@slow
def test_the_size_of_arrival_blocks_does_not_matter(drawn: Drawn, block: int) -> None:
    platform = drawn.platform()
    whole = engine_run(platform)
    parts = engine_run(platform, in_blocks=lambda arrivals: in_blocks(arrivals, block))
    assert everything(parts) == everything(whole)


@given(drawn=drawn_platforms(), stops=st.lists(st.integers(0, 60_000), min_size=5, max_size=40))
@slow
def test_a_look_changes_nothing(drawn: Drawn, stops: list[int]) -> None:
    readings: list[Any] = []

    def look(plane: DataPlane) -> None:
        s = plane.state
        readings.append(copy.deepcopy((s.x, s.stations, s.hosts, s.caches)))

    looked = stopping(drawn.platform(), stops, look)
    assert len(readings) == len(stops)
    assert everything(looked) == everything(engine_run(drawn.platform()))


@given(drawn=drawn_platforms(), period_ns=st.integers(500, 20_000))
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
def test_a_simpy_sampler_that_only_reads_changes_nothing(drawn: Drawn, period_ns: int) -> None:
    platform = drawn.platform()
    sampled = recorded_plane(platform)
    env = Environment(sampled.plane)
    readings: list[IntArray] = []

    def sample() -> Generator[simpy.Event, Any, None]:
        while env.now < 100_000e-9:
            state = sampled.plane.state
            readings.append(np.concatenate([state.x, state.stations[:, c.S_LENGTH], state.hosts[:, c.H_FREE]]))
            sampled.plane.queue_length("messages")
            yield env.timeout(period_ns * 1e-9)

    def control() -> Generator[simpy.Event, Any, None]:
        for instant_ns, action in platform.actions:
            yield env.timeout(max(0.0, instant_ns * 1e-9 - env.now))
            action(sampled.plane)

    env.process(control())
    env.process(sample())
    env.run(until=UNTIL_NS * 1e-9)
    assert len(readings) >= 5
    assert everything(sampled) == everything(engine_run(platform))


def test_tables_that_grow_in_the_middle_change_nothing() -> None:
    """30 000 requests in the system at once: jobs, events, flights and messages outgrow their tables twice."""
    from model.engine.plant import Background, Plant
    from model.engine.program import Attempt, Coalesce, Forever, Get, Put, delay, flush, serve, spawn
    from model.engine.tables import lognormal_from_mean_cv
    from tests.engine.arrivals import Arrivals

    count, ns = 30_000, 1e-9

    def run_of(capacity: int) -> Recorded:
        plant = Plant()
        plant.host("host", 2)
        plant.step("work", 20 * ns, cv=0.5)
        plant.step("more", 35 * ns, cv=2.0)
        plant.step("commit", 0.0)
        plant.wait("flush", lognormal_from_mean_cv(300.0, 0.5))
        plant.loop("loop", host="host", wake_s=20 * ns, poll_s=5 * ns)
        plant.fifo("fifo", servers=3)
        plant.multi("multi", host="host", wake_s=20 * ns)
        plant.group_commit("wal", "flush")
        plant.queue("messages")
        plant.coalescer("flights")
        plant.backgrounds.append(Background((Forever((Get("messages"), serve("work", on="loop"))),)))
        first = (
            Put("messages"), delay(fixed_s=300 * ns), Coalesce("flights", (serve("work", on="fifo"),)),
            spawn((serve("more", on="multi"),), 2), serve("more", on="multi"), flush("commit", on="wal"),
        )  # fmt: skip
        plant.endpoints += [first, (Attempt((serve("more", on="loop"),), timeout_s=1e-3),)]
        times = np.arange(count, dtype=np.int64)
        arrivals = Arrivals(0, times, times % 2, times % 7, times)
        return Recorded(plant, [arrivals], 3, capacity=capacity)

    runs = [run_of(capacity) for capacity in (kernel.MARGIN, 1 << 18)]
    names = ("jobs", "heap", "flights", "messages")
    before = [[len(getattr(run.plane.state, name)) for name in names] for run in runs]
    logs = [run.finish(200_000_000) for run in runs]
    after = [[len(getattr(run.plane.state, name)) for name in names] for run in runs]
    assert all(now > then for now, then in zip(after[0], before[0], strict=True))
    assert after[1] == before[1]
    assert len(logs[0]) == count
    assert np.array_equal(logs[0], logs[1])
    assert everything(runs[0]) == everything(runs[1])
    check_books(runs[0].plane)
