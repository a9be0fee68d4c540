"""The cluster: every follower of every post is reached once, in bounded memory, and alike at both scales of graph."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.engine import layout as c
from model.engine.dataplane import DataPlane
from model.engine.environment import Environment
from model.platform import simulate
from model.platform.cluster_run import ClusterPlatform, ClusterRecorder
from model.platform.memory import needed_bytes, require_memory
from model.runs import Run, RunBuilder
from model.spec import Calibration, Endpoint, InputError, Scenario
from model.spec.load import SHIPPED
from model.workload import Schedule, graph_of, schedule_of
from model.workload.implicit.columns import SEAT_CACHED, SEAT_LENGTH
from model.workload.implicit.crowd import counts_by_rank, crowd_of
from model.workload.implicit.schedule import ImplicitSchedule
from model.workload.implicit.timelines import seats_of
from tests.workload.implicit.compiled import follower_counts, follower_seats, scenario_of

ROOT = Path(__file__).resolve().parents[2]
USERS = 20_000


def observed(scenario: Scenario) -> tuple[Run, DataPlane]:
    """A run, and the data plane as it left it."""
    planes: list[DataPlane] = []

    def keep(env: Environment, platform: ClusterPlatform) -> Generator[Any, Any, None]:
        planes.append(platform.plane)
        yield env.timeout(0)

    run = simulate(scenario, processes=(keep,))
    return run, planes[0]


def authors(scenario: Scenario) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The author of every post of a scenario's schedule."""
    blocks = ImplicitSchedule(scenario, crowd_of(scenario)).blocks()
    return np.concatenate([block.user[block.endpoint == Endpoint.CREATE_POST.code] for block in blocks]).astype(
        np.int64
    )


def test_every_follower_of_every_post_has_it_exactly_once() -> None:
    """Every timeline has grown by the number of posts whose author its reader follows: no more, no less. Batches and
    tasks are small and of odd sizes, and some authors have many of both."""
    scenario = scenario_of(
        USERS, policies__timeline_cap=5_000, duration_s=3, platform__cluster__batch_size=37,
        platform__cluster__followers_per_task=101,
    )  # fmt: skip
    crowd = crowd_of(scenario)
    before = seats_of(crowd, scenario)
    run, plane = observed(scenario)
    expected = np.zeros(USERS, np.int64)
    posted = authors(scenario)
    for author in posted:
        expected[follower_seats(crowd, author)] += 1
    after = plane.state.seats
    grown = (after & SEAT_LENGTH).astype(np.int64) - (before & SEAT_LENGTH)
    assert follower_counts(crowd)[posted].max() > 10 * 101
    assert (grown == expected).all()
    assert run.validity.valid
    assert run.counters["posts_created"] == len(posted)
    assert run.counters["deliveries_expected"] == expected.sum() == follower_counts(crowd)[posted].sum()
    assert run.counters["deliveries_seen"] + run.counters["deliveries_uncached"] == expected.sum()
    assert run.counters["deliveries_uncached"] > 0
    assert run.lag("delivery", scored=False).n == run.counters["deliveries_seen"]
    pushed = dict(run.steps.select("step", "items").iter_rows())
    assert pushed["cache_push"] == 3 * expected.sum(), "each of the three replicas has every entry"
    assert pushed["worker_batch"] == pushed["graph_followers"] == expected.sum()


def test_a_timeline_that_is_read_is_in_the_cache_afterwards_and_no_longer_than_the_cap() -> None:
    scenario = scenario_of(USERS, population__materialized_share=0.2, policies__timeline_cap=50)
    crowd = crowd_of(scenario)
    before = seats_of(crowd, scenario)
    run, plane = observed(scenario)
    after = plane.state.seats
    assert ((after & SEAT_CACHED) >= (before & SEAT_CACHED)).all()
    filled = int(((after & SEAT_CACHED) > (before & SEAT_CACHED)).sum())
    assert 0 < filled <= run.counters["timeline_misses"]
    assert (after & SEAT_LENGTH).max() == 50
    visits = dict(run.steps.select("step", "visits").iter_rows())
    assert visits["graph_followees"] == visits["posts_read"] == visits["cache_store"] == run.counters["timeline_misses"]
    assert run.counters["timeline_hits"] + run.counters["timeline_misses"] == visits["cache_read"]
    assert run.hit_ratio is not None
    assert run.hit_ratio > 0.2


