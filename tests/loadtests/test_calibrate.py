"""The parts of a calibration that need no backend: the flush meter, waits, slices and what is left out of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from loadtests.calibrate.flush import FEWEST_RARE, RARE, FlushMeter, usual
from loadtests.calibrate.procedure import TOLERATED_UTILISATION, _trusted
from loadtests.calibrate.slices import EMPHASIS, Played, plan_slice, utilisation
from loadtests.calibrate.waits import NO_WAIT, wait_of
from loadtests.records import Records
from model.analysis.fit import Slice
from model.spec import ENDPOINTS, Endpoint, InvalidRunError, Scenario
from model.spec import scenario as spec
from model.workload import Schedule, graph_of, schedule_of
from real_backend.stack import Rig
from tests.real_backend.polling import eventually

RIG = Rig.plan(spec.Rig(quiet="off"))
SCENARIO = Scenario.load(
    "baseline", {"population.users": 50, "population.mean_followers": 5, "duration_s": 2, "warmup_s": 0}
)


def test_the_flush_meter_times_both_halves_and_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "flush-meter"
    with FlushMeter(RIG, tmp_path) as meter:
        begun_ns = file.stat().st_mtime_ns
        eventually(lambda: file.stat().st_mtime_ns > begun_ns, "the first block is written")
    durations_s = meter.durations_s
    assert durations_s.shape == (len(durations_s), 2)
    assert len(durations_s) >= 1
    assert (durations_s >= 0).all()
    assert (durations_s.sum(axis=1) > 0).all()
    assert not file.exists()


def test_a_few_stalls_of_the_disk_are_left_out_and_many_are_not() -> None:
    steady = np.full(200, 1e-3)
    stall = np.array([RARE * 1e-3 * 1.01])
    few, many = (np.concatenate([steady, np.repeat(stall, n)]) for n in (FEWEST_RARE - 1, FEWEST_RARE))
    assert few[usual(few)].tolist() == steady.tolist()
    assert usual(many).all()
    assert len(usual(np.zeros(0))) == 0


def test_a_wait_has_the_quantiles_and_the_mean_of_what_was_seen() -> None:
    durations_s = np.random.Generator(np.random.Philox(3)).exponential(2e-3, 5_000)
    wait = wait_of(durations_s)
    assert wait.samples == len(durations_s)
    assert wait.quantiles_s[3] == pytest.approx(float(np.median(durations_s)))
    # Linear between the quantiles, which lie above a convex curve; the tail is exact.
    assert float(durations_s.mean()) < wait.mean_s < 1.1 * float(durations_s.mean())
    assert wait_of([]) == NO_WAIT


def test_a_slice_emphasises_one_endpoint_and_keeps_the_others_proportions() -> None:
    plan = plan_slice(SCENARIO, Endpoint.REACT, rate_per_s=80.0, duration_s=3.0, seed=9)
    shares = dict(zip(ENDPOINTS, plan.scenario.workload.mix.shares, strict=True))
    usual_shares = dict(zip(ENDPOINTS, SCENARIO.workload.mix.shares, strict=True))
    assert shares[Endpoint.REACT] == pytest.approx(EMPHASIS)
    ratio = {shares[e] / usual_shares[e] for e in ENDPOINTS if e is not Endpoint.REACT}
    assert max(ratio) == pytest.approx(min(ratio))
    assert (plan.scenario.workload.rate_per_s, plan.scenario.duration_s, plan.scenario.seed) == (80.0, 3.0, 9)
    assert plan.name == "react at 80/s"


def test_in_the_split_layout_what_runs_beside_the_backends_core_does_not_count() -> None:
    used = Slice("some", 2.0, {"api": 0.6, "standby.replay": 0.2, "worker": 0.1, "primary.other": 0.1}, {}, {})
    assert utilisation(RIG, used) == pytest.approx(0.5)
    if len(os.sched_getaffinity(0)) > 1:
        assert utilisation(Rig.plan(spec.Rig(layout="split", quiet="off")), used) == pytest.approx(0.35)


def test_slices_beyond_the_tolerated_utilisation_are_left_out() -> None:
    busy = _played(Endpoint.PROFILE, TOLERATED_UTILISATION + 0.01)
    others = [_played(endpoint, 0.5) for endpoint in ENDPOINTS]
    assert _trusted(RIG, [busy, *others]) == others
    without = [one for one in others if one.plan.endpoint is not Endpoint.PROFILE]
    with pytest.raises(InvalidRunError, match="0 slices of profile kept the backend core at most 75% busy"):
        _trusted(RIG, [busy, *without])


def test_a_slice_with_failures_is_no_ground_for_a_calibration() -> None:
    slices = [_played(endpoint, 0.5, failed=endpoint is Endpoint.REACT) for endpoint in ENDPOINTS]
    with pytest.raises(InvalidRunError, match=r"'react at 50/s': 50% of its requests failed"):
        _trusted(RIG, slices)


def _played(endpoint: Endpoint, utilisation: float, *, failed: bool = False) -> Played:
    plan = plan_slice(SCENARIO, endpoint, rate_per_s=50.0, duration_s=2.0, seed=1)
    schedule = schedule_of(plan.scenario, graph_of(plan.scenario))
    assert isinstance(schedule, Schedule)
    zeros = np.zeros(2, np.int64)
    records = Records(zeros, zeros, zeros, zeros, zeros, zeros, np.array([0, 3 if failed else 0]), {})
    used = Slice(name=plan.name, duration_s=2.0, cpu_s={"api": 2.0 * utilisation}, wakes={}, steps={})
    return Played(plan, schedule, used, records, {})
