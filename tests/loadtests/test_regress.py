"""The regression gate on two real backends: it finds what was slowed down, and accuses nobody of the same code."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from loadtests.regress import Plan, Regression, regress, summary
from model.spec import InputError, Scenario

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = Scenario.load(
    "baseline",
    {
        "population.users": 300,
        "population.mean_followers": 15,
        "workload.rate_per_s": 200,
        "workload.mix": {"home_timeline": 0.35, "profile": 0.35, "create_post": 0.05, "react": 0.05, "read_post": 0.20},
    },
)
PLAN = Plan(slices=10, slice_s=1.2)

SLOWER_PROFILE = """

import time as _time

_profile = Feed.profile


async def _slower(self, request, trace):
    began = _time.perf_counter()
    reply = await _profile(self, request, trace)
    until = _time.perf_counter() * 1.5 - began * 0.5
    while _time.perf_counter() < until:
        pass
    return reply


Feed.profile = _slower
"""


def checkout(folder: Path) -> Path:
    """What the backend's processes import, copied."""
    for package in ("real_backend", "model"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def verdicts(result: Regression) -> dict[tuple[str, float], str]:
    return {(line.endpoint, line.quantile): line.verdict for line in result.lines}


def blamed(result: Regression) -> list[str]:
    """What was wrong with the load test itself; other programs on this machine only widen the intervals."""
    return [reason for reason in result.validity.reasons if "other programs" not in reason]


def test_a_handler_slowed_down_by_half_is_found(tmp_path: Path) -> None:
    candidate = checkout(tmp_path / "candidate")
    with (candidate / "real_backend" / "api" / "feed.py").open("a") as feed:
        feed.write(SLOWER_PROFILE)
    told: list[str] = []
    result = regress(ROOT, candidate, SCENARIO, PLAN, on_progress=lambda message, done, total: told.append(message))
    assert not blamed(result), result.validity.reasons
    assert verdicts(result)["profile", 0.5] == "slower", summary(result)
    assert result.regressed
    assert result.failures == ({}, {})
    assert result.requests == pytest.approx(200 * PLAN.duration_s, rel=0.1)
    assert told[0] == "starting base"


def test_the_same_code_is_not_accused() -> None:
    result = regress(ROOT, ROOT, SCENARIO, PLAN)
    assert not blamed(result), result.validity.reasons
    assert not result.regressed, summary(result)
    assert verdicts(result)["profile", 0.5] == "ok", summary(result)


def test_a_folder_without_a_backend_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a checkout of the backend"):
        regress(ROOT, tmp_path, SCENARIO, PLAN)


def test_a_closed_load_is_refused() -> None:
    with pytest.raises(InputError, match=r"workload\.mode is 'closed'"):
        regress(ROOT, ROOT, SCENARIO.with_(workload__mode="closed"), PLAN)


def test_servers_of_somebody_else_cannot_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEEDTWIN_POSTGRES_URL", "postgresql://127.0.0.1:1/feed")
    with pytest.raises(InputError, match="FEEDTWIN_POSTGRES_URL"):
        regress(ROOT, ROOT, SCENARIO, PLAN)
