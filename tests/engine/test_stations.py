"""Scatter, cores, closed sessions, message queues and batches worked out by hand, in ns."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from model.engine import effects as e
from model.engine import layout as c
from model.engine.dataplane import Sessions, no_data
from model.engine.plant import Background, Plant
from model.engine.program import (
    Acquire,
    Effect,
    Forever,
    Get,
    Path,
    Put,
    Release,
    While,
    delay,
    flush,
    scatter,
    serve,
    when,
)  # fmt: skip
from model.engine.tables import constant
from model.rng.philox import purpose_key, u01
from model.spec import InputError
from tests.engine.arrivals import Arrivals, at
from tests.engine.planes import Recorded, departures, recorded

WAKE, POLL, WORK = 10, 3, 100
NS = 1e-9


def work(plant: Plant) -> None:
    plant.step("work", WORK * NS)


def followed(shards: Sequence[int]) -> dict[str, object]:
    """Data of a platform in which account 0 has one follower per entry of `shards`, whose timeline is there."""
    data = no_data()
    data["follower_offsets"] = np.array([0, len(shards)])
    data["followers"] = np.arange(len(shards), dtype=np.int32)
    data["timeline_shard"] = np.array(shards, np.uint8)
    data["timeline_exists"] = np.ones(len(shards), np.bool_)
    data["timeline_length"] = np.zeros(len(shards), np.int32)
    data["pages"] = np.zeros((len(shards), 1), np.int64)
    data["page_head"] = np.zeros(len(shards), np.int32)
    return data


def test_processes_of_their_own_share_one_core_in_order_of_arrival() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        work(plant)
        plant.host("host")
        plant.multi("one", host="host", wake_s=WAKE * NS)
        plant.multi("other", host="host", wake_s=2 * WAKE * NS)
        return [(serve("work", on="one"),), (serve("work", on="other"),)]

    arrivals = [(0, 0), (1, 1), (2, 0), (3, 1), (1000, 1)]
    assert departures(build, arrivals) == [110, 230, 340, 460, 1120]


def test_two_cores_serve_two_at_a_time() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        work(plant)
        plant.host("host", cores=2)
        plant.multi("backend", host="host", wake_s=WAKE * NS)
        plant.loop("loop", host="host", wake_s=WAKE * NS, poll_s=POLL * NS)
        return [(serve("work", on="backend"),), (serve("work", on="loop"),)]

    # The loop is one process: its second job waits for the first although a core is free.
    assert departures(build, [(0, 0), (5, 0), (7, 0), (500, 1), (510, 1)]) == [110, 115, 220, 610, 610 + POLL + 100]


def test_a_loop_serves_in_gates_the_segments_that_return_to_it() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        work(plant)
        plant.host("host")
        plant.loop("loop", host="host", wake_s=WAKE * NS, poll_s=POLL * NS)
        return [(serve("work", on="loop"), delay(fixed_s=20 * NS), serve("work", on="loop"))]

    # Gates: request 0, 10..110; request 1, 113..213 (0 is back at 130); request 0, 216..316 (1 is back at 233);
    # request 1, 319..419.
    assert departures(build, [(0, 0), (1, 0)]) == [316, 419]
    # Request 2 comes at 150 and shares the third gate with request 0: 316..416 without a poll of its own. It is back at
    # 436, behind the gate of request 1, 419..519.
    assert departures(build, [(0, 0), (1, 0), (150, 0)]) == [316, 519, 622]


def test_a_scatter_waits_for_its_slowest_branch() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.step("push", WORK * NS, per_item_s=10 * NS)
        plant.fifo("redis", 3, selector=c.SEL_SHARD)
        push: Path = (Effect(e.E_FOLLOWERS), scatter(e.SPREAD_BATCH, [serve("push", on="redis")]))
        return [(*push, delay(fixed_s=1 * NS))]

    data = followed([0, 0, 0, 2])
    assert departures(build, [(0, 0)], data=data, shards=3) == [100 + 3 * 10 + 1]
    # The second scatter queues behind the first on both of its shards: 130 + 130, and 110 + 110.
    assert departures(build, [(0, 0), (0, 0)], data=followed([0, 0, 0, 2]), shards=3) == [131, 261]
    log = recorded(build, [(0, 0), (0, 0)], data=followed([0, 0, 0, 2]), shards=3)
    log.finish()
    assert log.plane.state.visits[0].tolist() == [4, 8, 130 + 110 + 260 + 220]


def test_a_scatter_over_nothing_goes_on_at_once() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.step("push", WORK * NS)
        plant.fifo("redis", 3, selector=c.SEL_SHARD)
        return [(Effect(e.E_FOLLOWERS), scatter(e.SPREAD_BATCH, [serve("push", on="redis")]), delay(fixed_s=7 * NS))]

    assert departures(build, [(5, 0)], data=followed([]), shards=3) == [12]


def test_a_worker_takes_messages_one_at_a_time_and_pushes_batch_by_batch() -> None:
    """Five followers in batches of two: three rounds of a batch segment and one visit to a shard."""
    plant = Plant()
    plant.step("batch", WORK * NS)
    plant.step("push", 0.0, per_item_s=10 * NS)
    plant.host("host")
    plant.loop("worker", host="host", wake_s=WAKE * NS, poll_s=POLL * NS)
    plant.fifo("redis", selector=c.SEL_SHARD)
    plant.queue("fanout")
    plant.endpoints.append((Put("fanout"), delay(fixed_s=1 * NS)))
    push = (serve("batch", on="worker"), scatter(e.SPREAD_BATCH, [serve("push", on="redis")]), Effect(e.E_DELIVER))
    plant.backgrounds.append(Background((Forever((Get("fanout"), While(Effect(e.E_NEXT_BATCH, 2), push))),)))
    run = Recorded(plant, [at([0, 50])], data=followed([0] * 5), settings={c.SET_TIMELINE_CAP: 10})
    run.finish(10_000)
    pushed = run.log(c.LOG_DELIVERY)
    # The worker blocks while Redis works, so that every batch wakes it anew.
    assert pushed[:, c.L_TIME].tolist() == [130, 260, 380, 510, 640, 760]
    assert pushed[:, c.L_WEIGHT].tolist() == [2, 2, 1, 2, 2, 1]
    assert run.plane.scalar(c.X_EXPECTED) == 10
    assert run.plane.queue_length("fanout") == 0


def test_a_closed_session_thinks_between_its_requests() -> None:
    plant = Plant()
    work(plant)
    plant.fifo("station")
    plant.endpoints.append((serve("work", on="station"),))
    zeros = np.zeros((2, 3), np.int64)
    thinks = np.array([[0, 50, 70], [30, 1000, 0]])
    run = Recorded(plant, None, sessions=Sessions(zeros, zeros, zeros, thinks))
    log = run.finish()
    # Session 0 asks at 0, 150, 370 (it waited 50 for session 1, which was served from 100 to 200); session 1 at 30, ...
    assert (log[:, c.L_TIME]).tolist() == [0, 150, 370, 30, 1200, 1300]
    assert (log[:, c.L_VALUE]).tolist() == [100, 150, 100, 170, 100, 100]
    assert run.plane.scalar(c.X_IN_FLIGHT) == 0


def test_no_closed_request_is_sent_after_the_horizon() -> None:
    plant = Plant()
    work(plant)
    plant.fifo("station")
    plant.endpoints.append((serve("work", on="station"),))
    zeros = np.zeros((1, 3), np.int64)
    sessions = Sessions(zeros, zeros, zeros, np.array([[0, 0, 0]]))
    run = Recorded(plant, None, sessions=sessions, settings={c.SET_HORIZON_NS: 200})
    assert run.finish()[:, c.L_TIME].tolist() == [0, 100]


def test_a_pool_lets_no_more_in_than_it_has_connections() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        work(plant)
        plant.pool("pool", 2)
        plant.fifo("database", servers=100)
        return [(Acquire("pool"), serve("work", on="database"), Release("pool"))]

    assert departures(build, [(i, 0) for i in range(5)]) == [100, 101, 200, 201, 300]


@pytest.mark.parametrize("waiting", [10, 512, 513, 2000])
def test_a_large_group_commit_releases_all_at_one_instant(waiting: int) -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.step("commit", 0.0)
        plant.wait("flush", constant(1000))
        plant.group_commit("wal", "flush")
        return [(flush("commit", on="wal"),)]

    ends = departures(build, [(i // 10, 0) for i in range(waiting)] + [(1500, 0)])
    # The flush that the first one starts is its own; the next one covers all who came meanwhile; the last comes later.
    assert ends == [1000] + [2000] * (waiting - 1) + [3000]


def test_what_is_not_there_takes_the_other_branch() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        work(plant)
        plant.fifo("station")
        absent: Path = (delay(fixed_s=5 * NS),)
        return [(serve("work", on="station"), Effect(e.E_POST_ABSENT), when(absent, (delay(fixed_s=50 * NS),)))]

    data = no_data()
    data["post_exists"] = np.array([False, True])
    data["post_cached"] = np.zeros(2, np.bool_)
    plant = Plant()
    plant.endpoints.extend(build(plant))
    zeros = np.zeros(2, np.int64)
    run = Recorded(plant, [Arrivals(0, np.array([0, 1000]), zeros, zeros, np.array([0, 1]))], data=data)
    log = run.finish()
    assert log[:, c.L_VALUE].tolist() == [105, 150]
    assert log[:, c.L_WEIGHT].tolist() == [1, 0]
    assert run.plane.scalar(c.X_FAILED) == 1


def test_abandoned_requests_still_burn_capacity() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        work(plant)
        plant.fifo("station")
        return [(serve("work", on="station"),)]

    run = recorded(build, [(0, 0), (1, 0), (2, 0)], settings={c.SET_TIMEOUT_NS: 150})
    log = run.finish()
    assert log[:, c.L_VALUE].tolist() == [100, 150, 150]
    assert log[:, c.L_WEIGHT].tolist() == [0, 3, 3]
    assert run.plane.state.stations[0, c.S_BUSY_NS] == 300


def test_a_path_that_takes_no_time_and_a_station_nobody_defined_are_refused() -> None:
    plant = Plant()
    plant.endpoints.append((Effect(e.E_PRIMARY),))
    with pytest.raises(InputError, match="must take time somewhere"):
        plant.compile()
    plant.endpoints[0] = (serve("work", on="nowhere"),)
    with pytest.raises(InputError, match="station 'nowhere' is not defined"):
        plant.compile()
    with pytest.raises(InputError, match="base_s is -1"):
        plant.step("work", -1.0)


def test_ties_are_ordered_by_entity_and_step_not_by_insertion() -> None:
    """Request 0 comes to the station by an event that was scheduled after request 1's, for the same instant."""

    def build(plant: Plant) -> Sequence[Path]:
        work(plant)
        plant.fifo("station")
        late: Path = (delay(fixed_s=50 * NS), delay(fixed_s=50 * NS), serve("work", on="station"))
        early: Path = (delay(fixed_s=90 * NS), serve("work", on="station"))
        return [late, early]

    assert departures(build, [(0, 0), (10, 1)]) == [200, 300]
    # Named the other way round, the request with the lower ordinal still goes first.
    assert departures(build, [(0, 0), (10, 1), (10, 1), (10, 1)]) == [200, 300, 400, 500]


