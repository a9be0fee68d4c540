"""SimPy processes beside the compiled data plane: what they see, when they wake, what they change."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import pytest
import simpy

from model.engine import layout as c
from model.engine.environment import Environment
from model.engine.plant import Background, Plant
from model.engine.program import Forever, Get, Path, Put, delay, serve
from model.engine.tables import constant
from model.spec import InputError
from tests.engine.arrivals import at
from tests.engine.planes import Recorded, recorded

NS = 1e-9
Steps = Generator[simpy.Event, Any, None]


def fifo(plant: Plant) -> Sequence[Path]:
    plant.step("work", 100 * NS)
    plant.fifo("station")
    return [(serve("work", on="station"),)]


def queued(gap_ns: int, count: int, take_ns: int) -> Recorded:
    """Messages that come every `gap_ns` and are taken by one worker, each in `take_ns`."""
    plant = Plant()
    plant.step("take", take_ns * NS)
    plant.fifo("worker")
    plant.queue("messages")
    plant.endpoints.append((Put("messages"), delay(fixed_s=1 * NS)))
    plant.backgrounds.append(Background((Forever((Get("messages"), serve("take", on="worker"))),)))
    return Recorded(plant, [at(gap_ns * np.arange(1, count + 1))])


def test_a_watch_wakes_at_the_very_event() -> None:
    run = queued(gap_ns=100, count=40, take_ns=1_000_000)
    env = Environment(run.plane)
    seen: list[tuple[float, int, int]] = []

    def watch(length: int) -> Steps:
        at_s = yield env.queue_above("messages", length)
        assert at_s == env.now
        seen.append((length, run.plane.now_ns, run.plane.queue_length("messages")))

    # The first message is taken at once; the n-th after it makes n stand in the queue.
    for length in (7, 3, 3, 20):
        env.process(watch(length))
    env.run(until=10e-6)
    assert seen == [(3, 500, 4), (3, 500, 4), (7, 900, 8), (20, 2200, 21)]
    assert env.now == 10e-6


def test_a_watch_on_what_already_stands_there_fires_at_once() -> None:
    run = queued(gap_ns=100, count=10, take_ns=1_000_000)
    env = Environment(run.plane)
    seen: list[int] = []

    def late() -> Steps:
        yield env.timeout(1.05e-6)
        yield env.queue_above("messages", 5)
        seen.append(run.plane.now_ns)
        yield env.queue_above("messages", 9) | env.timeout(1e-6)
        seen.append(run.plane.now_ns)

    env.process(late())
    env.run(until=5e-6)
    assert seen == [1050, 2050]


def test_a_process_may_watch_again_and_again() -> None:
    run = queued(gap_ns=100, count=40, take_ns=150)
    env = Environment(run.plane)
    seen: list[int] = []

    def scale() -> Steps:
        while True:
            yield env.queue_above("messages", len(seen))
            seen.append(run.plane.now_ns)

    env.process(scale())
    env.run(until=100e-6)
    lengths = []
    again = queued(gap_ns=100, count=40, take_ns=150)
    for instant in range(0, 8000, 50):
        again.plane.advance(instant + 1)
        lengths.append((instant, again.plane.queue_length("messages")))
    expected = [next(t for t, standing in lengths if standing > k) for k in range(len(seen))]
    assert seen == expected
    assert len(seen) == max(standing for _, standing in lengths)


def test_watching_changes_nothing() -> None:
    plain = queued(gap_ns=100, count=200, take_ns=130)
    watched = queued(gap_ns=100, count=200, take_ns=130)
    env = Environment(watched.plane)

    def watch() -> Steps:
        for length in range(20):
            yield env.queue_above("messages", length)

    env.process(watch())
    env.run(until=1e-3)
    assert np.array_equal(plain.finish(), watched.finish())
    assert np.array_equal(plain.plane.state.visits, watched.plane.state.visits)
    assert plain.plane.scalar(c.X_EVENTS) == watched.plane.scalar(c.X_EVENTS)


def test_a_paused_station_keeps_its_queue_and_goes_on_with_all_its_servers() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.step("work", 100 * NS)
        plant.fifo("station", servers=2)
        return [(serve("work", on="station"),)]

    run = recorded(build, [(0, 0), (10, 0), (20, 0), (30, 0), (300, 0)])
    env = Environment(run.plane)

    def hold() -> Steps:
        yield env.timeout(50 * NS)
        run.plane.pause(0)
        yield env.timeout(450 * NS)
        run.plane.resume(0)

    env.process(hold())
    env.run(until=1e-6)
    log = run.finish()
    assert (log[:, c.L_TIME] + log[:, c.L_VALUE]).tolist() == [100, 110, 600, 600, 700]


def test_a_loop_paused_while_idle_stops_at_its_first_job() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.step("work", 100 * NS)
        plant.host("host")
        plant.loop("loop", host="host", wake_s=10 * NS, poll_s=3 * NS)
        plant.loop("other", host="host", wake_s=10 * NS, poll_s=3 * NS)
        return [(serve("work", on="loop"),), (serve("work", on="other"),)]

    run = recorded(build, [(100, 0), (150, 1), (200, 0)])
    run.plane.pause(0)
    run.plane.advance(400)
    assert run.plane.state.stations[:, c.S_LENGTH].tolist() == [2, 0]
    run.plane.resume(0)
    run.plane.resume(0)  # twice is once
    log = run.finish()
    assert (log[:, c.L_TIME] + log[:, c.L_VALUE]).tolist() == [510, 260, 610]


def test_slowing_down_counts_from_the_next_service_and_is_undone_exactly() -> None:
    run = recorded(fifo, [(0, 0), (1, 0), (2, 0), (3, 0)])
    env = Environment(run.plane)

    def brown_out() -> Steps:
        yield env.timeout(50 * NS)
        run.plane.slow_down(0, 2.5)
        yield env.timeout(100 * NS)
        run.plane.slow_down(0, 1)

    env.process(brown_out())
    env.run(until=1e-6)
    log = run.finish()
    assert (log[:, c.L_TIME] + log[:, c.L_VALUE]).tolist() == [100, 350, 450, 550]


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_a_bad_factor_is_refused(factor: float) -> None:
    run = recorded(fifo, [(0, 0)])
    with pytest.raises(InputError, match="slow_down factor is"):
        run.plane.slow_down(0, factor)


def test_what_is_no_process_cannot_be_paused() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.step("work", 100 * NS)
        plant.wait("flush", constant(1000))
        plant.host("host")
        plant.multi("database", host="host", wake_s=0.0)
        plant.pool("pool", 1)
        plant.group_commit("wal", "flush")
        return [(serve("work", on="database"),)]

    plane = recorded(build, [(0, 0)]).plane
    for station, name in enumerate(("database", "pool", "wal")):
        with pytest.raises(InputError, match=f"station '{name}' cannot be paused"):
            plane.pause(station)
    plane.slow_down(0, 2)
    with pytest.raises(InputError, match="station 'pool' cannot be slowed down"):
        plane.slow_down(1, 2)


def test_an_environment_without_processes_just_advances() -> None:
    run = recorded(fifo, [(0, 0), (1000, 0)])
    env = Environment(run.plane)
    env.run(until=500 * NS)
    assert (run.plane.now_ns, run.plane.scalar(c.X_COMPLETED)) == (500, 1)
    env.run(until=env.timeout(700 * NS, value="done"))
    assert (run.plane.now_ns, run.plane.scalar(c.X_COMPLETED)) == (1200, 2)
