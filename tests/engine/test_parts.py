"""Caches, limiters, coalescing, attempts, refusals, switches and shared hosts, on examples worked by hand, in ns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from model.engine import kernel
from model.engine import layout as c
from model.engine.plant import Plant
from model.engine.program import (
    Acquire,
    Admit,
    Attempt,
    Coalesce,
    Delay,
    Fail,
    Forever,
    Forget,
    Get,
    Lookup,
    Path,
    Put,
    Release,
    Store,
    Switch,
    delay,
    serve,
    spawn,
    when,
)  # fmt: skip
from model.engine.tables import constant
from model.spec import InputError
from tests.engine.arrivals import Arrivals
from tests.engine.planes import Build, IntArray, Recorded, departures, recorded

NS = 1e-9
HIT, FETCH = 10, 100


def run_of(build: Build, requests: Sequence[tuple[int, int]], **options: Any) -> IntArray:
    """The log of requests to endpoint 0, each (instant, target), in order of arrival."""
    plant = Plant()
    plant.endpoints.extend(build(plant))
    times, targets = np.array(requests, np.int64).reshape(-1, 2).T
    zeros = np.zeros(len(times), np.int64)
    return Recorded(plant, [Arrivals(0, times, zeros, zeros, targets)], **options).finish()


def latencies(log: IntArray) -> list[int]:
    return [int(value) for value in log[:, c.L_VALUE]]


def outcomes(log: IntArray) -> list[int]:
    return [int(value) for value in log[:, c.L_WEIGHT]]


def cached(capacity: int, **options: object) -> Build:
    """A hit takes 10 ns, a miss 110."""

    def build(plant: Plant) -> Sequence[Path]:
        plant.cache("posts", capacity, **options)  # type: ignore[arg-type]
        fetch = (delay(fixed_s=FETCH * NS), Store("posts"))
        return [(Lookup("posts"), when(fetch), delay(fixed_s=HIT * NS))]

    return build


def test_a_full_cache_evicts_what_was_used_longest_ago() -> None:
    requests = [(0, 1), (1000, 2), (2000, 1), (3000, 3), (4000, 1), (5000, 2)]
    miss = HIT + FETCH
    # 1 is used at 2000, so 3 evicts 2; first in, first out evicts 1 instead.
    assert latencies(run_of(cached(2), requests)) == [miss, miss, HIT, miss, HIT, miss]
    assert latencies(run_of(cached(2, evicts="fifo"), requests)) == [miss, miss, HIT, miss, miss, miss]


def test_an_entry_expires() -> None:
    # Stored at 100, it expires at 1100 whatever its use; stored anew at 1200.
    log = run_of(cached(2, ttl_s=1000 * NS), [(0, 1), (1099, 1), (1100, 1), (2199, 1), (2200, 1)])
    assert latencies(log) == [110, HIT, 110, HIT, 110]


def test_what_is_forgotten_is_missing() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.cache("posts", 4)
        return [
            (Lookup("posts"), when((delay(fixed_s=FETCH * NS), Store("posts")), (Forget("posts"),)), delay(fixed_s=NS))
        ]

    assert latencies(run_of(build, [(0, 1), (1000, 1), (2000, 1), (3000, 1)])) == [101, 1, 101, 1]


def test_a_cache_of_many_keys_keeps_its_books() -> None:
    random = np.random.Generator(np.random.Philox(3))
    keys = random.zipf(1.3, 20_000) % 500
    held: dict[int, None] = {}  # the reference: a dictionary in order of use
    expected = []
    for key in keys.tolist():
        expected.append(HIT if key in held else HIT + FETCH)
        held.pop(key, None)
        held[key] = None
        if len(held) > 64:
            del held[next(iter(held))]
    log = run_of(cached(64), [(1000 * i, int(key)) for i, key in enumerate(keys)])
    assert latencies(log) == expected


def test_a_coalesced_body_takes_no_message() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.coalescer("origin")
        plant.queue("messages")
        return [(delay(fixed_s=NS), Coalesce("origin", (Get("messages"),)))]

    with pytest.raises(InputError, match="coalescer 'origin': its body takes a message"):
        recorded(build, [(0, 0)])


def test_who_wants_what_is_being_fetched_waits_for_it() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.coalescer("origin")
        plant.step("fetch", FETCH * NS)
        plant.fifo("database", servers=9)
        return [(Coalesce("origin", (serve("fetch", on="database"),)), delay(fixed_s=HIT * NS))]

    # The second and third share the first's answer; another key does not wait; at 110 a new flight opens.
    log = run_of(build, [(0, 1), (40, 1), (50, 2), (99, 1), (110, 1)])
    assert latencies(log) == [110, 70, 110, 11, 110]


def test_a_failed_fetch_fails_for_all_who_wait() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.coalescer("origin")
        return [(Coalesce("origin", (delay(fixed_s=FETCH * NS), Fail("missing"))), delay(fixed_s=HIT * NS))]

    log = run_of(build, [(0, 1), (40, 1)])
    assert latencies(log) == [110, 70]
    assert outcomes(log) == [c.OUTCOME_MISSING] * 2


def test_a_flight_lands_for_more_than_one_event_lets_go_on() -> None:
    count = 3 * kernel.RELEASED + 7

    def build(plant: Plant) -> Sequence[Path]:
        plant.coalescer("origin")
        plant.step("answer", 1 * NS)
        plant.fifo("api")
        body = (delay(fixed_s=100_000 * NS),)
        return [(Coalesce("origin", body), serve("answer", on="api"))]

    log = run_of(build, [(i, 5) for i in range(count)])
    # They go on in the order in which they came, behind the one who fetched.
    assert [int(t + v) for t, v in log[:, [c.L_TIME, c.L_VALUE]]] == [100_001 + i for i in range(count)]


def test_a_token_bucket_admits_a_burst_and_then_its_rate() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.limiter("limit", rate_per_s=1e7, burst=3, key="target", keys=4)
        return [(Admit("limit"), when((Fail("rejected"),)), delay(fixed_s=HIT * NS))]

    # A token every 100 ns; key 9 shares its bucket with 1, key 2 has its own.
    requests = [(1000, 1), (1000, 1), (1000, 9), (1001, 1), (1002, 2), (1099, 1), (1100, 1), (1101, 1)]
    log = run_of(build, requests)
    refused = c.OUTCOME_REJECTED
    assert outcomes(log) == [0, 0, 0, refused, 0, refused, 0, refused]


def test_a_pool_turns_away_whom_it_has_no_room_for() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.pool("slots", 1)
        work = (delay(fixed_s=FETCH * NS), Release("slots"))
        return [(delay(fixed_s=NS), Acquire("slots", most_waiting=1), when((Fail("rejected"),), work))]

    log = run_of(build, [(0, 0), (10, 0), (20, 0), (150, 0), (500, 0)])
    assert outcomes(log) == [0, 0, c.OUTCOME_REJECTED, 0, 0]
    assert latencies(log) == [101, 191, 1, 151, 101]


def slow_first(plant: Plant, *, timeout: int, retries: int, backoff: int = 0) -> Path:
    """A station that takes 1000 ns a visit, tried for `timeout`."""
    plant.step("work", 1000 * NS)
    plant.fifo("station", servers=1)
    body = (serve("work", on="station"),)
    tries = Attempt(body, timeout_s=timeout * NS, retries=retries, backoff_s=backoff * NS)
    return (tries, when((Fail("timeout"),)), delay(fixed_s=HIT * NS))


def test_an_attempt_in_time_is_the_work_itself() -> None:
    log = run_of(lambda plant: [slow_first(plant, timeout=1001, retries=2)], [(0, 0), (5000, 0)])
    assert latencies(log) == [1010, 1010]
    assert outcomes(log) == [0, 0]


def test_abandoned_work_still_keeps_the_station_busy() -> None:
    run = recorded(lambda plant: [slow_first(plant, timeout=600, retries=1, backoff=50)], [(0, 0)])
    log = run.finish()
    # Given up at 600, tried again at 650: the abandoned visit ends at 1000, the second would at 2000; given up at 1250.
    assert latencies(log) == [1250]
    assert outcomes(log) == [c.OUTCOME_TIMEOUT]
    assert run.plane.state.stations[0, c.S_VISITS] == 2
    assert run.plane.state.stations[0, c.S_BUSY] == 0
    assert run.plane.scalar(c.X_JOB_COUNT) == 0


def test_a_retry_that_succeeds_ends_the_waiting() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.limiter("limit", rate_per_s=1e7, burst=1)
        body = (delay(fixed_s=NS), Admit("limit"), when((Fail("rejected"),)), delay(fixed_s=HIT * NS))
        return [(Attempt(body, retries=2, backoff_s=30 * NS), delay(fixed_s=NS))]

    log = run_of(build, [(0, 0), (1, 0), (300, 0)])
    assert outcomes(log) == [0, c.OUTCOME_REJECTED, 0]
    # The next token comes at 101; the second tries at 2, at 33 and at 94.
    assert latencies(log) == [12, 94, 12]


def test_rows_used_again_are_not_hit_by_old_deadlines() -> None:
    """Attempts that end in time leave their deadlines in the event list, where later requests use the same rows."""
    build = lambda plant: [slow_first(plant, timeout=5000, retries=0)]  # noqa: E731
    log = run_of(build, [(1100 * i, 0) for i in range(400)])
    assert set(latencies(log)) == {1010}
    assert set(outcomes(log)) == {0}


def test_a_switch_chooses_the_path() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.switch("open")
        return [(Switch("open"), when((delay(fixed_s=NS),), (delay(fixed_s=HIT * NS),)))]

    run = recorded(build, [(0, 0), (100, 0), (200, 0)])
    run.plane.advance(100)
    run.plane.switch("open", on=True)
    run.plane.advance(200)
    run.plane.switch("open", on=False)
    assert latencies(run.finish()) == [HIT, 1, HIT]
    with pytest.raises(InputError, match="switch 'closed' is not defined; defined: open"):
        run.plane.switch("closed", on=True)


def shared(cores: int, service: int = 100) -> Build:
    def build(plant: Plant) -> Sequence[Path]:
        plant.host("machine", cores, discipline="sharing")
        plant.step("work", service * NS)
        plant.multi("process", host="machine", wake_s=0)
        return [(serve("work", on="process"),)]

    return build


def test_tasks_share_a_core() -> None:
    # Alone for 50, with half a core each until the first has had its 100 at 150, then the second alone until 200.
    assert departures(shared(1), [(0, 0), (50, 0)]) == [150, 200]
    # Three at once, a third each: all end at 300, in the order in which they came.
    assert departures(shared(1), [(0, 0), (0, 0), (0, 0)]) == [300, 300, 300]
    # Two cores for three tasks: two thirds of a core each.
    assert departures(shared(2), [(0, 0), (0, 0), (0, 0), (1000, 0)]) == [150, 150, 150, 1100]


def test_a_shared_loop_counts_as_one_task() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.host("machine", discipline="sharing")
        plant.step("work", 100 * NS)
        plant.multi("process", host="machine", wake_s=0)
        plant.loop("loop", host="machine", wake_s=0, poll_s=0)
        return [(serve("work", on="process"),), (serve("work", on="loop"),)]

    # One process and one loop with two jobs: half a core each; the loop's first job ends with the process at 200.
    assert departures(build, [(0, 0), (0, 1), (0, 1)]) == [200, 200, 300]


def test_a_shared_host_stands_still_in_a_stall() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.wait("stall", constant(1000.0))
        return shared(1)(plant)

    probe = recorded(build, [(0, 0)], stalls=(1.0, "stall"))
    stall_ns = int(probe.plane.state.heap[0, 0])
    # Two tasks have half of 50 each when the stall begins; after it they share the core for the 150 that are left.
    times = [(stall_ns - 50, 0), (stall_ns - 50, 0)]
    end = stall_ns + 1000 + 150
    assert departures(build, times, until_ns=end + 1, stalls=(1.0, "stall")) == [end, end]


def test_more_servers_take_those_who_wait_and_fewer_finish_first() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.step("work", 100 * NS)
        plant.fifo("station")
        return [(serve("work", on="station"),)]

    run = recorded(build, [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0)])
    run.plane.advance(50)
    run.plane.set_servers(0, 3)  # the second and third begin at 50
    run.plane.advance(120)  # the fourth has begun at 100
    run.plane.set_servers(0, 1)
    log = run.finish()
    assert [int(t + v) for t, v in log[:, [c.L_TIME, c.L_VALUE]]] == [100, 150, 150, 200, 300, 400]
    with pytest.raises(InputError, match="servers of 'station' is 0; it must be at least 1"):
        run.plane.set_servers(0, 0)


def test_a_path_that_never_ends_is_refused() -> None:
    from model.engine.program import Forever

    def build(plant: Plant) -> Sequence[Path]:
        plant.switch("open")
        return [(delay(fixed_s=NS), Forever((Switch("open"),)))]

    with pytest.raises(InputError, match="a path never ends: at 1e-09 s it goes round"):
        recorded(build, [(0, 0)]).finish()


@pytest.mark.parametrize(
    "path",
    [
        (Attempt((Fail(),), retries=50_000),),
        (Forever((Attempt((Fail(),)), Switch("open"))),),
        (Forever((spawn((Switch("open"), serve("work", on="station"))),)),),
        (Forever((Put("line"),)),),
    ],
)
def test_a_path_that_starts_without_end_at_one_instant_is_refused(path: Path) -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.switch("open")
        plant.queue("line")
        plant.step("work", 1.0)
        plant.fifo("station")
        return [(delay(fixed_s=NS), *path)]

    with pytest.raises(InputError, match="a path never ends: at 1e-09 s"):
        recorded(build, [(0, 0)]).finish()


def test_a_traced_request_tells_how_long_it_was_where() -> None:
    def build(plant: Plant) -> Sequence[Path]:
        plant.step("work", 100 * NS)
        plant.fifo("station")
        plant.pool("slot", 1)
        return [(Acquire("slot"), serve("work", on="station"), delay(fixed_s=7 * NS), Release("slot"))]

    run = recorded(build, [(0, 0), (1, 0), (2, 0)], settings={c.SET_TRACE_MASK: 1})
    run.finish()
    labels = run.plane.labels
    steps = [
        (int(row[c.L_ORDINAL]), labels[int(row[c.L_LABEL])], int(row[c.L_TIME]), int(row[c.L_VALUE]))
        for row in run.log(c.LOG_STEP)
    ]
    # Every second request is traced.
    assert steps == [
        (0, "work", 0, 100), (0, "delay", 100, 7),
        (2, "slot", 2, 212), (2, "work", 214, 100), (2, "delay", 314, 7),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda plant: plant.cache("c", 0), "cache 'c': capacity is 0; it must be at least 1"),
        (lambda plant: plant.cache("c", 1, evicts="lfu"), "cache 'c': evicts is 'lfu'; allowed: lru, fifo"),
        (lambda plant: plant.cache("c", 1, key="page"), "key is 'page'; allowed: user, target"),
        (lambda plant: plant.limiter("l", 0.0), "limiter 'l': rate_per_s is 0.0; it must be above 0"),
        (lambda plant: plant.limiter("l", 1.0, 0), "limiter 'l': burst is 0"),
        (lambda plant: plant.host("h", 0), "host 'h': cores is 0"),
        (lambda plant: plant.fifo("s", servers=0), "station 's': count is 1, servers \\(or size\\) 0"),
        (lambda plant: plant.fifo("s", count=0), "station 's': count is 0"),
        (lambda plant: plant.pool("p", 0), "station 'p': count is 1, servers \\(or size\\) 0"),
        (lambda plant: plant.step("s", 1e12), "step s: base_s is 1e\\+12; it must be at most"),
        (lambda plant: plant.wait("w", np.ones(2)), "wait w: a quantile table has 1026 values, not"),
        (lambda plant: plant.group_commit("g", "w"), "wait 'w' is not defined; defined: none"),
        (lambda plant: plant.alias("a", "b", 0, 0), "station 'b' is not defined; defined: none"),
        (lambda plant: plant.host("h", discipline="random"), "discipline is 'random'; allowed: fcfs, sharing"),
    ],
)
def test_bad_declarations(declare: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        declare(Plant())  # type: ignore[operator]


@pytest.mark.parametrize(
    "declare",
    [
        lambda plant: plant.queue("twin"),
        lambda plant: plant.step("twin", NS),
        lambda plant: plant.wait("twin", constant(1.0)),
        lambda plant: plant.cache("twin", 1),
        lambda plant: plant.limiter("twin", 1.0),
        lambda plant: plant.coalescer("twin"),
        lambda plant: plant.switch("twin"),
        lambda plant: plant.fifo("twin"),
    ],
)
def test_no_name_is_given_twice(declare: object) -> None:
    plant = Plant()
    declare(plant)  # type: ignore[operator]
    with pytest.raises(InputError, match="'twin' is defined twice"):
        declare(plant)  # type: ignore[operator]


@pytest.mark.parametrize("fixed_s", [-1.0, float("nan"), 1e12])
def test_a_delay_of_no_time_that_there_is(fixed_s: float) -> None:
    with pytest.raises(InputError, match="fixed_s is"):
        delay(fixed_s=fixed_s)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Lookup("c"), "cache 'c' is not defined; defined: none"),
        (Admit("l"), "limiter 'l' is not defined"),
        (Fail("lost"), "outcome 'lost' is not defined; defined: missing, rejected, timeout"),
        (Attempt((delay(fixed_s=NS),), timeout_s=-1.0), "an attempt's timeout_s is -1.0"),
        (Attempt((delay(fixed_s=NS),), retries=-1), "an attempt's retries is -1"),
        (Attempt((delay(fixed_s=NS),), timeout_s=1e12), "an attempt's timeout_s is 1e\\+12; it must be at most"),
        (Delay("", -1), "a delay's fixed time is -1e-09 s; it must not be negative"),
        (spawn((delay(fixed_s=NS),), 30_000), "spawn: count is 30000; it must be from 1 to 1000"),
        (spawn((delay(fixed_s=NS),), 0), "spawn: count is 0"),
    ],
)
def test_bad_parts(part: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recorded(lambda plant: [(part, delay(fixed_s=NS))], [(0, 0)])  # type: ignore[list-item]
