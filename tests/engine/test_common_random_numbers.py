"""A draw belongs to a request and a step, not to the order of events: two configurations see the same luck."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from model.engine import layout as c
from model.engine.plant import Plant
from model.engine.program import Part, Path, delay, serve, spawn
from model.engine.tables import lognormal_from_mean_cv
from model.rng import generator
from tests.engine.arrivals import Arrivals
from tests.engine.planes import IntArray, Recorded

COUNT = 2_000


def run(slow: float = 1.0, *, more: Sequence[Part] = (), rate_per_s: float = 20_000.0, capacity: int = 1) -> IntArray:
    """Requests of two endpoints; only the second visits `b`. Returns the log by ordinal."""
    plant = Plant()
    plant.step("a", 20e-6, cv=1.0)
    plant.step("b", slow * 50e-6, cv=0.7)
    plant.step("extra", 1e-6, cv=1.0)
    plant.wait("network", lognormal_from_mean_cv(100e3, 0.5))
    plant.fifo("left", servers=capacity)
    plant.fifo("right", servers=capacity)
    plant.fifo("aside")
    first: Path = (delay("network"), serve("a", on="left"), *more, delay("network"))
    second: Path = (delay("network"), serve("b", on="right"), delay("network"))
    plant.endpoints.extend((first, second))
    random = generator(4, "arrivals")
    times = np.cumsum(random.exponential(1e9 / rate_per_s, COUNT)).astype(np.int64)
    zeros = np.zeros(COUNT, np.int64)
    return Recorded(plant, [Arrivals(0, times, np.arange(COUNT) % 2, zeros, zeros)], seed=9).finish()


def test_requests_that_a_change_does_not_touch_keep_their_latency_to_the_bit() -> None:
    base, slower = run(), run(slow=3.0)
    untouched = base[:, c.L_LABEL] == 0
    assert np.array_equal(base[untouched], slower[untouched])
    assert (slower[~untouched, c.L_VALUE] > base[~untouched, c.L_VALUE]).all()


def test_a_new_step_shifts_nobodys_draws() -> None:
    base, extended = run(), run(more=[spawn([serve("extra", on="aside")])])
    assert np.array_equal(base, extended)


def test_without_queueing_a_change_scales_exactly_its_own_part() -> None:
    """With a server for everyone, the difference of two runs is the difference of the one step that changed."""
    base, slower, slowest = (run(slow, capacity=COUNT)[1::2, c.L_VALUE] for slow in (1.0, 2.0, 3.0))
    assert np.abs((slowest - slower) - (slower - base)).max() <= 2  # rounding to ns
    assert np.corrcoef(slower - base, base)[0, 1] < 0.9  # the networks' draws are not in the difference


def test_load_does_not_change_what_a_request_costs() -> None:
    """At another rate the same request draws the same service time: only its waiting differs."""
    calm, busy = (run(rate_per_s=rate, capacity=COUNT) for rate in (1_000.0, 100_000.0))
    assert np.array_equal(calm[:, c.L_VALUE], busy[:, c.L_VALUE])


@pytest.mark.parametrize("servers", [1, 2])
def test_one_more_server_makes_no_request_of_a_single_station_later(servers: int) -> None:
    """Monotonicity path by path, which holds for one FIFO station."""

    def with_servers(count: int) -> IntArray:
        plant = Plant()
        plant.step("work", 100e-6, cv=1.0)
        plant.fifo("station", servers=count)
        plant.endpoints.append((serve("work", on="station"),))
        random = generator(5, "arrivals")
        times = np.cumsum(random.exponential(90e3 / servers, COUNT)).astype(np.int64)
        zeros = np.zeros(COUNT, np.int64)
        return Recorded(plant, [Arrivals(0, times, zeros, zeros, zeros)], seed=2).finish()[:, c.L_VALUE]

    fewer, more = with_servers(servers), with_servers(servers + 1)
    assert (more <= fewer).all()
    assert more.sum() < fewer.sum()
