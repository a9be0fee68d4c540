"""A run without a steady state says so, and names what saturates."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import simpy

from model.engine.dataplane import DataPlane
from model.engine.environment import Environment
from model.engine.plant import Plant
from model.engine.program import Acquire, Release, delay, serve
from model.engine.program import Path as Steps
from model.platform import simulate
from model.platform.simulate import Platform
from model.platform.stationarity import LoadWatch, growth
from model.rng import generator
from model.runs import Run
from model.spec import Scenario
from tests.engine.arrivals import poisson

SAMPLES = 220


def queue_lengths(load: float, seed: int) -> npt.NDArray[np.int64]:
    """An M/M/1 queue of 300 requests/s sampled four times a second for 55 s, begun empty 5 s before."""
    random = generator(seed, "test stationarity")
    arrivals = np.cumsum(random.exponential(1 / 300, 19_000))
    services = random.exponential(load / 300, 19_000)
    work = np.cumsum(services)
    departures = work + np.maximum.accumulate(arrivals - np.concatenate([[0.0], work[:-1]]))
    instants = 5 + 0.25 * np.arange(SAMPLES)
    return np.searchsorted(arrivals, instants) - np.searchsorted(departures, instants)


@pytest.mark.parametrize("load", [0.5, 0.8, 0.9])
def test_a_queue_that_keeps_up_is_hardly_ever_taken_for_one_that_does_not(load: float) -> None:
    assert sum(growth(queue_lengths(load, seed)) is not None for seed in range(300)) <= 1


@pytest.mark.parametrize("load", [1.05, 1.3])
def test_a_queue_that_falls_behind_is_seen(load: float) -> None:
    found = [growth(queue_lengths(load, seed)) for seed in range(100)]
    assert sum(each is not None for each in found) >= 97
    first, last = next(each for each in found if each is not None)
    assert last > 1.5 * first


def test_a_burst_is_no_trend_and_a_few_samples_say_nothing() -> None:
    burst = np.concatenate([np.full(180, 3), np.full(40, 500)])
    assert growth(burst) is None
    assert growth(np.arange(39)) is None
    assert growth(np.arange(40)) is not None
    assert growth(np.arange(220)[::-1]) is None
    assert growth(1_000 + np.arange(220)) is None, "certain, but small against what there is"


def watched(plant: Plant, path: Steps, rate_per_s: float) -> LoadWatch:
    """The plant under Poisson load for 10 s, watched from the second on."""
    plant.endpoints.append(path)
    plane = DataPlane(plant, 1, blocks=poisson(1, rate_per_s, int(11 * rate_per_s)))
    env = Environment(plane)
    watch = LoadWatch(plane, 1.0, 10.0, 0.25)
    env.process(watch.process(env))
    env.run(until=10.1)  # the watch ends with the load's scored part, at 10 s
    return watch


def test_the_station_that_saturates_is_named() -> None:
    plant = Plant()
    plant.step("light", 1e-3)
    plant.step("heavy", 5e-3)
    plant.fifo("front")
    plant.fifo("back", servers=2)
    watch = watched(plant, [serve("light", on="front"), serve("heavy", on="back")], 440.0)
    found = watch.bottleneck()
    assert found.name == "station back"
    assert found.utilisation == pytest.approx(1.0, abs=0.02)
    assert growth(watch.backlog) is None, "36 samples say nothing"
    assert watch.backlog[-1] > watch.backlog[0]


def test_the_host_is_named_with_what_uses_it_most() -> None:
    plant = Plant()
    plant.host("machine")
    plant.step("light", 1e-3)
    plant.step("heavy", 4e-3)
    plant.loop("front", host="machine", wake_s=0, poll_s=0)
    plant.multi("back", host="machine", wake_s=0)
    found = watched(plant, [serve("light", on="front"), serve("heavy", on="back")], 150.0).bottleneck()
    assert found.name == "host machine"
    assert found.utilisation == pytest.approx(0.75, abs=0.05)
    assert found.mostly.startswith("back ")
    assert str(found).startswith("host machine, busy 7")


def test_connections_that_are_all_taken_are_named_where_nothing_that_works_is_saturated() -> None:
    plant = Plant()
    plant.step("light", 1e-4)
    plant.fifo("front")
    plant.pool("connections", 2)
    path: Steps = [Acquire("connections"), serve("light", on="front"), delay(fixed_s=0.02), Release("connections")]
    found = watched(plant, path, 200.0).bottleneck()
    assert found.name == "pool connections"
    assert found.utilisation == 1.0


@pytest.fixture(scope="module")
def scenario(small_scenario: Scenario) -> Scenario:
    return small_scenario.with_(duration_s=25, warmup_s=1)


def test_an_overloaded_host_is_named_though_the_backlog_is_served_in_the_end(
    scenario: Scenario, tmp_path: Path
) -> None:
    run = simulate(scenario.with_(workload__rate_per_s=3_000))
    assert not run.validity.valid
    assert not run.validity.stationary
    assert any(reason.startswith("work piled up: ") for reason in run.validity.reasons)
    assert run.validity.reasons[-1].startswith("what saturates: host backend, busy ")
    assert Run.load(run.save(tmp_path / "run")).validity == run.validity


def test_an_overload_is_seen_in_a_run_too_short_for_a_trend(scenario: Scenario) -> None:
    run = simulate(scenario.with_(duration_s=4, workload__rate_per_s=4_000))
    assert not run.validity.stationary
    assert "host backend was given " in run.validity.reasons[0]
    assert simulate(scenario.with_(duration_s=4)).validity.valid


def test_workers_that_fall_behind_are_named_though_no_core_is_busy(scenario: Scenario) -> None:
    run = simulate(scenario.with_(platform__workers__wait_per_batch_s=0.5))
    assert run.validity.reasons[-1].startswith("what saturates: the takers of queue fanout, busy ")
    assert run.utilisation["backend"] < 0.5


def test_an_ordinary_run_is_valid_and_the_watch_changes_nothing(scenario: Scenario) -> None:
    run = simulate(scenario)
    assert run.validity.valid
    assert run.validity.stationary


def test_what_changes_by_design_is_not_judged_by_its_trend(scenario: Scenario) -> None:
    """A load that rises step by step, and a process that slows the platform down."""
    steps = [{"at_s": float(at), "factor": 0.1 * at} for at in range(1, 25)]
    assert simulate(scenario.with_({"workload.rate_profile": steps, "workload.rate_per_s": 900})).validity.valid

    def slowing(env: Environment, platform: Platform) -> Generator[simpy.Event, Any, None]:
        for factor in range(2, 20):
            yield env.timeout(1.2)
            platform.api[0].slow_down(factor / 2)

    assert simulate(scenario, processes=(slowing,)).validity.valid


def test_is_steady(scenario: Scenario) -> None:
    def profile(*points: tuple[float, float]) -> Scenario:
        return scenario.with_({"workload.rate_profile": [{"at_s": at, "factor": factor} for at, factor in points]})

    assert scenario.is_steady
    assert profile((0, 2)).is_steady
    assert profile((3, 1)).is_steady
    assert not profile((3, 2)).is_steady
    assert not profile((0, 2), (3, 1)).is_steady
    assert not scenario.with_({"faults": [{"kind": "cache_flush", "at_s": 3}]}).is_steady
