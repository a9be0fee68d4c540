"""What the reference model found wrong in the engine, each on the smallest example, in ns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from model.engine import layout as c
from model.engine.dataplane import Sessions, no_data
from model.engine.effects import E_DELIVER, E_NEXT_BATCH, E_PAGE, SPREAD_PAGE
from model.engine.plant import Background, Plant
from model.engine.program import (
    Acquire,
    Admit,
    Attempt,
    Coalesce,
    Effect,
    Fail,
    Forever,
    Get,
    Path,
    Put,
    Release,
    Scatter,
    While,
    delay,
    serve,
    spawn,
    when,
)  # fmt: skip
from model.engine.tables import constant
from model.spec import InputError
from tests.engine.arrivals import Arrivals
from tests.engine.planes import Recorded, departures, recorded

NS = 1e-9


def steps_of(run: Recorded) -> list[tuple[int, str, int, int]]:
    """Ordinal, name, beginning and residence of each step, in the order in which they were logged."""
    labels = run.plane.labels
    return [
        (int(row[c.L_ORDINAL]), labels[int(row[c.L_LABEL])], int(row[c.L_TIME]), int(row[c.L_VALUE]))
        for row in run.log(c.LOG_STEP)
    ]


def test_events_that_tie_in_everything_go_in_the_order_in_which_they_were_scheduled() -> None:
    """A loop spawns a job each time it comes round: all are of one request, at one step, and of one number."""
    count = 12
    plant = Plant()
    plant.step("work", 0.0, 10 * NS)
    plant.fifo("station")
    # Each has one item less than the one before it.
    spawned = spawn((delay(fixed_s=1000 * NS), serve("work", on="station")))
    again = (Effect(E_DELIVER), Effect(E_NEXT_BATCH, count), spawned)
    plant.endpoints.append((While(Effect(E_NEXT_BATCH, 1), again), delay(fixed_s=NS)))
    data = no_data() | {"follower_offsets": np.array([0, count + 1]), "followers": np.zeros(count + 1, np.int32)}
    zeros = np.zeros(1, np.int64)
    run = Recorded(plant, [Arrivals(0, zeros, zeros, zeros, zeros)], data=data, settings={c.SET_TRACE_MASK: 0})
    run.finish()
    residence = [length for _, step, _, length in steps_of(run) if step == "work"]
    assert residence == [10 * sum(range(left, count + 1)) for left in range(count, -1, -1)]


def test_a_deadline_of_a_row_that_is_used_again_does_not_come_before_its_turn() -> None:
    """Request 0's attempt ends in time and leaves its deadline in the list; request 2 gets its row, and the same
    deadline. Request 1, whose event is at that instant too, goes before request 2 all the same."""

    def build(plant: Plant) -> Sequence[Path]:
        plant.step("work", 10 * NS)
        plant.fifo("station")
        after = serve("work", on="station")
        quick = Attempt((delay(fixed_s=5 * NS),), timeout_s=1000 * NS)
        slow = Attempt((delay(fixed_s=5000 * NS),), timeout_s=900 * NS)
        return [(quick,), (delay(fixed_s=998 * NS), after), (slow, after)]

    # All three are due at 1000.
    assert departures(build, [(0, 0), (2, 1), (100, 2)]) == [5, 1010, 1020]


def test_an_attempt_is_not_failed_by_what_failed_before_it() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        first = Attempt((delay(fixed_s=100 * NS),), timeout_s=50 * NS)
        second = Attempt((delay(fixed_s=10 * NS),), timeout_s=50 * NS)
        return [(first, when((second, when((delay(fixed_s=1000 * NS),)))))]

    log = recorded(build, [(0, 0)]).finish()
    assert log[:, [c.L_VALUE, c.L_WEIGHT]].tolist() == [[60, c.OUTCOME_OK]]


def test_a_worker_is_not_failed_by_its_last_message() -> None:
    plant = Plant()
    plant.queue("messages")
    plant.step("work", 10 * NS)
    plant.step("cleared", 1 * NS)
    plant.fifo("station")
    plant.limiter("limit", rate_per_s=1e6)
    admitted = (Admit("limit"), when((Fail("rejected"),)), serve("work", on="station"))
    plant.endpoints.append((Put("messages"), delay(fixed_s=NS)))
    work = (Get("messages"), Attempt((delay(fixed_s=NS), *admitted)), when((), (serve("cleared", on="station"),)))
    plant.backgrounds.append(Background((Forever(work),)))
    times, zeros = np.array([0, 100, 1500]), np.zeros(3, np.int64)
    run = Recorded(plant, [Arrivals(0, times, zeros, zeros, zeros)])
    run.finish()
    # The second message is refused; the third is not.
    assert run.plane.state.visits[:, 0].tolist() == [2, 2]


def test_loops_within_attempts_draw_anew_each_time() -> None:
    """A worker tries again and again; its second try must not see the times of the first."""
    plant = Plant()
    plant.step("work", 1000 * NS, cv=1.0)
    plant.fifo("station")
    data = no_data() | {"follower_offsets": np.array([0, 2])}
    # Two batches to a try; the cursor begins anew with each message.
    body = (While(Effect(E_NEXT_BATCH, 1), (serve("work", on="station"), Effect(E_DELIVER))),)
    data |= {"followers": np.zeros(2, np.int32)}
    plant.endpoints.append((Attempt(body), Attempt((serve("work", on="station"),))))
    times, zeros = np.zeros(1, np.int64), np.zeros(1, np.int64)
    run = Recorded(plant, [Arrivals(0, times, zeros, zeros, zeros)], data=data, settings={c.SET_TRACE_MASK: 0})
    run.finish()
    residence = [length for _, _, _, length in steps_of(run)]
    assert len(residence) == 3
    assert len(set(residence)) == 3


def test_an_attempt_takes_the_chosen_page_along_and_brings_it_back() -> None:
    plant = Plant()
    plant.step("read", 0.0, 100 * NS)
    plant.fifo("shard", count=2, selector=c.SEL_SHARD)
    read = Scatter(SPREAD_PAGE, (serve("read", on="shard"),))
    plant.endpoints.append((Attempt((delay(fixed_s=NS), Effect(E_PAGE))), Attempt((read,)), read))
    data = no_data() | {
        "pages": np.array([[3, 2, 1]]), "timeline_length": np.array([3], np.int32), "post_cached": np.ones(9, np.bool_),
        "ring_points": np.array([0]), "ring_owners": np.array([1], np.int32),
    }  # fmt: skip
    times, zeros = np.zeros(1, np.int64), np.zeros(1, np.int64)
    settings = {c.SET_PAGE: 3}
    log = Recorded(plant, [Arrivals(0, times, zeros, zeros, zeros)], data=data, settings=settings, shards=2).finish()
    assert log[:, c.L_VALUE].tolist() == [1 + 300 + 300]


def test_what_is_due_on_a_shared_host_ends_before_the_stall_of_that_instant() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.wait("stall", constant(1000.0))
        plant.host("machine", discipline="sharing")
        plant.step("work", 100 * NS)
        plant.multi("process", host="machine", wake_s=0)
        return [(serve("work", on="process"),)]

    probe = recorded(build, [(0, 0)], stalls=(1.0, "stall"))
    stall_ns = int(probe.plane.state.heap[0, 0])
    # Two share the core for 200 until the very instant of the stall.
    begin = stall_ns - 200
    times = departures(build, [(begin, 0), (begin, 0)], until_ns=stall_ns + 5000, stalls=(1.0, "stall"))
    assert times == [stall_ns, stall_ns]


def test_a_closed_session_goes_on_after_a_request_that_delivers() -> None:
    plant = Plant()
    plant.step("push", 100 * NS)
    plant.fifo("station")
    deliver = While(Effect(E_NEXT_BATCH, 1), (serve("push", on="station"), Effect(E_DELIVER)))
    plant.endpoints.append((deliver, delay(fixed_s=NS)))
    data = no_data() | {"follower_offsets": np.array([0, 3]), "followers": np.zeros(3, np.int32)}
    zeros = np.zeros((1, 4), np.int64)
    sessions = Sessions(zeros, zeros, zeros, zeros + 1000)
    log = Recorded(plant, None, sessions=sessions, data=data).finish()
    assert log[:, c.L_ORDINAL].tolist() == [0, 1, 2, 3]
    assert log[:, c.L_VALUE].tolist() == [301] * 4


def test_who_waits_for_a_flight_goes_on_in_its_own_path() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.coalescer("origin")
        fetch = Coalesce("origin", (delay(fixed_s=100 * NS),))
        return [(fetch, delay(fixed_s=10 * NS)), (fetch, delay(fixed_s=1000 * NS))]

    assert departures(build, [(0, 0), (50, 1)]) == [110, 1100]


def test_the_waits_of_coalesced_requests_and_for_new_tokens_are_traced() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.coalescer("origin")
        plant.pool("slot", 1)
        return [(Coalesce("origin", (delay(fixed_s=100 * NS),)),), (Acquire("slot"), delay(fixed_s=1000 * NS))]

    run = recorded(build, [(0, 0), (30, 0), (40, 1), (50, 1)], settings={c.SET_TRACE_MASK: 0})
    run.plane.advance(400)
    run.plane.set_servers(0, 2)
    run.finish()
    assert steps_of(run) == [
        (0, "delay", 0, 100), (2, "delay", 40, 1000), (1, "origin", 30, 70), (3, "slot", 50, 350),
        (3, "delay", 400, 1000),
    ]  # fmt: skip


def test_a_pool_can_be_chosen_by_user() -> None:
    plant = Plant()
    plant.pool("shard", 1, count=4, selector=c.SEL_KEY)
    plant.endpoints.append((Acquire("shard"), delay(fixed_s=100 * NS), Release("shard")))
    users = np.arange(8)
    zeros = np.zeros(8, np.int64)
    log = Recorded(plant, [Arrivals(0, zeros, zeros, users, zeros)]).finish()
    pools = [(user * 2654435761 >> 7) % 4 for user in range(8)]
    assert log[:, c.L_VALUE].tolist() == [100 * (1 + pools[:user].count(pools[user])) for user in range(8)]


def test_a_backoff_that_doubles_beyond_all_bounds_is_refused() -> None:
    tries = Attempt((delay(fixed_s=NS),), retries=80, backoff_s=0.1)
    with pytest.raises(InputError, match=r"backoff_s is 0.1 and its retries 80; .* above 1e\+08 s"):
        recorded(lambda _: [(tries, delay(fixed_s=NS))], [(0, 0)])
