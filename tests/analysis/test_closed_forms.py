"""Which closed form goes with a station, and what stands in its way: each assumption met, and each broken."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from model.analysis import queueing
from model.analysis.closed_forms import ClosedForm, NoClosedForm, closed_forms
from model.analysis.verification import networks, stations
from model.analysis.verification.bench import Bench
from model.analysis.verification.sections import ratio
from model.engine import layout as c
from model.engine.plant import Background, Plant
from model.engine.program import (
    Acquire,
    Attempt,
    Fail,
    Forever,
    Get,
    Lookup,
    Part,
    Path,
    Put,
    Release,
    Serve,
    Store,
    Turn,
    delay,
    flush,
    serve,
    spawn,
    when,
)  # fmt: skip
from model.engine.tables import constant, exponential_from_mean
from model.spec import InputError

S = stations.SERVICE_S
WORK = serve("work", on="station")


def only(plant: Plant, *rates_per_s: float, station: str = "station") -> ClosedForm | NoClosedForm:
    (found,) = [form for form in closed_forms(plant, rates_per_s) if form.station == station]
    return found


def results(plant: Plant, *rates_per_s: float, station: str = "station") -> dict[str, float]:
    form = only(plant, *rates_per_s, station=station)
    assert isinstance(form, ClosedForm), form
    return dict(form.results)


# Assumptions that are met: the formulas that the checks hold the engine to


@pytest.mark.parametrize(("kind", "servers"), [("fifo", 1), ("loop", 1), ("host", 1), ("fifo", 4), ("host", 4)])
def test_exponential_service(kind: str, servers: int) -> None:
    rate = 0.8 * servers / S
    known = {"rate_per_s": rate, "service_s": S, "servers": servers}
    form = only(stations.single_station(kind, servers=servers), rate)
    assert isinstance(form, ClosedForm)
    assert form.model == f"M/M/{servers}"
    assert form.parameters == pytest.approx({**known, "utilisation": 0.8})
    assert form.results == pytest.approx(
        {
            "mean_s": queueing.mmc_mean_s(**known),  # type: ignore[arg-type]
            "p95_s": queueing.mmc_quantile_s(0.95, **known),  # type: ignore[arg-type]
            "p99_s": queueing.mmc_quantile_s(0.99, **known),  # type: ignore[arg-type]
        }
    )


def test_general_service() -> None:
    form = only(stations.single_station("fifo", cv=0.0), 600.0)
    assert isinstance(form, ClosedForm)
    assert form.model == "M/D/1"
    exact = queueing.mg1_fcfs_mean_s(rate_per_s=600.0, service_s=S, cv=0.0)
    assert form.results == pytest.approx({"mean_s": exact})
    # A process per visit that has to wake up first is one service more.
    exact = queueing.mg1_fcfs_mean_s(rate_per_s=600.0, service_s=S + 1e-4, cv=0.0)
    assert results(stations.single_station("host", cv=0.0, wake_s=1e-4), 600.0) == pytest.approx({"mean_s": exact})


def test_set_up_and_sharing() -> None:
    form = only(stations.single_station("loop", wake_s=0.5e-3), 600.0)
    assert isinstance(form, ClosedForm)
    assert form.model == "M/M/1 with set-up"
    exact = queueing.mg1_setup_mean_s(rate_per_s=600.0, service_s=S, cv=1.0, setup_s=0.5e-3)
    assert form.results == pytest.approx({"mean_s": exact}, rel=1e-3)
    mean = queueing.mg1_ps_mean_s(rate_per_s=600.0, service_s=S)
    assert results(stations.single_station("shared", cv=2.0), 600.0) == pytest.approx({"mean_s": mean})


def test_two_endpoints_with_costs_of_their_own_are_a_mixture() -> None:
    plant = Plant()
    plant.fifo("station")
    plant.step("small", 1e-3)
    plant.step("large", 4e-3)
    plant.wait("network", exponential_from_mean(1e6))
    plant.endpoints += [(serve("small", on="station"),), (delay("network"), serve("large", on="station"))]
    mean, second = 0.75 * 1e-3 + 0.25 * 4e-3, 0.75 * 1e-6 + 0.25 * 16e-6
    wait = 400 * second / (2 * (1 - 400 * mean))
    assert results(plant, 300.0, 100.0) == pytest.approx({"mean_s": mean + wait})


def test_a_network_with_feedback_is_a_product_form() -> None:
    rates = [share * networks.EXTERNAL_PER_S for share, _ in networks.routes()]
    forms = closed_forms(networks.network(), rates)
    traffic = queueing.traffic_per_s((networks.EXTERNAL_PER_S, 0.0, 0.0), networks.ROUTING)
    visits_s, _ = queueing.product_form_mean_s(
        rates_per_s=traffic.tolist(), services_s=networks.SERVICES_S, servers=networks.SERVERS,
        external_per_s=networks.EXTERNAL_PER_S,
    )  # fmt: skip
    assert [form.station for form in forms] == list(networks.STATIONS)
    assert [form.results["mean_s"] for form in forms if isinstance(form, ClosedForm)] == pytest.approx(visits_s, 1e-6)


def test_what_leaves_an_exponential_station_is_poisson_at_the_next() -> None:
    plant = Plant()
    plant.step("first", 1e-3, law="exponential")
    plant.step("work", 1e-3, cv=2.0)
    plant.fifo("front")
    plant.fifo("station")
    plant.endpoints.append((serve("first", on="front"), WORK))
    alone = results(stations.single_station("fifo", cv=2.0), 500.0)
    assert results(plant, 500.0) == pytest.approx(alone)


def test_a_loss_system() -> None:
    rate = networks.OFFERED / networks.HOLDING_S
    blocked = queueing.erlang_b(servers=networks.CIRCUITS, offered=networks.OFFERED)
    assert results(networks.circuits(2.0), rate, station="circuits") == pytest.approx({"blocked": blocked})
    plant = Plant()
    plant.pool("lines", 3)
    plant.wait("hold", constant(2e6))
    path = (Acquire("lines", most_waiting=0), when((Fail(),), (delay("hold", fixed_s=1e-3), Release("lines"))))
    plant.endpoints.append(path)
    blocked = queueing.erlang_b(servers=3, offered=3.0)
    assert results(plant, 1000.0, station="lines") == pytest.approx({"blocked": blocked})


def test_what_takes_no_time_does_not_hurt() -> None:
    plant = stations.single_station("fifo")
    plant.cache("cache", 10)
    plant.queue("log")
    plant.endpoints[0] = (Lookup("cache"), when((Store("cache"),)), Put("log"), WORK, spawn((delay(fixed_s=1.0),)))
    assert results(plant, 500.0)["mean_s"] == pytest.approx(2e-3)


def test_an_endpoint_that_nobody_asks_for_does_not_count() -> None:
    plant = stations.single_station("fifo")
    plant.endpoints.append((WORK, delay(fixed_s=1.0), WORK))
    assert results(plant, 500.0, 0.0)["mean_s"] == pytest.approx(2e-3)


def tandem_of_kinds(plant: Plant) -> tuple[list[Path], list[float]]:
    """Poisson arrivals through an exponential and a shared station, then one of general service."""
    plant.step("first", 1.0e-3, law="exponential")
    plant.step("second", 1.2e-3, cv=2.0)
    plant.step("third", 1.0e-3, cv=0.5)
    plant.fifo("front", servers=2)
    plant.host("core", discipline="sharing")
    plant.multi("middle", host="core", wake_s=0.1e-3)
    plant.fifo("back")
    path = serve("first", on="front"), serve("second", on="middle"), delay(fixed_s=5e-3), serve("third", on="back")
    return [path], [550.0]


def feedback_through_a_shared_core(plant: Plant) -> tuple[list[Path], list[float]]:
    """Who comes back meets the same station again; one class is larger than the other (Baskett et al. 1975)."""
    for visit in range(3):
        plant.step(f"small {visit}", 0.4e-3, cv=1.5)
    plant.step("large", 1.5e-3)
    plant.step("front", 0.5e-3, law="exponential")
    plant.fifo("front")
    plant.host("core", discipline="sharing")
    plant.multi("station", host="core", wake_s=0.0)
    again = [part for visit in range(3) for part in (serve(f"small {visit}", on="station"), delay(fixed_s=2e-3))]
    return [(serve("front", on="front"), *again), (serve("large", on="station"),)], [400.0, 150.0]


def set_up_behind_a_loop(plant: Plant) -> tuple[list[Path], list[float]]:
    plant.step("first", 1e-3, law="exponential")
    plant.step("second", 0.8e-3, cv=0.5)
    plant.host("one")
    plant.host("two", cores=3)
    plant.loop("front", host="one", wake_s=0.0, poll_s=0.0)
    plant.loop("back", host="two", wake_s=0.3e-3, poll_s=0.0)
    return [(serve("first", on="front"), serve("second", on="back"))], [600.0]


PREDICTED = [tandem_of_kinds, feedback_through_a_shared_core, set_up_behind_a_loop]


@pytest.mark.parametrize("build", PREDICTED)
def test_the_engine_does_what_the_formulas_say(build: Callable[[Plant], tuple[list[Path], list[float]]]) -> None:
    """Each station has a formula, and its mean residence is within the 99.9 % interval, which is narrow."""
    plant = Plant()
    paths, rates = build(plant)
    plant.endpoints.extend(paths)
    forms = closed_forms(plant, rates)
    bench = Bench(0.999)
    requests, total = 1_500_000, sum(rates)
    shares = [rate / total for rate in rates]
    plane = bench.plane(plant, bench.poisson(build.__name__, rate_per_s=total, requests=requests, endpoints=shares))
    sums = bench.readings(plane, end_s=0.99 * requests / total)
    for form in forms:
        assert isinstance(form, ClosedForm), form
        steps = {part.step for path in paths for part in path if isinstance(part, Serve) and part.on == form.station}
        of = sums[:, [1 + plant.step_rows[step] for step in steps]].sum(axis=1)
        estimate, half_width = ratio(of[:, 1], of[:, 0], bench.confidence)
        exact = form.results["mean_s"]
        assert half_width < 0.04 * exact, form.station
        assert abs(estimate - exact) < half_width, (form, estimate, half_width)


# Assumptions that are broken


def plant_of(*path: Part, prepare: Callable[[Plant], object] = lambda plant: None) -> Plant:
    plant = stations.single_station("fifo")
    plant.step("other", 1e-4, cv=0.5)
    plant.fifo("before")
    prepare(plant)
    plant.endpoints = [path]
    return plant


def shared_host(plant: Plant) -> None:
    plant.host("machine")
    plant.loop("one", host="machine", wake_s=0.0, poll_s=0.0)
    plant.loop("two", host="machine", wake_s=0.0, poll_s=0.0)


BROKEN: list[tuple[Plant, str, str]] = [
    (stations.single_station("fifo", servers=2, cv=0.5), "station", "it has 2 servers, and its service is not one"),
    (stations.single_station("shared", servers=2), "station", "2 cores are shared by all"),
    (networks.line_of_three(), "loop", "it pays poll_s, 0.0001, before each further batch"),
    (networks.line_of_three(), "shared", "its arrivals are not Poisson: they come from 'fifo', where it has 2 servers"),
    (plant_of(serve("other", on="before"), WORK), "station", "from 'before', which is neither exponential without"),
    (plant_of(WORK, WORK), "station", "a request takes 'work' twice, and for the same time"),
    (plant_of(serve("other", on="station"), WORK), "station", "requests come back to it"),
    (
        plant_of(WORK, serve("work", on="one"), serve("other", on="two"), prepare=shared_host),
        "two", "it shares host 'machine' with 'one'",
    ),
    (
        plant_of(WORK, prepare=lambda plant: plant.backgrounds.append(Background((Forever((WORK,)),)))),
        "station", "a background job uses it",
    ),
    (plant_of(delay(fixed_s=1e-3), spawn((WORK,))), "station", "it is visited by work that nobody waits for"),
    (plant_of(Attempt((WORK,), retries=1)), "station", "it is visited by attempts that may be repeated"),
    (
        plant_of(Lookup("cache"), when((WORK,)), delay(fixed_s=1e-3), prepare=lambda plant: plant.cache("cache", 5)),
        "station", "whether a request comes to it depends on the platform's state",
    ),
    (
        plant_of(Lookup("cache"), when((delay(fixed_s=1e-3),)), WORK, prepare=lambda plant: plant.cache("cache", 5)),
        "station", "not Poisson: what comes before it depends on the platform's state",
    ),
    (
        plant_of(Acquire("pool"), WORK, Release("pool"), prepare=lambda plant: plant.pool("pool", 2)),
        "station", "not Poisson: pool 'pool' limits how many come to it",
    ),
    (
        plant_of(Acquire("pool"), WORK, Release("pool"), prepare=lambda plant: plant.pool("pool", 2)),
        "pool", "requests wait for it, or it is not all that they do",
    ),
    (plant_of(Get("queue"), WORK, prepare=lambda plant: plant.queue("queue")), "station", "they wait for messages in"),
    (
        plant_of(serve("work", on="many"), prepare=lambda plant: plant.fifo("many", 3, selector=c.SEL_KEY)),
        "many0", "requests are spread over the 3 stations of 'many'",
    ),
    (
        plant_of(serve("sized", on="station"), prepare=lambda plant: plant.step("sized", 1e-4, per_item_s=1e-5)),
        "station", "what step 'sized' costs depends on its items",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("plant", "station", "because"), BROKEN, ids=[because[:50] for *_, because in BROKEN])
def test_an_assumption_that_fails_is_named(plant: Plant, station: str, because: str) -> None:
    found = only(plant, 100.0, station=station)
    assert isinstance(found, NoClosedForm), found
    assert because in found.because


def test_a_loss_system_with_a_queue_inside_is_none() -> None:
    plant = networks.circuits(2.0)
    plant.stations[1][c.S_SERVERS] -= 1
    found = only(plant, 6000.0, station="circuits")
    assert isinstance(found, NoClosedForm)
    assert "who holds it may have to wait for something else" in found.because
    plant = networks.circuits(2.0)
    plant.endpoints.append((serve("hold", on="lines"),))  # others take the lines, too
    assert isinstance(only(plant, 6000.0, 1.0, station="circuits"), NoClosedForm)


def test_a_group_commit_has_none() -> None:
    plant = stations.single_station("fifo")
    plant.wait("write", constant(1e6))
    plant.group_commit("log", "write", leader=True)
    turned: Path = (flush("work", on="log", turn=Turn("work", "station")), delay(fixed_s=1e-3))
    plant.endpoints = [turned]
    reasons = {form.station: form.because for form in closed_forms(plant, [10.0]) if isinstance(form, NoClosedForm)}
    assert set(reasons) == {"log"}
    assert reasons["log"] == "a group commit serves all who wait at once"


def test_what_holds_for_all_stations() -> None:
    plant = stations.single_station("loop")
    assert isinstance(only(plant, 999.0), ClosedForm)
    full = only(plant, 1000.0)
    assert isinstance(full, NoClosedForm)
    assert full.because == "its utilisation would be 1: there is no steady state"
    for options, because in (({"unsteady": "bursts"}, "bursts"), ({"stalls": True}, "host 'machine' stalls now and")):
        (found,) = closed_forms(plant, [500.0], **options)
        assert isinstance(found, NoClosedForm)
        assert because in found.because


@pytest.mark.parametrize("rates", [[], [1.0, 2.0], [np.nan], [-1.0]])
def test_bad_rates(rates: list[float]) -> None:
    call = partial(closed_forms, stations.single_station("fifo"), rates)
    with pytest.raises(InputError, match="it must hold a finite rate, not negative, for each of 1 endpoints"):
        call()