def test_the_tables_do_not_grow_with_the_duration() -> None:
    """Four times as long: the same tables to the byte, and a Run that is larger only by its windows."""
    sizes, rows = [], []
    for duration_s in (3, 12):
        run, plane = observed(scenario_of(USERS, duration_s=duration_s))
        # The block of arrivals is a second's, and a second has more or fewer.
        sizes.append(sum(table.nbytes for name, table in plane.state._asdict().items() if name != "arrivals"))
        assert plane.state.arrivals.shape[1] < 2_500
        rows.append(len(run.latency_table))
    assert sizes[0] == sizes[1]
    assert rows[1] < 6 * rows[0]


def test_a_long_run_has_longer_windows_instead_of_more() -> None:
    scenario = scenario_of(10_000, duration_s=1_500, workload__rate_per_s=5)
    run, _ = observed(scenario)
    assert run.window_s == 3
    assert run.totals["window"].to_numpy().max() <= 500
    assert len(run.gauge("in_flight")) < 2_500
    assert run.n_requests == sum(len(block) for block in ImplicitSchedule(scenario, crowd_of(scenario)).blocks())


def test_the_same_scenario_gives_the_same_run_whatever_looks_on() -> None:
    def look(env: Environment, platform: ClusterPlatform) -> Generator[Any, Any, None]:
        while True:
            yield env.timeout(0.037)
            assert platform.tasks_running <= platform.scenario.platform.cluster.workers
            assert platform.deliveries_outstanding >= 0

    scenario = scenario_of(USERS, duration_s=2)
    first, second = simulate(scenario), simulate(scenario, processes=(look,))
    assert first.digest == second.digest
    assert simulate(scenario.with_(seed=2)).digest != first.digest


def test_a_slow_shard_is_slow_for_its_readers_and_for_every_large_post() -> None:
    def slow(env: Environment, platform: ClusterPlatform) -> Generator[Any, Any, None]:
        yield env.timeout(0)
        platform.shards[3].slow_down(200)

    scenario = scenario_of(USERS, duration_s=3)
    healthy, ill = simulate(scenario), simulate(scenario, processes=(slow,))
    assert ill.latency("home_timeline").quantile(0.5) == pytest.approx(
        healthy.latency("home_timeline").quantile(0.5), rel=0.1
    )
    assert ill.latency("home_timeline").quantile(0.99) > 1.5 * healthy.latency("home_timeline").quantile(0.99)
    assert ill.lag("delivery").mean_s > 3 * healthy.lag("delivery").mean_s


@pytest.fixture(scope="module")
def both_scales() -> tuple[Run, Run]:
    """The same platform and load over an explicit and an implicit population.

    The most followed has 2 % of all, since with more the deliveries are those of a few accounts, and luck.
    """
    fields = {
        "workload__rate_per_s": 6_000, "duration_s": 6, "population__max_follower_share": 0.02,
        "platform__cluster__api_processes": 64,
    }  # fmt: skip
    return simulate(scenario_of(USERS, population__kind="explicit", **fields)), simulate(scenario_of(USERS, **fields))


