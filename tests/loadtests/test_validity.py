"""What makes a measured run invalid."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from loadtests.cores import Interference
from loadtests.records import Records
from loadtests.validity import GeneratorFigures, judge

NOTHING = Interference({}, 0.0)
GOOD = GeneratorFigures(
    offered=1000, sent=1000, recorded=1000, slip_p50_s=1e-4, slip_p99_s=1e-3, slip_max_s=2e-3, cpu_s=3.0,
    cpu_share=0.3, pool_dry=0, reopened=0, connections=512, realtime=True,
)  # fmt: skip


def test_a_blameless_generator_makes_a_valid_run() -> None:
    assert judge(GOOD, Interference({0: 0.01}, 0.05), drained=True).valid


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"slip_p99_s": 0.021}, "slip p99 21.0 ms"),
        ({"cpu_share": 0.85}, "85% of its core"),
        ({"pool_dry": 3}, "ran out of its 512 connections 3 times"),
        ({"sent": 980}, "980 requests were sent where the schedule has 1000"),
        ({"recorded": 0}, "no request"),
    ],
)
def test_each_fault_of_the_generator_is_named(changes: dict[str, Any], reason: str) -> None:
    verdict = judge(dataclasses.replace(GOOD, **changes), NOTHING, drained=True)
    assert not verdict.valid
    assert len(verdict.reasons) == 1
    assert reason in verdict.reasons[0]


def test_steal_others_and_an_unfinished_fan_out_count_too() -> None:
    verdict = judge(GOOD, Interference({0: 0.01, 1: 0.2}, 0.3), drained=False)
    expected = ("hypervisor took 20% of a core", "other programs used 30% of the backend's core", "caught up")
    assert len(verdict.reasons) == len(expected)
    assert all(part in reason for part, reason in zip(expected, verdict.reasons, strict=True))


def test_a_closed_run_has_no_offered_number() -> None:
    assert judge(dataclasses.replace(GOOD, offered=0), NOTHING, drained=True).valid


def test_figures_are_taken_from_the_records() -> None:
    zeros = np.zeros(4, np.int64)
    info = {
        "segments": [{"sent": 3, "cpu_s": 1.0, "wall_s": 2.0}, {"sent": 1, "cpu_s": 0.5, "wall_s": 1.0}],
        "pool_dry": 0, "reopened": 2, "connections": 512, "realtime": False,
    }  # fmt: skip
    sent_ns = np.array([1, 2, 3, 10], np.int64) * 1_000_000
    records = Records(zeros, np.arange(4), zeros, zeros, sent_ns, zeros, zeros, info)
    figures = GeneratorFigures.of(records, offered=4)
    assert (figures.sent, figures.recorded, figures.reopened) == (4, 4, 2)
    assert figures.cpu_share == pytest.approx(0.5)
    assert figures.slip_p50_s == pytest.approx(0.0025)
    assert figures.slip_max_s == pytest.approx(0.010)
