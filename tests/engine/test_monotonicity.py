"""More capacity never hurts: for each request at a single station, in the mean over seeds in a network.

Service times are drawn by request, not by order of events, so two capacities meet the same requests.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.engine import layout as c
from model.engine.plant import Plant
from model.engine.program import Path, serve
from tests.engine.planes import IntArray, recorded

NS = 1e-9
SERVICE_NS = 100

gaps = st.lists(st.integers(0, 150), min_size=2, max_size=120)
cvs = st.sampled_from([0.0, 0.5, 1.0, 2.0])
seeds = st.integers(0, 2**32)


def departures(
    gaps_ns: Sequence[int], cv: float, seed: int, *, servers: int = 1, slowdown: float = 1.0, kind: str = "fifo"
) -> IntArray:
    def build(plant: Plant) -> Sequence[Path]:
        plant.step("work", SERVICE_NS * NS * slowdown, cv=cv)
        if kind == "fifo":
            plant.fifo("station", servers=servers)
        else:
            plant.host("host", servers, discipline="sharing" if kind == "shared" else "fcfs")
            plant.multi("station", host="host", wake_s=0)
        return [(serve("work", on="station"),)]

    log = recorded(build, [(int(time), 0) for time in np.cumsum(gaps_ns)], seed).finish()
    leaves: IntArray = log[:, c.L_TIME] + log[:, c.L_VALUE]
    return leaves


@given(gaps_ns=gaps, cv=cvs, seed=seeds, servers=st.integers(1, 4), kind=st.sampled_from(["fifo", "fcfs", "shared"]))
@settings(max_examples=60)
def test_one_server_more_makes_nobody_later(gaps_ns: list[int], cv: float, seed: int, servers: int, kind: str) -> None:
    fewer = departures(gaps_ns, cv, seed, servers=servers, kind=kind)
    more = departures(gaps_ns, cv, seed, servers=servers + 1, kind=kind)
    # A shared host rounds each end up to a whole ns, once for each task that came or went meanwhile.
    assert (more <= fewer + (1 if kind == "shared" else 0)).all()


@given(gaps_ns=gaps, cv=cvs, seed=seeds, servers=st.integers(1, 3), kind=st.sampled_from(["fifo", "fcfs", "shared"]))
@settings(max_examples=60)
def test_a_quicker_server_makes_nobody_later(gaps_ns: list[int], cv: float, seed: int, servers: int, kind: str) -> None:
    slow = departures(gaps_ns, cv, seed, servers=servers, slowdown=1.5, kind=kind)
    quick = departures(gaps_ns, cv, seed, servers=servers, kind=kind)
    assert (quick <= slow + (1 if kind == "shared" else 0)).all()


def test_in_a_network_a_quicker_first_stage_can_delay_a_request_but_not_the_mean() -> None:
    """Two stages with two endpoints: overtaking in the first changes the order of arrival at the second."""

    def run(first_ns: int, seed: int) -> IntArray:
        def build(plant: Plant) -> Sequence[Path]:
            plant.step("first", first_ns * NS, cv=1.0)
            plant.step("second", SERVICE_NS * NS, cv=1.0)
            plant.fifo("one", servers=3)
            plant.fifo("two")
            return [(serve("first", on="one"), serve("second", on="two"))]

        random = np.random.Generator(np.random.Philox(seed))
        times = np.cumsum(random.exponential(130.0, 400)).astype(int)
        log = recorded(build, [(int(time), 0) for time in times], seed).finish()
        values: IntArray = log[:, c.L_VALUE]
        return values

    pairs = [(run(300, seed), run(200, seed)) for seed in range(30)]
    assert any((quick > slow).any() for slow, quick in pairs), "no request was delayed: the test shows nothing"
    gains = np.array([slow.mean() - quick.mean() for slow, quick in pairs])
    assert gains.mean() > 3 * gains.std(ddof=1) / np.sqrt(len(gains))
