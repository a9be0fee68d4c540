"""A platform that is no feed, built from the path steps, and the operations that run it."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import pathlib
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import polars as pl
import pytest

from model import OpenLoad, Plant, simulate_plant
from model.engine import layout as c
from model.engine.dataplane import DataPlane
from model.engine.effects import E_PAGE, SPREAD_EACH, SPREAD_HOT
from model.engine.operations import autoscale, circuit_breaker, every, fail_over, faults
from model.engine.program import (
    Acquire,
    Attempt,
    Effect,
    Fail,
    Lookup,
    Part,
    Path,
    Release,
    Store,
    Switch,
    delay,
    scatter,
    serve,
    when,
)  # fmt: skip
from model.engine.running import Running
from model.engine.tables import exponential_from_mean
from model.platform.custom import PlantRun
from model.spec import InputError

MS = 1e-3
ROOT = pathlib.Path(__file__).resolve().parents[2]


def shop() -> Plant:
    """A shop of three services: a gateway, a catalogue with a cache before its database, and a payment provider that
    is tried twice."""
    plant = Plant()
    for step, mean_ms in (("route", 0.2), ("render", 1.0), ("query", 4.0), ("charge", 3.0)):
        plant.step(step, mean_ms * MS, cv=1.0)
    plant.wait("network", exponential_from_mean(0.5e6))
    plant.fifo("gateway", servers=2)
    plant.fifo("catalogue", servers=2)
    plant.fifo("payment", servers=2)
    plant.pool("connections", 3)
    plant.cache("products", 2_000, ttl_s=20.0)
    query = (Acquire("connections"), delay("network"), serve("query", on="catalogue"), Release("connections"))
    browse = (
        serve("route", on="gateway"), Lookup("products"), when((*query, Store("products"))),
        serve("render", on="catalogue"), delay("network"),
    )  # fmt: skip
    charge = (delay("network"), serve("charge", on="payment"))
    buy = (serve("route", on="gateway"), Attempt(charge, timeout_s=0.05, retries=1), when((Fail("timeout"),)))
    plant.endpoint("browse", browse)
    plant.endpoint("buy", buy)
    return plant


LOAD = OpenLoad({"browse": 400.0, "buy": 100.0}, targets=20_000, zipf=0.9)


@pytest.fixture(scope="module")
def run() -> PlantRun:
    return simulate_plant(shop(), LOAD, duration_s=40, warmup_s=5, seed=3)


def test_three_services_in_forty_lines(run: PlantRun) -> None:
    import inspect

    assert len(inspect.getsource(shop).splitlines()) < 40
    assert run.endpoints == ("browse", "buy")
    answered = sum(run.count("ok", name) for name in run.endpoints)
    assert answered == run.latency().n == run.count()
    assert run.latency("browse").n == pytest.approx(400 * 35, rel=0.03)
    assert run.count("timeout", "buy") + run.count("ok", "buy") == pytest.approx(100 * 35, rel=0.06)
    assert run.throughput_per_s("browse") == pytest.approx(400, rel=0.03)
    assert run.trouble == ""
    assert 0.4 < run.hit_ratios["products"] < 0.9
    # Utilisation is the demand: what each request brings times how many come.
    misses = 1 - run.hit_ratios["products"]
    assert run.utilisation("catalogue") == pytest.approx(400 * (1.0 + 4.0 * misses) * MS / 2, rel=0.08)
    assert run.utilisation("gateway") == pytest.approx(500 * 0.2 * MS / 2, rel=0.08)


def test_traces_tell_where_a_request_was(run: PlantRun) -> None:
    assert 300 < run.traces["ordinal"].n_unique() <= 1_000
    bought = run.traces.filter(pl.col("endpoint") == "buy")
    assert set(bought["step"]) == {"route", "network", "charge"}
    one = run.traces.filter(pl.col("ordinal") == run.traces["ordinal"][0])
    begins, ends = one["begin_s"].to_numpy(), (one["begin_s"] + one["residence_s"]).to_numpy()
    # A request is at one place at a time, and goes from one to the next without a gap.
    assert np.allclose(begins[1:], ends[:-1], atol=2e-9)


def test_the_same_seed_gives_the_same_run_and_another_does_not(run: PlantRun) -> None:
    again = simulate_plant(shop(), LOAD, duration_s=40, warmup_s=5, seed=3)
    assert again.traces.equals(run.traces)
    assert again.latency().sum_ns == run.latency().sum_ns
    assert simulate_plant(shop(), LOAD, duration_s=40, warmup_s=5, seed=4).latency().sum_ns != run.latency().sum_ns


def test_the_example_of_the_docs_runs_as_it_stands() -> None:
    page = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "custom-platforms.md").read_text(encoding="utf-8")
    lines = page.split("## A platform in a few lines\n")[1].splitlines()
    code = textwrap.dedent("\n".join(itertools.takewhile(lambda line: not line or line.startswith("    "), lines)))
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["run"].count("ok", "browse") > 20_000


def queue(servers: int = 1) -> Plant:
    plant = Plant()
    plant.step("work", 10 * MS, cv=1.0)
    plant.fifo("station", servers=servers)
    plant.endpoint("work", (serve("work", on="station"),))
    return plant


def test_an_autoscaler_follows_the_load_and_cools_down() -> None:
    changes: list[tuple[float, int]] = []
    scaler = autoscale(
        "station", lowest=1, highest=8, above=0.7, below=0.3, interval_s=1.0, cooldown_s=4.0,
        on_change=lambda time_s, servers: changes.append((time_s, servers)),
    )  # fmt: skip
    run = simulate_plant(queue(), OpenLoad({"work": 300.0}), duration_s=60, processes=[scaler])
    # Three servers' worth of work needs five to stay below 70 %.
    assert [servers for _, servers in changes] == [2, 3, 4, 5]
    times = [time_s for time_s, _ in changes]
    assert all(later - earlier >= 4.0 for earlier, later in itertools.pairwise(times))
    late = run.gauge("utilisation", "station").filter(pl.col("time_s") > times[-1] + 20)
    assert late["value"].mean() == pytest.approx(0.6, rel=0.1)
    assert run.trouble == ""


def test_more_than_it_can_serve_is_said_and_what_saturates() -> None:
    run = simulate_plant(queue(), OpenLoad({"work": 110.0}), duration_s=60)
    assert "what saturates: station station, busy 99" in run.trouble or "busy 100" in run.trouble
    assert simulate_plant(queue(), OpenLoad({"work": 50.0}), duration_s=60).trouble == ""


def test_too_much_work_is_said_of_a_run_too_short_for_a_trend() -> None:
    run = simulate_plant(queue(), OpenLoad({"work": 150.0}), duration_s=3)
    assert run.trouble.startswith("station station was given 1")
    assert simulate_plant(queue(), OpenLoad({"work": 90.0}), duration_s=3).trouble == ""


def test_a_circuit_breaker_turns_away_instead_of_waiting() -> None:
    def fragile() -> Plant:
        plant = queue(servers=2)
        plant.switch("open")
        call = Attempt((serve("work", on="station"),), timeout_s=0.1)
        plant.endpoint(
            "work", (Switch("open"), when((delay(fixed_s=1e-4), Fail("rejected"))), call, when((Fail("timeout"),)))
        )
        return plant

    slow = faults((10.0, 10.0, lambda p: p.station[0].slow_down(20), lambda p: p.station[0].slow_down(1)))
    load = OpenLoad({"work": 100.0})
    without = simulate_plant(fragile(), load, duration_s=60, processes=[slow])
    breaker = circuit_breaker("open", failures=0.5, interval_s=1.0, open_s=5.0)
    with_it = simulate_plant(fragile(), load, duration_s=60, processes=[slow, breaker])
    assert without.count("rejected") == 0
    assert with_it.count("rejected") > 300
    # Without it the abandoned work keeps the station busy long after it is quick again.
    assert with_it.count("timeout") < without.count("timeout") / 2
    assert with_it.count("ok") > without.count("ok")


def test_a_periodic_refresh_is_load() -> None:
    plant = queue(servers=1)
    plant.step("refresh", 0.5)
    plant.job("refresh", (serve("refresh", on="station"),))
    run = simulate_plant(
        plant, OpenLoad({"work": 20.0}), duration_s=40, processes=[every(10.0, "refresh", first_s=5.0)]
    )
    refreshes = run.steps.filter(pl.col("step") == "refresh")
    assert refreshes["visits"].item() == 4  # at 5, 15, 25 and 35 s
    assert run.utilisation("station") == pytest.approx(20 * 10 * MS + 0.05, rel=0.12)
    calm = simulate_plant(queue(), OpenLoad({"work": 20.0}), duration_s=40)
    assert run.latency().quantile(0.99) > 10 * calm.latency().quantile(0.5)


def test_failover_of_a_primary() -> None:
    plant = Plant()
    plant.step("write", 2 * MS, cv=1.0)
    plant.fifo("primary")
    plant.fifo("standby")
    plant.switch("promoted")

    def write(on: str) -> Path:
        return (Attempt((serve("write", on=on),), timeout_s=0.5), when((Fail("timeout"),)))

    plant.endpoint("write", (Switch("promoted"), when(write("standby"), write("primary"))))
    outage = fail_over("primary", "promoted", at_s=10.0, detected_s=3.0)
    run = simulate_plant(plant, OpenLoad({"write": 100.0}), duration_s=40, processes=[outage])
    # Who wrote within three seconds, or had half a second of the primary left, lost.
    assert run.count("timeout") == pytest.approx(300, rel=0.15)
    assert run.utilisation("standby") == pytest.approx(100 * 2 * MS * 27 / 40, rel=0.1)
    assert math.isclose(run.count("ok") + run.count("timeout"), 100 * 40, rel_tol=0.05)


def test_a_cache_can_be_emptied_while_it_runs() -> None:
    ratios: list[float] = []

    def cold(env, platform):  # type: ignore[no-untyped-def]
        cache = platform.cache("products")
        yield env.timeout(20)
        ratios.append(cache.hit_ratio)
        assert cache.entries > 0
        cache.flush()
        assert cache.entries == 0
        hits, misses = cache.hits, cache.misses
        yield env.timeout(1)
        ratios.append((cache.hits - hits) / (cache.hits - hits + cache.misses - misses))

    simulate_plant(shop(), LOAD, duration_s=30, processes=[cold])
    assert ratios[1] < ratios[0] - 0.1


def test_a_user_s_own_process_finds_stations_by_name() -> None:
    seen: list[int] = []

    def process(env, platform):  # type: ignore[no-untyped-def]
        yield env.timeout(2)
        platform.station[0].slow_down(5)
        yield env.timeout(2)
        seen.append(platform.station[0].queue_length)
        with pytest.raises(AttributeError, match="'Running' object has no attribute 'stations2'"):
            platform.stations2  # noqa: B018

    simulate_plant(queue(), OpenLoad({"work": 50.0}), duration_s=6, processes=[process])
    assert seen[0] > 20


def test_a_group_whose_name_ends_in_a_digit_is_found() -> None:
    plant = queue()
    plant.fifo("db1", count=2)
    plant.fifo("db2")
    platform = Running(DataPlane(plant, 1))
    assert [station.name for station in platform.db1] == ["db10", "db11"]
    assert [station.name for station in platform.stations("db2")] == ["db2"]
    assert [station.name for station in platform.db11] == ["db11"]


def test_many_who_wait_for_a_stopped_station_begin_when_it_goes_on() -> None:
    plant = queue(servers=40_000)

    def outage(env, platform):  # type: ignore[no-untyped-def]
        platform.station[0].pause()
        yield env.timeout(1)
        assert platform.station[0].queue_length > 35_000
        platform.station[0].resume()

    run = simulate_plant(plant, OpenLoad({"work": 40_000.0}), duration_s=1.5, processes=[outage])
    assert run.trouble == ""
    assert run.count() == pytest.approx(60_000, rel=0.02)


PLAIN = """
import hashlib, sys
from model import simulate_plant
from tests.platform.test_custom import LOAD, shop
run = simulate_plant(shop(), LOAD, duration_s=2)
sys.stdout.write(hashlib.sha256(run.traces.write_csv().encode()).hexdigest())
"""


def test_with_the_jit_off() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLAIN], env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, cwd=ROOT, capture_output=True,
        text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    traces = simulate_plant(shop(), LOAD, duration_s=2).traces
    assert done.stdout == hashlib.sha256(traces.write_csv().encode()).hexdigest()


def test_a_scatter_waits_for_the_slowest_of_its_shards() -> None:
    plant = Plant()
    plant.step("work", 10 * MS)
    plant.fifo("index", count=4, selector=c.SEL_SHARD)
    plant.endpoint("search", (scatter(SPREAD_EACH, (serve("work", on="index"),)),))

    def slow(env, platform):  # type: ignore[no-untyped-def]
        platform.index[3].slow_down(3)
        yield env.timeout(0)

    run = simulate_plant(plant, OpenLoad({"search": 2.0}), duration_s=20, shards=4, processes=[slow])
    assert run.steps["visits"].item() == 4 * run.count()
    assert run.latency().quantile(0.5) == pytest.approx(30 * MS, rel=0.01)


@pytest.mark.parametrize("discipline", ["fcfs", "sharing"])
def test_the_utilisation_of_processes_per_visit_is_that_of_the_cores(discipline: Any) -> None:
    plant = Plant()
    plant.host("machine", 4, discipline)
    plant.step("work", 10 * MS)
    plant.multi("server", host="machine", wake_s=0)
    plant.endpoint("work", (serve("work", on="server"),))
    run = simulate_plant(plant, OpenLoad({"work": 200.0}), duration_s=20)
    assert run.utilisation("server") == pytest.approx(0.5, rel=0.05)


def test_a_figure_that_is_not_there_is_refused(run: PlantRun) -> None:
    with pytest.raises(InputError, match="outcome is 'lost'; allowed: ok, missing, "):
        run.count("lost")
    with pytest.raises(InputError, match="endpoint is 'sell'; allowed: browse, buy"):
        run.count(endpoint="sell")
    with pytest.raises(InputError, match="gauge 'utilisation' of 'till' is not there; there are: gateway, catalogue"):
        run.utilisation("till")


def feedlike(part: Part) -> None:
    plant = queue()
    plant.endpoint("work", (part, serve("work", on="station")))
    simulate_plant(plant, OpenLoad({"work": 10.0}), duration_s=1)


def test_a_plant_may_be_run_again() -> None:
    plant = shop()
    first, second = (simulate_plant(plant, LOAD, duration_s=3) for _ in range(2))
    assert first.traces.equals(second.traces)
    assert np.array_equal(first.latency().counts, second.latency().counts)


def controlled(process: Any) -> None:
    plant = queue()
    plant.switch("on")
    simulate_plant(plant, OpenLoad({"work": 1.0}), duration_s=1, processes=[process])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: OpenLoad({"work": -1.0}), r"rates_per_s\['work'\] is -1.0; it must be finite and not negative"),
        (lambda: OpenLoad({"work": 0.0}), "at least one rate must be positive"),
        (lambda: simulate_plant(queue(), OpenLoad({"wrok": 1.0}), duration_s=1), "no such endpoint; defined: work"),
        (lambda: simulate_plant(queue(), OpenLoad({"work": 1.0}), duration_s=1, warmup_s=2), "warmup_s is 2"),
        (lambda: simulate_plant(queue(), OpenLoad({"work": 1.0}), duration_s=math.inf), "duration_s is inf"),
        (lambda: simulate_plant(queue(), OpenLoad({"work": 1.0}), duration_s=1, time_limit_s=-1), "time_limit_s is -1"),
        (lambda: simulate_plant(queue(), OpenLoad({"work": 1.0}), duration_s=1, seed=-1), "seed is -1"),
        (lambda: simulate_plant(Plant(), OpenLoad({"work": 1.0}), duration_s=1), "the platform has no endpoint"),
        (lambda: OpenLoad({"work": 1.0}, targets=10**13), "targets is 10000000000000, which needs 74505.8 GiB"),
        (lambda: simulate_plant(queue(), OpenLoad({"work": 1.0}), duration_s=1, shards=0), "shards is 0"),
        (lambda: feedlike(scatter(SPREAD_HOT, (serve("work", on="station"),))), "a path uses data of the feed"),
        (lambda: feedlike(Effect(E_PAGE)), "a path uses data of the feed"),
        (lambda: OpenLoad({"work": 1e12}), "all together must be at most"),
        (lambda: autoscale("station", lowest=3, highest=2), "autoscale 'station'"),
        (lambda: circuit_breaker("open", failures=2.0), "failures is 2.0"),
        (lambda: every(0.0, "refresh"), "period_s is 0.0"),
        (lambda: fail_over("primary", "promoted", at_s=-1.0, detected_s=0.0), "at_s is -1.0"),
        (
            lambda: simulate_plant(queue(), OpenLoad({"work": 1.0}), duration_s=3, processes=[every(1.0, "repair")]),
            "job 'repair' is not defined; defined: none",
        ),
        (lambda: controlled(autoscale("nobody", lowest=1, highest=2)), "station 'nobody' is not defined; defined: sta"),
        (lambda: controlled(fail_over("nobody", "on", at_s=0, detected_s=0)), "station 'nobody' is not defined"),
        (lambda: Running(DataPlane(queue(), 1)).cache("nothing"), "cache 'nothing' is not defined; defined: none"),
        (lambda: Running(DataPlane(queue(), 1)).queue_length("line"), "queue 'line' is not defined; defined: none"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        call()
