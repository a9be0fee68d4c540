"""The recurrences of ARCHITECTURE.md ("The data plane") on examples small enough to be worked out by hand, in ns."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import simpy

from model.engine import layout as c
from model.engine.dataplane import DataPlane
from model.engine.environment import Environment
from model.engine.plant import Plant
from model.engine.program import Acquire, Path, Release, Turn, delay, flush, serve
from model.engine.tables import constant
from model.spec import InputError
from tests.engine.arrivals import Arrivals

WAKE, POLL, WORK, FLUSH, SYNC = 10, 3, 100, 1000, 700
Build = Callable[[Plant], Sequence[Path]]


def plane_of(build: Build, arrivals: Sequence[tuple[int, int]]) -> tuple[DataPlane, Callable[[], list[int]]]:
    """A data plane for requests (instant, endpoint), and what returns their departures in order of arrival."""
    plant = Plant()
    plant.step("work", WORK * 1e-9)
    plant.step("more", 10 * WORK * 1e-9)
    plant.step("commit", 0.0)
    plant.wait("flush", constant(FLUSH))
    plant.wait("sync", constant(SYNC))
    plant.endpoints.extend(build(plant))
    times, endpoints = np.array(arrivals, np.int64).T
    zeros = np.zeros(len(times), np.int64)
    rows: list[npt.NDArray[np.int64]] = []
    plane = DataPlane(plant, 1, blocks=iter([Arrivals(0, times, endpoints, zeros, zeros)]), on_log=rows.append)

    def departures() -> list[int]:
        plane.advance(10**9)
        plane.drain()
        log = np.concatenate(rows)
        log = log[np.argsort(log[:, c.L_ORDINAL])]
        return [int(value) for value in log[:, c.L_TIME] + log[:, c.L_VALUE]]

    return plane, departures


def departures_of(build: Build, arrivals: Sequence[tuple[int, int]]) -> list[int]:
    return plane_of(build, arrivals)[1]()


def loop(plant: Plant, group: str = "loop") -> None:
    plant.loop(group, host="host", wake_s=WAKE * 1e-9, poll_s=POLL * 1e-9)


def test_fifo_serves_in_order_of_arrival() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.fifo("station", servers=2)
        return [(serve("work", on="station"),)]

    assert departures_of(build, [(0, 0), (10, 0), (20, 0), (30, 0), (500, 0)]) == [100, 110, 200, 210, 600]


def test_a_loop_wakes_once_and_polls_before_each_further_gate() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.host("host")
        loop(plant)
        return [(serve("work", on="loop"),)]

    # 0 wakes it; 50 and 60 wait behind the first gate; 120 behind the second; 700 finds it blocked.
    assert departures_of(build, [(0, 0), (50, 0), (60, 0), (120, 0), (700, 0)]) == [
        WAKE + 100, 110 + POLL + 100, 313, 313 + POLL + 100, 700 + WAKE + 100,
    ]  # fmt: skip


def test_a_loop_keeps_the_core_while_it_has_work_and_others_wait_their_turn() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.host("host")
        loop(plant, "first")
        loop(plant, "second")
        plant.multi("backend", host="host", wake_s=WAKE * 1e-9)
        return [(serve("work", on=group),) for group in ("first", "second", "backend")]

    # The backend's visit came before the first loop's second job, and waits for the loop all the same.
    arrivals = [(0, 0), (20, 2), (30, 1), (40, 0)]
    assert departures_of(build, arrivals) == [110, 213 + WAKE + 100, 323 + WAKE + 100, 110 + POLL + 100]


def test_a_group_commit_serves_all_that_waited() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.group_commit("wal", "flush")
        return [(flush("commit", on="wal"),)]

    assert departures_of(build, [(0, 0), (1, 0), (999, 0), (1500, 0), (9000, 0)]) == [1000, 2000, 2000, 3000, 10000]


def test_the_leader_of_a_group_commit_needs_a_turn_before_and_after_its_flush() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.host("host")
        plant.multi("backend", host="host", wake_s=WAKE * 1e-9)
        plant.group_commit("wal", "flush", leader=True)
        return [(flush("commit", on="wal", turn=Turn("work", "backend")),)]

    turn = WAKE + WORK
    first = FLUSH + turn  # it flushes at once, and holds the lock until it has run again
    second = first + turn + FLUSH + turn  # woken by the first, it covers the third as well
    third = second + turn
    fourth = third + turn + FLUSH + turn  # came during the second's flush; queues for the core behind the third
    assert departures_of(build, [(0, 0), (1, 0), (2, 0), (1300, 0)]) == [first, second, third, fourth]


def test_a_leader_that_waits_twice_needs_a_turn_after_each_wait_and_the_others_one() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.host("host")
        plant.multi("backend", host="host", wake_s=WAKE * 1e-9)
        plant.group_commit("wal", "flush", leader=True)
        return [(flush("commit", on="wal", turn=Turn("work", "backend", then_wait="sync")),)]

    turn = WAKE + WORK
    led = FLUSH + turn + SYNC + turn
    first = led
    second = first + turn + led
    third = second + turn
    assert departures_of(build, [(0, 0), (1, 0), (2, 0)]) == [first, second, third]


def test_a_turn_belongs_to_a_group_commit_with_a_leader() -> None:
    for leader, turn in ((True, None), (False, Turn("work", "backend"))):

        def build(plant: Plant, leader: bool = leader, turn: Turn | None = turn) -> Sequence[Path]:
            plant.host("host")
            plant.multi("backend", host="host", wake_s=0.0)
            plant.group_commit("wal", "flush", leader=leader)
            return [(flush("commit", on="wal", turn=turn),)]

        with pytest.raises(InputError, match=r"flush 'commit' (needs|must not have) a turn: .* 'wal' has"):
            departures_of(build, [(0, 0)])


def test_a_connection_goes_to_who_waited_longest() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.pool("pool", 1)
        return [(Acquire("pool"), delay(fixed_s=500e-9), Release("pool"))]

    assert departures_of(build, [(0, 0), (10, 0), (20, 0), (2000, 0)]) == [500, 1000, 1500, 2500]


def test_at_one_instant_an_event_goes_before_an_arrival_and_the_lower_entity_first() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.fifo("station")
        return [
            (delay(fixed_s=100e-9), serve("work", on="station")),
            (delay(fixed_s=50e-9), serve("work", on="station")),
            (serve("work", on="station"),),
        ]

    # All reach the station at 100: the events of requests 0 and 1 in this order, then the arrival.
    assert departures_of(build, [(0, 0), (50, 1), (100, 2)]) == [200, 300, 400]


@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_stopping_more_often_changes_nothing(steps: int) -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.host("host")
        loop(plant)
        plant.multi("backend", host="host", wake_s=WAKE * 1e-9)
        plant.group_commit("wal", "flush")
        return [
            (
                serve("work", on="loop"),
                serve("work", on="backend"),
                flush("commit", on="wal"),
                serve("work", on="loop"),
            ),
            (serve("more", on="backend"), serve("work", on="loop")),
        ]

    arrivals = [(37 * i, i % 2) for i in range(40)]
    plane, departures = plane_of(build, arrivals)
    for until in np.linspace(0, 30_000, steps):
        plane.advance(int(until))
    assert departures() == departures_of(build, arrivals)


def test_at_one_instant_control_goes_before_data() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.fifo("station")
        return [(serve("work", on="station"),)]

    plane, departures = plane_of(build, [(0, 0), (100, 0), (200, 0)])
    env = Environment(plane)

    def slow_down() -> Generator[simpy.Event, None, None]:
        yield env.timeout(100e-9)
        assert plane.scalar(c.X_COMPLETED) == 0  # what ends at 100 has not ended
        plane.slow_down(0, 3)

    env.process(slow_down())
    env.run(until=1e-6)
    # The service in progress ends as it was begun; those that begin at 100 and later take three times as long.
    assert departures() == [100, 400, 700]


def test_a_slower_host_slows_wake_ups_too() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.host("host")
        loop(plant)
        return [(serve("work", on="loop"),)]

    plane, departures = plane_of(build, [(0, 0), (1000, 0), (1001, 0), (5000, 0)])
    env = Environment(plane)

    def slow_down() -> Generator[simpy.Event, None, None]:
        yield env.timeout(500e-9)
        plane.slow_down_host("host", 1.54)
        yield env.timeout(3000e-9)
        plane.slow_down_host("host", 1.0)

    env.process(slow_down())
    env.run(until=6e-6)
    first = 1000 + 169  # 1.54 * (WAKE + WORK) is 169.4
    assert departures() == [WAKE + WORK, first, first + 159, 5000 + WAKE + WORK]  # 1.54 * (POLL + WORK) is 158.6
    with pytest.raises(InputError, match="host 'hots' is not defined; defined: host"):
        plane.slow_down_host("hots", 2.0)


def test_a_paused_loop_finishes_its_segment_and_wakes_up_anew() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.host("host")
        loop(plant)
        return [(serve("work", on="loop"),)]

    plane, departures = plane_of(build, [(0, 0), (20, 0), (300, 0)])
    plane.advance(50)
    plane.pause(0)
    plane.advance(1000)
    plane.resume(0)
    assert departures() == [110, 1000 + WAKE + 100, 1210]


def test_a_stall_puts_off_what_is_in_service_by_its_length() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.host("host")
        plant.multi("backend", host="host", wake_s=0.0)
        return [(serve("work", on="backend"),)]

    plane, departures = plane_of(build, [(0, 0), (500, 0)])
    hosts = plane.state.hosts
    # What the event of a stall does: the length is added at its beginning.
    plane.advance(40)
    hosts[0, c.H_STALL_NS] += 70
    hosts[0, c.H_STALL_UNTIL] = 40 + 70
    plane.advance(480)
    hosts[0, c.H_STALL_NS] += 60
    hosts[0, c.H_STALL_UNTIL] = 480 + 60
    # The first was in service; the second comes during a stall and begins at its end.
    assert departures() == [170, 640]