def test_both_scales_agree_on_the_mix_and_the_deliveries(both_scales: tuple[Run, Run]) -> None:
    """Stated bounds, 20 000 users: posts 5 %, deliveries per post 7 %, cached share and hit ratio 1.5 points, entries
    per read 2 %."""
    explicit, implicit = both_scales
    per_post, seen, entries = [], [], []
    for run in both_scales:
        counters = run.counters
        items = {
            step: items / visits
            for step, visits, items in run.steps.select("step", "visits", "items").iter_rows()
            if visits
        }
        per_post.append(counters["deliveries_expected"] / counters["posts_created"])
        seen.append(counters["deliveries_seen"] / counters["deliveries_expected"])
        entries.append(items["api_respond"])
        assert run.validity.valid
    assert implicit.counters["posts_created"] == pytest.approx(explicit.counters["posts_created"], rel=0.05)
    assert per_post[1] == pytest.approx(per_post[0], rel=0.07)
    assert seen[1] == pytest.approx(seen[0], abs=0.015)
    assert entries[1] == pytest.approx(entries[0], rel=0.02)
    assert implicit.hit_ratio == pytest.approx(explicit.hit_ratio, abs=0.015)


def test_both_scales_agree_on_latency_and_load(both_scales: tuple[Run, Run]) -> None:
    """Quantiles of reads within 3 %, of delivery lags within 7 %, utilisations within 5 %."""
    explicit, implicit = both_scales
    for q in (0.5, 0.95, 0.99):
        ours, theirs = (run.latency("home_timeline").quantile(q) for run in (implicit, explicit))
        assert ours == pytest.approx(theirs, rel=0.03)
    for q in (0.25, 0.5, 0.75, 0.9):
        ours, theirs = (run.lag("delivery").quantile(q) for run in (implicit, explicit))
        assert ours == pytest.approx(theirs, rel=0.07)
    assert set(implicit.utilisation) == {"api", "cache", "graph", "posts", "tasks", "worker"}
    for kind, share in implicit.utilisation.items():
        if kind == "tasks":
            continue  # read at 24 instants
        assert share == pytest.approx(explicit.utilisation[kind], rel=0.05), kind


def test_a_given_schedule_is_replayed_on_an_explicit_population() -> None:
    scenario = scenario_of(2_000 * 5, population__kind="explicit", duration_s=2)
    graph = graph_of(scenario)
    schedule = schedule_of(scenario, graph)
    assert isinstance(schedule, Schedule)
    run = simulate(scenario, graph=graph, schedule=schedule)
    assert run.n_requests == len(schedule.materialize())
    posts = schedule.materialize()
    posted = posts.user[posts.endpoint == Endpoint.CREATE_POST.code]
    assert run.counters["deliveries_expected"] == graph.follower_counts[posted].sum()


@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_pulled_authors_are_not_pushed_but_read(kind: str) -> None:
    fields = {"population__kind": kind, "duration_s": 3}
    pushed, hybrid = (
        simulate(scenario_of(USERS, policies__fanout=fanout, policies__celebrity_threshold_followers=400, **fields))
        for fanout in ("push", "hybrid")
    )
    scenario = scenario_of(USERS, **fields)
    if kind == "implicit":
        counts, posted = follower_counts(crowd_of(scenario)), authors(scenario)
    else:
        graph = graph_of(scenario)
        schedule = schedule_of(scenario, graph)
        assert isinstance(schedule, Schedule)
        block = schedule.materialize()
        counts, posted = graph.follower_counts, block.user[block.endpoint == Endpoint.CREATE_POST.code]
    followers = counts[posted]
    assert pushed.counters["deliveries_expected"] == followers.sum()
    assert hybrid.counters["deliveries_expected"] == followers[followers < 400].sum() < 0.9 * followers.sum()
    visits, items = (dict(hybrid.steps.select("step", column).iter_rows()) for column in ("visits", "items"))
    reads = visits["cache_read"]
    assert 0 < visits["cache_read_pulled"] <= reads
    # A reader follows as many of them as they have followers, but for reading more who follows more.
    by_chance = counts[counts >= 400].sum() / USERS
    assert by_chance < items["cache_read_pulled"] / reads < 3 * by_chance
    assert dict(pushed.steps.select("step", "visits").iter_rows())["cache_read_pulled"] == 0


