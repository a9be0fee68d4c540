"""The benchmark does the work it claims, on both sides; how fast is for the benchmark itself to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.bench import large, simpy_baseline
from model.bench.load import poisson
from model.bench.reference_path import (
    EVENTS_PER_REQUEST,
    FEATURES,
    MMC_RATE_PER_S,
    RATE_PER_S,
    mmc_plant,
    reference_plant,
    run_engine,
)  # fmt: skip
from model.bench.scaling import measure
from tests.cli.run_cli import feedtwin

REQUESTS = 5_000


def test_both_sides_process_every_event_of_the_same_path() -> None:
    load = poisson(REQUESTS, rate_per_s=RATE_PER_S, keys=100_000)
    engine, plain = run_engine(reference_plant(), load), simpy_baseline.run_reference_path(load)
    assert (engine.requests, engine.events) == (REQUESTS, REQUESTS * EVENTS_PER_REQUEST)
    assert (plain.requests, plain.events) == (REQUESTS, REQUESTS * simpy_baseline.EVENTS_PER_REQUEST)
    # The draws differ, the law is the same.
    assert engine.mean_ms == pytest.approx(plain.mean_ms, rel=0.03)


def test_both_sides_are_the_same_queue() -> None:
    load = poisson(4 * REQUESTS, rate_per_s=MMC_RATE_PER_S, keys=1)
    engine, plain = run_engine(mmc_plant(), load), simpy_baseline.run_mmc(load)
    assert engine.events == 2 * engine.requests == 8 * REQUESTS
    assert plain.events == simpy_baseline.MMC_EVENTS_PER_REQUEST * plain.requests
    assert engine.mean_ms == pytest.approx(plain.mean_ms, rel=0.1)


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_does_what_it_says(name: str) -> None:
    feature = FEATURES[name]
    load = poisson(REQUESTS, rate_per_s=RATE_PER_S, keys=1000)
    base = run_engine(reference_plant(), load)
    outcome = run_engine(feature.plant(), load, shards=feature.shards)
    assert outcome.requests == REQUESTS
    if feature.events is not None:
        assert outcome.events == REQUESTS * feature.events
    # A cache saves visits, a scatter waits for its slowest branch; a time limit that is not reached changes nothing.
    if name == "cache":
        assert outcome.events < base.events
        assert outcome.mean_ms < base.mean_ms
    elif name == "timeout":
        assert outcome.mean_ms == pytest.approx(base.mean_ms, rel=0.02)
    else:
        assert outcome.mean_ms > base.mean_ms


def test_a_larger_platform_has_more_in_flight() -> None:
    small, large = measure(1), measure(10)
    assert large.in_flight == pytest.approx(10 * small.in_flight, rel=0.1)
    assert min(small.ns_per_request, large.ns_per_request) > 0


def test_the_command_prints_every_figure_and_draws(tmp_path: Path) -> None:
    picture = tmp_path / "scaling.svg"
    outcome = feedtwin("bench", "--json", "--repeats", "2", "--scale", "0.01", "--quick", "-o", picture)
    assert outcome.code == 0, outcome.stderr
    found = outcome.document
    assert found["reference_path"]["events"] == 5_000 * EVENTS_PER_REQUEST
    for name in ("reference_path", "mm_c"):
        assert found[name]["ratio"] > 1
    assert set(found["features"]) == set(FEATURES)
    assert [row["in_flight"] for row in found["scaling"]] == sorted(row["in_flight"] for row in found["scaling"])
    assert picture.read_bytes().startswith(b"<?xml")
    shown = feedtwin("bench", "--repeats", "1", "--scale", "0.01", "--quick").stdout
    assert "reference path" in shown
    assert "shared host" in shown


def test_a_large_run_is_measured_in_a_process_of_its_own() -> None:
    small = {"population.users": 200_000, "workload.rate_per_s": 2_000.0, "duration_s": 3.0, "warmup_s": 0.5}
    found = large.measure("twitter-2013", small)
    assert found["requests"] == pytest.approx(6_000, rel=0.1)
    assert found["deliveries"] == found["deliveries_seen"] + found["deliveries_uncached"] > 0
    assert found["realtime_factor"] == pytest.approx(3.0 / found["wall_s"])
    assert 50 < found["peak_rss_mb"] < 2_000
