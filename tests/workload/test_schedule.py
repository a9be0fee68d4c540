"""The open and the closed Schedule: determinism, laziness, mix, ids, targets, correlation."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.spec import ENDPOINTS, Endpoint, InputError, Scenario
from model.workload import Block, ClosedSchedule, Schedule, graph_of, schedule_of, seed_state

BASE = Scenario.load("baseline").with_(duration_s=20, workload__rate_per_s=500)
GRAPH = graph_of(BASE)
CREATE, REACT, READ, PROFILE, HOME = (
    Endpoint(name).code for name in ("create_post", "react", "read_post", "profile", "home_timeline")
)


def open_schedule(scenario: Scenario = BASE) -> Schedule:
    schedule = schedule_of(scenario, GRAPH)
    assert isinstance(schedule, Schedule)
    return schedule


def closed_schedule(**overrides: float) -> ClosedSchedule:
    schedule = schedule_of(BASE.with_({"workload.mode": "closed"}, **overrides), GRAPH)
    assert isinstance(schedule, ClosedSchedule)
    return schedule


def same(a: Block, b: Block) -> bool:
    arrays = ("time_ns", "endpoint", "user", "target")
    return a.ordinal == b.ordinal and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)


def test_same_scenario_same_requests() -> None:
    first, again = open_schedule(), open_schedule()
    assert first.digest == again.digest
    assert first.digest != open_schedule(BASE.with_(seed=2)).digest
    list(again.blocks())
    assert again.digest == first.digest


def test_blocks_do_not_depend_on_who_reads_them_when() -> None:
    reference = list(open_schedule().blocks())
    shared = open_schedule()
    one, other = shared.blocks(), shared.blocks()
    mixed: tuple[list[Block], list[Block]] = ([], [])
    for number in range(len(reference)):
        mixed[0].append(next(one))
        shared.authors_of(np.array([1, 20_500, 29_000]))
        if number % 3 == 0:
            mixed[1].extend(itertools.islice(other, 3))
    mixed[1].extend(other)
    for blocks in mixed:
        assert all(same(a, b) for a, b in zip(reference, blocks, strict=True))
    assert sum(map(len, reference)) == len(shared.materialize())


def test_blocks_are_consecutive_and_short() -> None:
    ordinal, latest = 0, -1
    for block in open_schedule(BASE.with_(workload__burst_cv=1.0)).blocks():
        assert block.ordinal == ordinal
        assert block.time_ns[0] >= latest
        assert block.time_ns[-1] - block.time_ns[0] < 10**9
        assert (np.diff(block.time_ns) >= 0).all()
        ordinal, latest = ordinal + len(block), int(block.time_ns[-1])
    assert latest < 20 * 10**9


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mix_within_binomial_bounds(seed: int) -> None:
    block = open_schedule(BASE.with_(seed=seed)).materialize()
    for endpoint, share in zip(ENDPOINTS, BASE.workload.mix.shares, strict=True):
        count = int((block.endpoint == endpoint.code).sum())
        assert count == pytest.approx(share * len(block), abs=4 * np.sqrt(share * (1 - share) * len(block)))


def test_shares_of_zero_are_never_drawn() -> None:
    mix = {"home_timeline": 0, "profile": 0.5, "create_post": 0, "react": 0.5, "read_post": 0}
    block = open_schedule(BASE.with_({"workload.mix": mix})).materialize()
    assert set(block.endpoint.tolist()) == {PROFILE, REACT}


def test_ids_and_targets() -> None:
    schedule = open_schedule()
    block = schedule.materialize()
    posts = schedule.seeds.posts
    creates = block.endpoint == CREATE
    assert block.target[creates].tolist() == list(range(posts + 1, posts + 1 + int(creates.sum())))
    assert np.array_equal(block.target[block.endpoint == HOME], block.user[block.endpoint == HOME])
    assert 0 <= block.user.min() <= block.user.max() < GRAPH.users
    assert block.target[block.endpoint == PROFILE].min() >= 0
    assert block.target[block.endpoint == PROFILE].max() < GRAPH.users
    single = np.flatnonzero((block.endpoint == REACT) | (block.endpoint == READ))
    created_ns = np.concatenate((np.full(posts + 1, -(10**9)), block.time_ns[creates]))
    assert block.target[single].min() >= 1
    assert (block.time_ns[single] - created_ns[block.target[single]] >= 10**9).all()
    assert (block.target[single] > posts).sum() > 20, "posts created in the run are asked for too"


def test_size_is_known_beforehand() -> None:
    for burst_cv in (0.0, 2.0):
        schedule = open_schedule(BASE.with_(workload__burst_cv=burst_cv))
        block = schedule.materialize()
        assert schedule.requests == len(block)
        highest = schedule.seeds.posts + int((block.endpoint == CREATE).sum())
        assert highest <= schedule.highest_post_id < highest + 500
    assert open_schedule().requests == pytest.approx(10_000, abs=4 * np.sqrt(10_000))


def test_authors_of_any_post() -> None:
    schedule = open_schedule()
    fresh = open_schedule()
    block = schedule.materialize()
    creates = block.endpoint == CREATE
    ids = np.concatenate((block.target[creates][::-1], schedule.seeds.post_ids[:50]))
    expected = np.concatenate((block.user[creates][::-1], schedule.seeds.post_authors[:50]))
    assert fresh.authors_of(ids).tolist() == expected.tolist()
    assert fresh.authors_of(ids).dtype == np.int32
    with pytest.raises(ValueError, match="begin at 1"):
        fresh.authors_of(np.array([0]))


def test_a_change_of_one_part_leaves_the_draws_of_the_others() -> None:
    """Common random numbers: another mix has the same arrivals and readers; a hot key moves only its own share."""
    mix = {"home_timeline": 0.3, "profile": 0.3, "create_post": 0.1, "react": 0.1, "read_post": 0.2}
    base, mixed = open_schedule().materialize(), open_schedule(BASE.with_({"workload.mix": mix})).materialize()
    assert np.array_equal(base.time_ns, mixed.time_ns)
    readers = (base.endpoint != CREATE) & (mixed.endpoint != CREATE)
    assert np.array_equal(base.user[readers], mixed.user[readers])
    hot = open_schedule(BASE.with_(workload__hot_post_share=0.4)).materialize()
    assert np.array_equal(hot.endpoint, base.endpoint)
    single = (base.endpoint == REACT) | (base.endpoint == READ)
    moved = hot.target != base.target
    assert not moved[~single].any()
    assert moved[single].mean() == pytest.approx(0.4, abs=4 * np.sqrt(0.24 / single.sum()))
    assert len(set(hot.target[moved].tolist())) == 1


def test_the_hot_post_is_the_newest_of_the_most_followed() -> None:
    schedule = open_schedule(BASE.with_(workload__hot_post_share=1.0))
    block = schedule.materialize()
    targets = set(block.target[(block.endpoint == REACT) | (block.endpoint == READ)].tolist())
    star = int(np.argmax(GRAPH.follower_counts))
    assert targets == {int(np.flatnonzero(schedule.seeds.post_authors == star)[-1]) + 1}


def test_requests_are_correlated_with_the_graph() -> None:
    schedule = open_schedule(BASE.with_(duration_s=60, workload__rate_per_s=2_000))
    block = schedule.materialize()
    log_followers = np.log(GRAPH.follower_counts + 1.0)
    reads = np.bincount(block.user[block.endpoint == HOME], minlength=GRAPH.users)
    posts = np.bincount(block.user[block.endpoint == CREATE], minlength=GRAPH.users)
    asked = np.bincount(block.target[block.endpoint == PROFILE], minlength=GRAPH.users)
    assert np.corrcoef(np.log(reads + 1.0), np.log(GRAPH.followee_counts + 1.0))[0, 1] > 0.5
    assert np.corrcoef(np.log(posts + 1.0), np.log(reads + 1.0))[0, 1] > 0.2
    # Profiles by the power of followers + 1 that was asked for: a chi-squared within six standard deviations.
    expected = np.exp(0.7 * log_followers)
    expected *= asked.sum() / expected.sum()
    chi2 = float(((asked - expected) ** 2 / expected).sum())
    assert chi2 == pytest.approx(GRAPH.users - 1, abs=6 * np.sqrt(2 * GRAPH.users))


def test_memory_does_not_grow_with_the_duration() -> None:
    mix = {"home_timeline": 0.8, "profile": 0.1, "create_post": 0, "react": 0, "read_post": 0.1}
    peaks = []
    for duration_s in (20, 200):
        schedule = open_schedule(BASE.with_({"workload.mix": mix, "duration_s": duration_s, "warmup_s": 1}))
        tracemalloc.start()
        requests = sum(len(block) for block in schedule.blocks())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert requests == pytest.approx(500 * duration_s, rel=0.1)
    assert peaks[1] < 1.2 * peaks[0]


def test_nothing_seeded_and_nothing_offered() -> None:
    silent = {"workload.rate_profile": [{"at_s": 0, "factor": 0}]}
    assert len(open_schedule(BASE.with_(silent)).materialize()) == 0
    block = open_schedule(BASE.with_(population__posts_per_user=0, workload__hot_post_share=0.3)).materialize()
    single = (block.endpoint == REACT) | (block.endpoint == READ)
    assert block.target[single].min() == 1
    assert len(set(block.target[single].tolist())) > 20


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    rate_per_s=st.floats(1, 500),
    burst_cv=st.floats(0, 2),
    hot=st.floats(0, 1),
    half_life_s=st.floats(0.01, 1e6),
    posts_per_user=st.floats(0, 3),
)
def test_any_workload_gives_a_valid_schedule(
    seed: int, rate_per_s: float, burst_cv: float, hot: float, half_life_s: float, posts_per_user: float
) -> None:
    scenario = BASE.with_(
        seed=seed, duration_s=4, warmup_s=1, workload__rate_per_s=rate_per_s, workload__burst_cv=burst_cv,
        workload__hot_post_share=hot, workload__popularity_half_life_s=half_life_s,
        population__posts_per_user=posts_per_user,
    )  # fmt: skip
    schedule = Schedule(scenario, GRAPH, seed_state(scenario, GRAPH))
    block = schedule.materialize()
    creates = block.endpoint == CREATE
    highest = schedule.seeds.posts + int(creates.sum())
    single = (block.endpoint == REACT) | (block.endpoint == READ)
    assert ((block.target[single] >= 1) & (block.target[single] <= max(highest, 1))).all()
    assert np.array_equal(schedule.authors_of(block.target[creates]), block.user[creates])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"workload.rate_per_s": 1e9}, r"workload\.rate_per_s is 1e\+09.*at most 1e\+07 per second"),
        ({"workload.mode": "closed", "workload.think_time_s": 1e-5}, r"workload\.think_time_s is 1e-05; 50 sessions"),
        ({"population.posts_per_user": 1e6}, r"population\.posts_per_user is 1e\+06; with 2000 users"),
    ],
)
def test_more_than_memory_holds_is_refused(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        schedule_of(BASE.with_(overrides), GRAPH)


# Closed mode


def test_a_session_is_one_account() -> None:
    schedule = closed_schedule(workload__sessions=100)
    arrays = schedule.session_arrays(30)
    assert (arrays.user == arrays.user[:, :1]).all()
    assert len(set(schedule.users.tolist())) == 100
    assert len(closed_schedule(workload__sessions=5_000).users) == 5_000
    home = arrays.endpoint == HOME
    assert np.array_equal(arrays.target[home], arrays.user[home])


def test_sessions_have_the_mix_and_the_think_time() -> None:
    arrays = closed_schedule(workload__sessions=200, workload__think_time_s=0.5).session_arrays(200)
    n = arrays.endpoint.size
    for endpoint, share in zip(ENDPOINTS, BASE.workload.mix.shares, strict=True):
        assert (arrays.endpoint == endpoint.code).mean() == pytest.approx(share, abs=4 * np.sqrt(share / n))
    assert arrays.think_ns.mean() == pytest.approx(0.5e9, rel=4 / np.sqrt(n))
    assert arrays.think_ns.std() == pytest.approx(0.5e9, rel=4 * np.sqrt(2 / n))


def test_more_sessions_or_requests_keep_the_first_ones() -> None:
    few, more = closed_schedule(workload__sessions=20), closed_schedule(workload__sessions=50)
    a, b = few.session_arrays(15), more.session_arrays(40)
    for name in ("endpoint", "user", "think_ns"):
        assert np.array_equal(getattr(a, name), getattr(b, name)[:20, :15]), name
    longer, kept = few.session_arrays(40), a.endpoint != CREATE
    assert np.array_equal(a.target[kept], longer.target[:, :15][kept])


def test_ids_of_created_posts_in_closed_mode() -> None:
    schedule = closed_schedule(workload__sessions=30)
    arrays = schedule.session_arrays(25)
    session, k = np.nonzero(arrays.endpoint == CREATE)
    created = arrays.target[session, k]
    assert created.tolist() == (schedule.seeds.posts + 1 + session * 25 + k).tolist()
    assert schedule.authors_of(created, 25).tolist() == arrays.user[session, k].tolist()
    assert schedule.authors_of(np.array([7]), 25).tolist() == [schedule.seeds.post_authors[6]]
    with pytest.raises(ValueError, match=r"must lie in 1 \.\. 20750"):
        schedule.authors_of(np.array([20_751]), 25)
    single = (arrays.endpoint == REACT) | (arrays.endpoint == READ)
    assert arrays.target[single].max() <= schedule.seeds.posts


def test_there_are_just_enough_requests() -> None:
    schedule = closed_schedule(workload__sessions=40, workload__think_time_s=1.0)
    ends_ns = schedule.session_arrays().think_ns.sum(axis=1)
    assert ends_ns.min() >= 20e9
    assert schedule.session_arrays(schedule.requests_per_session - 1).think_ns.sum(axis=1).min() < 20e9
    assert schedule.digest == closed_schedule(workload__sessions=40, workload__think_time_s=1.0).digest