def test_the_log_is_counted_as_the_builder_would_count_it() -> None:
    rows = np.zeros((4_000, c.LOG_COLUMNS), np.int64)
    rng = np.random.Generator(np.random.Philox(5))
    rows[:, c.L_KIND] = np.where(np.arange(4_000) % 5 == 0, c.LOG_DELIVERY, c.LOG_REQUEST)
    rows[:, c.L_LABEL] = np.where(rows[:, c.L_KIND] == c.LOG_REQUEST, rng.integers(0, 5, 4_000), 0)
    rows[:, c.L_TIME] = np.sort(rng.integers(0, 7_000_000_000, 4_000))
    rows[:, c.L_VALUE] = rng.lognormal(16, 3, 4_000).astype(np.int64)
    rows[:, c.L_WEIGHT] = np.where(rows[:, c.L_KIND] == c.LOG_REQUEST, rng.choice([0, 0, 0, 1, 3], 4_000), 17)
    rows[:, c.L_ORDINAL] = np.arange(4_000)
    scenario = scenario_of(10_000, duration_s=7)
    counted, taken = RunBuilder(scenario, "model"), RunBuilder(scenario, "model")
    recorder = ClusterRecorder(counted, 1_000_000_000)
    for part in np.array_split(rows, 3):
        recorder.take(part)
    requests, lags = (rows[rows[:, c.L_KIND] == kind] for kind in (c.LOG_REQUEST, c.LOG_DELIVERY))
    time = requests[:, c.L_TIME]
    taken.add_requests(
        requests[:, c.L_LABEL], time, time, requests[:, c.L_VALUE], requests[:, c.L_WEIGHT],
        ordinal=requests[:, c.L_ORDINAL],
    )  # fmt: skip
    taken.add_lags("delivery", "", lags[:, c.L_TIME], lags[:, c.L_VALUE], lags[:, c.L_WEIGHT])
    assert counted.build({}).content_digest == taken.build({}).content_digest


def test_memory_is_estimated_before_it_is_taken() -> None:
    shipped = Scenario.load("twitter-2013")
    assert 0.5 * 2**30 < needed_bytes(shipped) < 4 * 2**30
    require_memory(shipped, 4 * 2**30)
    with pytest.raises(
        InputError, match=r"simulating 150000000 users needs about 0\.7 GiB of memory, and 0\.5 GiB are"
    ):
        require_memory(shipped, 2**29)
    with pytest.raises(InputError, match=r"simulating 150000000 users in 3 threads needs about 2\.\d GiB"):
        require_memory(shipped, 2**30, at_once=3)
    large = Scenario.load("baseline", {"population.users": 5_000_000, "population.posts_per_user": 100_000})
    with pytest.raises(InputError, match=r"simulating 5000000 users needs about \d+\.\d GiB.*lower population.users, "):
        simulate(large)


