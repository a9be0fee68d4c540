"""What holds for every platform: conservation at every instant, determinism, and that looking changes nothing."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from model.engine import kernel
from model.engine import layout as c
from model.engine.dataplane import DataPlane
from model.engine.environment import Environment
from tests.engine.planes import IntArray, Recorded, in_blocks
from tests.engine.plants import Draft, drafts

HORIZON_NS = 400_000
"""All requests of a draft are done long before."""


def run_of(draft: Draft, *, block: int = 1000, **options: Any) -> Recorded:
    return Recorded(draft.build(), in_blocks(draft.arrivals(), block), draft.seed, **draft.options(), **options)


def everything(run: Recorded) -> tuple[bytes, ...]:
    """All that a run leaves: its log, what each step and station did, the number of events."""
    log = run.finish(HORIZON_NS)
    state = run.plane.state
    columns = [c.S_BUSY_NS, c.S_VISITS, c.S_WAKES, c.S_LENGTH]
    return (
        log.tobytes(),
        state.visits.tobytes(),
        state.stations[:, columns].tobytes(),
        state.x[[c.X_EVENTS]].tobytes(),
    )


def check_books(plane: DataPlane) -> None:
    """What has arrived is done or under way, and every row of the tables is accounted for."""
    s = plane.state
    arrived, completed, in_flight = (plane.scalar(x) for x in (c.X_ARRIVED, c.X_COMPLETED, c.X_IN_FLIGHT))
    assert arrived == completed + in_flight
    assert min(completed, in_flight) >= 0
    free, row = 0, plane.scalar(c.X_JOB_FREE)
    while row >= 0:
        free, row = free + 1, int(s.jobs[row, c.J_NEXT])
    assert free + plane.scalar(c.X_JOB_COUNT) == len(s.jobs)
    assert in_flight <= plane.scalar(c.X_JOB_COUNT)
    standing = int(s.queues[:, c.Q_LENGTH].sum())
    assert standing == plane.scalar(c.X_MESSAGE_COUNT)
    fifo = s.stations[s.stations[:, c.S_KIND] == c.K_FIFO]
    assert (fifo[:, c.S_BUSY] <= fifo[:, c.S_SERVERS]).all()
    assert ((fifo[:, c.S_LENGTH] == 0) | (fifo[:, c.S_BUSY] == fifo[:, c.S_SERVERS])).all(), (
        "a server idles while jobs wait"
    )
    used = np.where(s.hosts[:, c.H_SHARED] != 0, c.ANY_CORES, s.hosts[:, c.H_CORES]) - s.hosts[:, c.H_FREE]
    shared = s.hosts[:, c.H_SHARED] != 0
    assert ((used >= 0) & (shared | (used <= s.hosts[:, c.H_CORES]))).all()
    assert (used[shared] == s.hosts[shared, c.H_SHARING]).all()
    assert ((s.hosts[:, c.H_HEAD] < 0) | (s.hosts[:, c.H_FREE] == 0)).all(), "a core idles while processes wait for it"


@given(draft=drafts(), stops=st.lists(st.integers(0, 60_000), max_size=12))
@settings(max_examples=60)
def test_conservation_at_every_instant(draft: Draft, stops: list[int]) -> None:
    run = run_of(draft)
    for instant in sorted(stops):
        run.plane.advance(instant)
        check_books(run.plane)
        arrived = int((np.array(draft.times_ns) < instant).sum())
        assert run.plane.scalar(c.X_ARRIVED) == arrived
    log = run.finish(HORIZON_NS)
    check_books(run.plane)
    assert log[:, c.L_ORDINAL].tolist() == list(range(len(draft.times_ns)))
    assert log[:, c.L_TIME].tolist() == list(draft.times_ns)
    assert (log[:, c.L_VALUE] > 0).all()
    assert run.plane.scalar(c.X_IN_FLIGHT) == 0


@given(draft=drafts())
@settings(max_examples=30)
def test_the_same_seed_gives_the_same_run(draft: Draft) -> None:
    assert everything(run_of(draft)) == everything(run_of(draft))


@given(draft=drafts(), block=st.integers(1, 40))
@settings(max_examples=30)
def test_the_size_of_arrival_blocks_does_not_matter(draft: Draft, block: int) -> None:
    assert everything(run_of(draft)) == everything(run_of(draft, block=block))


@given(draft=drafts(), period_ns=st.integers(1, 20_000))
@settings(max_examples=40)
def test_a_sampler_that_only_reads_changes_nothing(draft: Draft, period_ns: int) -> None:
    sampled = run_of(draft)
    env = Environment(sampled.plane)
    readings: list[IntArray] = []

    def sample() -> Generator[simpy.Event, Any, None]:
        while env.now < HORIZON_NS / 2e9:
            state = sampled.plane.state
            readings.append(np.concatenate([state.x, state.stations[:, c.S_LENGTH], state.hosts[:, c.H_FREE]]))
            sampled.plane.queue_length("messages")
            yield env.timeout(max(period_ns, HORIZON_NS / 4000) * 1e-9)

    env.process(sample())
    env.run(until=HORIZON_NS / 1e9)
    assert len(readings) >= 10
    assert everything(sampled) == everything(run_of(draft))


def test_tables_that_grow_in_the_middle_change_nothing() -> None:
    """30 000 requests in the system at once: jobs, events and messages outgrow their tables twice."""
    count = 30_000
    draft = Draft(
        seed=3, cores=(2,), stations=(("loop", 0, 1), ("fifo", 0, 3), ("multi", 0, 1)), costs=((20, 0.5), (35, 2.0)),
        paths=(
            (("put", 0, 0), ("delay", 3, 0), ("serve", 1, 0), ("spawn", 2, 1), ("commit", 2, 1)), (("serve", 0, 1),),
        ),
        times_ns=tuple(range(count)), endpoints=tuple(i % 2 for i in range(count)), stall_rate_per_s=1e4,
    )  # fmt: skip
    runs = [run_of(draft, capacity=capacity) for capacity in (kernel.MARGIN, 1 << 18)]
    before = [tuple(len(table) for table in (run.plane.state.jobs, run.plane.state.heap)) for run in runs]
    logs = [run.finish(100_000_000) for run in runs]
    after = [tuple(len(table) for table in (run.plane.state.jobs, run.plane.state.heap)) for run in runs]
    assert after[0] > before[0]
    assert len(runs[0].plane.state.messages) > kernel.MARGIN
    assert after[1] == before[1]
    assert len(logs[0]) == count
    assert np.array_equal(logs[0], logs[1])
    assert everything(runs[0]) == everything(runs[1])
    check_books(runs[0].plane)
