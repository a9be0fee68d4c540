"""MSER-5 against its definition and on series whose warm-up is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from model.analysis.warmup import BATCH, LEAST_KEPT, Warmup, common_length_s, mser5, scored_from, warmup_of
from model.rng import generator
from model.runs import Run, RunBuilder
from model.spec import Scenario


def naive(series: npt.NDArray[np.float64]) -> int:
    """The batch after which the squared standard error of what is kept is smallest."""
    means = series[: len(series) // BATCH * BATCH].reshape(-1, BATCH).mean(axis=1)
    errors = [((kept := means[d:]) - kept.mean()).var() / len(kept) for d in range(len(means) - LEAST_KEPT)]
    return int(np.argmin(errors))


def noise(seed: int, n: int) -> npt.NDArray[np.float64]:
    return generator(seed, "test warm-up").exponential(1.0, n)


def test_the_point_is_the_minimum_of_the_definition() -> None:
    found = 0
    for seed in range(50):
        series = noise(seed, 403) + 3 * np.exp(-np.arange(403) / 40)
        truncation = mser5(series)
        if truncation.found:
            found += 1
            assert truncation.observations == BATCH * naive(series)
        else:
            assert naive(series) > 40
            assert truncation.observations <= 200
    assert found > 40


def test_a_step_is_cut_off_and_a_steady_series_hardly() -> None:
    step = np.concatenate([noise(1, 300) + 20, noise(2, 1_700)])
    assert 300 <= mser5(step).observations <= 320
    steady = [mser5(noise(seed, 2_000)) for seed in range(40)]
    assert np.median([truncation.observations for truncation in steady]) < 100
    assert sum(truncation.found for truncation in steady) > 35


@pytest.mark.parametrize(
    "series", [np.arange(1_000.0), np.concatenate([noise(1, 600) + 20, noise(2, 400)]), noise(1, 99), np.zeros(0)]
)
def test_a_series_that_is_too_short_says_so(series: npt.NDArray[np.float64]) -> None:
    truncation = mser5(series)
    assert not truncation.found
    assert truncation.observations <= len(series) // 2 + BATCH


def warming(slow_s: float, warmup_s: float) -> Run:
    """200 requests/s for 60 s; those of the first `slow_s` take 50 ms, the others 1 ms on average."""
    scenario = Scenario(name="warming", duration_s=60, warmup_s=warmup_s)
    builder = RunBuilder(scenario, "model")
    sent_ns = np.arange(12_000) * 5_000_000
    latency_ns = np.where(sent_ns < slow_s * 1e9, 50e6, 1e6 * noise(5, 12_000)).astype(np.int64)
    builder.add_requests(np.zeros(12_000), sent_ns, sent_ns, latency_ns, np.zeros(12_000))
    builder.add_gauge(np.arange(0, 60, 0.25), "in_flight", "", np.arange(240) % 3)
    return builder.build({})


def test_a_run_is_scored_from_the_later_of_the_two_points() -> None:
    run = warming(slow_s=12.3, warmup_s=5)
    warmup = warmup_of(run)
    assert warmup.found
    assert warmup.mser_s == pytest.approx(12.3, abs=0.1)
    assert warmup.length_s == 13
    assert run.latency().mean_s > 5e-3
    assert scored_from(run, warmup).latency().mean_s == pytest.approx(1e-3, rel=0.05)
    assert warmup_of(warming(slow_s=2.0, warmup_s=20)).length_s == 20


def test_work_that_piles_up_at_the_beginning_is_warm_up_too() -> None:
    run = warming(slow_s=0, warmup_s=0)
    builder = RunBuilder(run.scenario, "model")
    sent_ns = np.arange(12_000) * 5_000_000
    builder.add_requests(np.zeros(12_000), sent_ns, sent_ns, noise(5, 12_000) * 1e6, np.zeros(12_000))
    times = np.arange(0, 60, 0.25)
    builder.add_gauge(times, "in_flight", "", np.arange(240) % 3)
    builder.add_gauge(times, "fanout_queue_length", "", np.where(times < 9, 300 - 30 * times, 0))
    assert warmup_of(builder.build({})).length_s == pytest.approx(9, abs=1.5)


def test_the_common_warm_up_is_the_longest_that_was_found() -> None:
    found = [Warmup(length_s, length_s, found=True) for length_s in (2.0, 7.0, 3.0)]
    lost = [Warmup(30.0, 30.0, found=False)]
    assert common_length_s(found) == 7
    assert common_length_s(found + lost) == 7
    assert common_length_s(found + 3 * lost) == 30