def test_a_cluster_takes_no_calibration() -> None:
    reference = Calibration.load(SHIPPED / "calibrations" / "reference.json")
    with pytest.raises(InputError, match=r"platform\.kind is 'cluster': its costs are those of the scenario"):
        simulate(scenario_of(10_000), reference)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"platform__kind": "backend"}, r"population\.kind is 'implicit', which the real backend cannot hold"),
        ({"population__users": 9_999}, r"population: users is 9999; an implicit population has at least 10000"),
        ({"population__max_follower_share": 0.6}, r"max_follower_share is 0\.6; in an implicit .* at most 0\.5"),
        ({"population__graph": "edges.txt"}, r"graph is 'edges\.txt'; an implicit population is drawn from the seed"),
        ({"population__kind": "explicit", "population__users": 6_000_000}, r"users is 6000000; an explicit .* 5000000"),
        ({"policies__fanout": "pull"}, r"policies\.fanout is 'pull'; in a cluster 'push' and 'hybrid' are allowed"),
        ({"workload__mode": "closed"}, r"workload\.mode is 'closed'; requests to a cluster are open"),
        (
            {"workload__mix": {"home_timeline": 0.9, "profile": 0.1, "create_post": 0, "react": 0, "read_post": 0}},
            r"workload\.mix\.profile is 0\.1; a cluster serves home_timeline and create_post, so it must be 0",
        ),
        ({"platform__cluster__costs": {}}, r"platform\.cluster\.costs\.api_receive is required"),
        ({"platform__cluster__cache_shards": 600}, r"cache_shards times cache_replicas is 1800; at most 1000"),
        ({"platform__cluster__followers_per_task": 1, "population__users": 30_000}, r"make 6000 tasks, at most 4000"),
        ({"platform__cluster__costs": {"api_recieve": {"base_s": 1}}}, r"api_recieve"),
    ],
)  # fmt: skip
def test_what_a_cluster_cannot_be_is_one_clear_error(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        scenario_of(USERS, **fields)


def test_what_only_the_real_backend_can_do_says_so() -> None:
    with pytest.raises(InputError, match=r"population\.kind is 'implicit': it lists no followers"):
        graph_of(scenario_of(USERS))


@pytest.mark.slow
def test_twitter_2013_is_faster_than_real_time_in_less_than_4_gib() -> None:
    """In a process of its own, whose peak memory and CPU time are its own."""
    program = (
        "import json, sys, time, resource\n"
        "from model.platform import simulate\n"
        "from model.spec import Scenario\n"
        "simulate(Scenario.load('twitter-2013', {'duration_s': 2, 'warmup_s': 1, 'workload.rate_per_s': 1000}))\n"
        "begin = time.process_time()\n"
        "run = simulate(Scenario.load('twitter-2013'))\n"
        "used = time.process_time() - begin\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "print(json.dumps([used, peak, dict(run.counters), run.n_requests, run.validity.valid]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=280, check=True
    )
    used_s, peak_bytes, counters, n, valid = json.loads(done.stdout)
    scenario = Scenario.load("twitter-2013")
    assert valid
    assert used_s < scenario.duration_s
    assert peak_bytes < 4 * 2**30
    assert n == pytest.approx(306_000 * scenario.duration_s, rel=0.001)
    crowd = crowd_of(scenario)
    blocks = ImplicitSchedule(scenario, crowd).blocks()
    due = sum(
        counts_by_rank(block.user[block.endpoint == Endpoint.CREATE_POST.code], crowd.users, crowd.law).sum()
        for block in blocks
    )
    assert counters["deliveries_expected"] == due
    assert counters["deliveries_seen"] + counters["deliveries_uncached"] == due


@pytest.mark.slow
def test_a_post_with_31_million_followers_reaches_each_of_them_once() -> None:
    """The most followed post most where activity grows with the square of the followers."""
    scenario = Scenario.load(
        "twitter-2013",
        {
            "workload.rate_per_s": 20,
            "workload.activity_exponent": 2,
            "workload.mix.home_timeline": 0.95,
            "workload.mix.create_post": 0.05,
            "population.posts_per_user": 0,
            "duration_s": 20,
            "warmup_s": 0,
        },
    )
    crowd = crowd_of(scenario)
    posted = authors(scenario)
    followers = counts_by_rank(posted, crowd.users, crowd.law)
    assert followers.max() == 31_000_000
    run, plane = observed(scenario)
    assert run.validity.valid
    assert run.counters["deliveries_expected"] == followers.sum()
    assert run.counters["deliveries_seen"] + run.counters["deliveries_uncached"] == followers.sum()
    lengths = plane.state.seats & SEAT_LENGTH
    assert lengths.sum(dtype=np.int64) == followers.sum(), "no timeline had an entry, and none is full"
    assert lengths.max() <= len(posted)
    assert lengths[follower_seats(crowd, 0)].min() >= (posted == 0).sum()
    assert run.lag("delivery").quantile(0.99) > 5, "by far too much for the objective"