def test_services_that_end_together_release_their_jobs_in_order_of_entity() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        work(plant)
        plant.step("long", 2 * WORK * NS)
        plant.fifo("first", servers=3)
        plant.fifo("second")
        after = serve("work", on="second")
        return [(serve("work", on="first"), after), (serve("long", on="first"), after)]

    # Request 0 (long, from 0) and request 1 (from 100) end at 200: 0 goes on first.
    assert departures(build, [(0, 1), (100, 0)]) == [300, 400]


def test_stalls_put_every_service_of_the_host_off_by_exactly_their_length() -> None:
    """The first stall comes where its draw says; what runs then, or would begin during it, ends that much later."""
    rate_per_s, length = 1e4, 70
    key = purpose_key(1, "stall gap")
    first = int(-math.log(u01(np.int64(key), 0, 0, 0)) / (rate_per_s / 1e9))

    def build(plant: Plant) -> Sequence[Path]:
        work(plant)
        plant.wait("stall", constant(length))
        plant.host("host", cores=2)
        plant.multi("backend", host="host", wake_s=0.0)
        plant.fifo("elsewhere", servers=9)
        return [(serve("work", on="backend"),), (serve("work", on="elsewhere"),)]

    arrivals = [(first - 150, 0), (first - 40, 0), (first - 40, 1), (first + 20, 0), (first + 200, 0)]
    ends = departures(build, arrivals, first + 1000, stalls=(rate_per_s, "stall"))
    assert ends == [
        first - 50,  # before it
        first + 60 + length,  # in service when it came
        first + 60,  # not on this host
        first + length + 100,  # begun at its end
        first + 300,
    ]
