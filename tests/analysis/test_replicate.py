"""Replications on the real engine: each alone, on any number of threads, until a precision is reached or given up."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from model.analysis.paired import difference, paired_difference
from model.analysis.precision import LEAST_REPLICATIONS, Precision
from model.analysis.replicate import Replications, replicate, replication_seed
from model.analysis.slos import replicated_slos
from model.platform import simulate
from model.runs import Histogram
from model.spec import InputError, Scenario

EASY = Precision.parse("mean of home_timeline within 20% at 95%")
HARD = Precision.parse("p99 of home_timeline within 0.1% at 99%")


@pytest.fixture(scope="module")
def scenario(small_scenario: Scenario) -> Scenario:
    return small_scenario.with_(duration_s=12, warmup_s=1, workload__rate_per_s=600)


@pytest.fixture(scope="module")
def four(scenario: Scenario) -> Replications:
    return replicate(scenario, replications=4)


def test_a_replication_can_be_computed_alone(scenario: Scenario, four: Replications) -> None:
    assert [member.number for member in four.members] == [0, 1, 2, 3]
    assert four.members[0].seed == scenario.seed
    third = simulate(scenario.with_(seed=replication_seed(scenario.seed, 2)))
    assert third.digest == four.members[2].digest
    assert third.latency("react").counts.sum() >= four.members[2].histogram("react").n > 0
    assert len({member.digest for member in four.members}) == 4


def test_seeds_are_distinct_and_allowed(scenario: Scenario) -> None:
    seeds = {replication_seed(seed, number) for seed in (1, 2, 2**63 - 1) for number in range(1_000)}
    assert len(seeds) == 3_000
    assert all(scenario.with_(seed=seed).seed == seed for seed in list(seeds)[:50])


def test_threads_change_nothing(scenario: Scenario, four: Replications) -> None:
    threaded = replicate(scenario, replications=4, threads=3)
    assert [member.digest for member in threaded.members] == [member.digest for member in four.members]
    assert [member.warmup for member in threaded.members] == [member.warmup for member in four.members]
    assert threaded.interval("home_timeline", 0.95) == four.interval("home_timeline", 0.95)


def test_figures_are_of_all_replications_together(four: Replications) -> None:
    pooled = sum((member.histogram("home_timeline") for member in four.members), Histogram())
    mean, p95 = four.interval("home_timeline"), four.interval("home_timeline", 0.95)
    assert mean is not None
    assert p95 is not None
    assert mean.value == pytest.approx(pooled.mean_s)
    assert p95.value == pooled.quantile(0.95)
    assert mean.low < mean.value < mean.high
    assert four.interval("profile", 0.999) is None
    rates = four.rates
    offered = [member.rates["offered_per_s"] for member in four.members]
    assert rates["offered_per_s"].value == pytest.approx(np.mean(offered))
    assert rates["offered_per_s"].value == pytest.approx(600, rel=0.03)
    assert rates["backend_utilisation"].half_width < 0.1


def test_the_warm_up_is_found_in_each_replication(four: Replications) -> None:
    assert all(member.warmup.mser_s is not None for member in four.members)
    (length_s,) = {member.warmup.length_s for member in four.members}
    found = [member.warmup.mser_s for member in four.members if member.warmup.found]
    assert 1 <= length_s <= 7
    assert length_s >= max(mser_s for mser_s in found if mser_s is not None)


def test_the_course_of_a_scenario_is_not_cut_off_as_its_warm_up(scenario: Scenario) -> None:
    crowd = scenario.with_({"workload.rate_profile": [{"at_s": 5, "factor": 2}, {"at_s": 8, "factor": 1}]})
    done = replicate(crowd, replications=2)
    assert done.warmup_rule == "scenario"
    assert [member.warmup.length_s for member in done.members] == [1, 1]


def test_a_precision_stops_the_sequence_at_the_same_replication_on_any_number_of_threads(scenario: Scenario) -> None:
    told: list[int] = []
    short = scenario.with_(duration_s=4, workload__rate_per_s=100)
    one = replicate(short, precisions=[EASY], on_replication=told.append)
    two = replicate(short, precisions=[EASY], threads=2)
    assert len(one.members) == LEAST_REPLICATIONS
    assert told == list(range(1, len(one.members) + 1))
    assert [member.digest for member in two.members] == [member.digest for member in one.members]
    assert not one.partial
    ((asked, interval),) = one.reached
    assert interval is not None
    assert asked.reached(interval)


def test_the_figure_that_ends_the_sequence_is_reported_as_precisely_as_was_asked(scenario: Scenario) -> None:
    short = scenario.with_(duration_s=4, workload__rate_per_s=100)
    first = replicate(short, replications=LEAST_REPLICATIONS, warmup="scenario").interval("home_timeline")
    assert first is not None
    asked = Precision.parse(f"mean of home_timeline within {80 * first.relative_half_width:.2f}% at 95%")
    done = replicate(short, precisions=[asked, EASY], warmup="scenario")
    assert len(done.members) > LEAST_REPLICATIONS
    assert done.decisive == (asked,)
    interval = done.interval("home_timeline")
    assert interval is not None
    assert interval.relative_half_width == pytest.approx(asked.allowed)
    ordinary = replace(done, decisive=()).interval("home_timeline")
    assert ordinary is not None
    assert ordinary.half_width < interval.half_width


def test_a_precision_that_is_not_reached_gives_what_there_is(scenario: Scenario) -> None:
    done = replicate(scenario, precisions=[EASY, HARD], max_replications=3)
    assert len(done.members) == 3
    assert "after 3 replications the limit of 3 replications was reached" in done.partial
    assert "p99 of home_timeline within 0.1% at 99%" in done.partial
    assert done.interval("home_timeline") is not None


def test_a_time_limit_ends_a_replication_that_is_under_way(scenario: Scenario) -> None:
    for threads in (1, 2):
        done = replicate(scenario.with_(duration_s=3_000), precisions=[HARD], max_seconds=0.3, threads=threads)
        assert len(done.members) == 0
        assert "after 0 replications the time limit of 0.3 s was reached" in done.partial
        assert done.interval("home_timeline") is None
        assert done.validity.valid
    limited = replicate(scenario.with_(duration_s=3_000), replications=2, max_seconds=0.3)
    assert limited.partial == "after 0 of 2 replications the time limit of 0.3 s was reached"


def test_an_overload_ends_the_sequence_and_is_explained(scenario: Scenario) -> None:
    overload = scenario.with_(platform__workers__wait_per_batch_s=1.0)
    done = replicate(overload, precisions=[EASY])
    assert len(done.members) == 1
    assert not done.validity.valid
    assert not done.validity.stationary
    assert any("the takers of queue fanout" in reason for reason in done.validity.reasons)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"replications": 1}, "replications is 1; an interval needs at least 2"),
        ({"replications": 5, "precisions": [EASY], "max_replications": 4}, "max_replications is 4"),
        ({"threads": 0}, "threads is 0; it must be at least 1"),
        ({"max_seconds": 0.0}, "max_seconds is 0.0; it must be positive"),
        ({"max_seconds": math.nan}, "max_seconds is nan"),
        ({"confidence": 1.0}, "confidence is 1.0"),
    ],
)
def test_counts_that_make_no_sense(scenario: Scenario, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        replicate(scenario, **options)  # type: ignore[arg-type]


def test_promises_are_judged_with_their_interval(four: Replications) -> None:
    p99 = four.interval("home_timeline", 0.99)
    assert p99 is not None
    for limit_s, verdict in (
        (p99.value * 9, "met"),
        ((p99.value + p99.high) / 2, "met, but undecided"),
        ((p99.value + p99.low) / 2, "missed, but undecided"),
        (p99.low / 9, "missed"),
    ):
        promising = four.scenario.with_({"slos.latency_p99_s": {"home_timeline": limit_s}})
        (slo,) = replicated_slos(replace(four, scenario=promising))
        assert slo.verdict == verdict
        assert slo.met == verdict.startswith("met")


def test_common_random_numbers_make_a_difference_more_precise(scenario: Scenario) -> None:
    """The variance of a paired difference is the smaller one, and what it is compared with is what independent
    streams give."""
    slower = scenario.with_(platform__redis__shards=4)
    base = replicate(scenario, replications=12, warmup="scenario")
    other = replicate(slower, replications=12, warmup="scenario")
    apart = replicate(slower.with_(seed=999), replications=12, warmup="scenario")
    paired = difference(base, other, "home_timeline")
    assert paired.is_clear
    independent = base.values("home_timeline") - apart.values("home_timeline")
    measured = independent.var(ddof=1) / (base.values("home_timeline") - other.values("home_timeline")).var(ddof=1)
    assert paired.variance_reduction > 1.5
    assert measured == pytest.approx(paired.variance_reduction, rel=1.0)
    with pytest.raises(InputError, match="the seeds differ"):
        difference(base, apart, "home_timeline")


def test_a_difference_is_that_of_the_pairs() -> None:
    found = paired_difference([1.0, 2.0, 3.0], [2.0, 3.1, 3.9])
    assert found.interval.value == pytest.approx(1.0)
    assert found.variance_reduction == pytest.approx((1.0 + np.var([2.0, 3.1, 3.9], ddof=1)) / 0.01)
    assert found.is_clear
    assert paired_difference([1.0, 2.0], [1.0, 2.0]).variance_reduction == math.inf
    with pytest.raises(InputError, match="2 of one and 1 of the other"):
        paired_difference([1.0, 2.0], [1.0])
