"""One seeded state in the model and in the real stores: same shards, same pulled authors, same timelines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
import redis

from model.engine import effects as e
from model.engine import layout as c
from model.engine.dataplane import DataPlane
from model.platform import shipped_calibration
from model.platform.data import platform_data
from model.platform.feed import feed_plant, settings
from model.policy import FANOUT_CODES, KEY_POST, is_pulled, ring_points, shards_of
from model.spec import ENDPOINTS, Endpoint, Scenario
from model.spec.seed_tables import SeedTables
from model.workload import Schedule, graph_of, schedule_of
from real_backend.keys import TIMELINE_END, hot_followees_key, hot_posts_key, post_key, timeline_key
from real_backend.stack import Stack

Data = dict[str, Any]


@pytest.fixture(scope="module")
def data(small_scenario: Scenario, small_seed: SeedTables) -> Data:
    """The seeded state as the model holds it."""
    return platform_data(small_scenario, small_seed, small_seed.posts)


@pytest.fixture(scope="module")
def shards(stack: Stack, small_seed: SeedTables) -> Iterator[list[redis.Redis]]:
    """The real Redis shards, freshly seeded."""
    stack.reset(small_seed)
    clients = [redis.Redis.from_url(url, decode_responses=True) for url in stack.urls.redis]
    yield clients
    for client in clients:
        client.close()


def ring(pages: np.ndarray[Any, Any], heads: np.ndarray[Any, Any], row: int) -> list[int]:
    """A ring of the model as a list, newest first."""
    width = pages.shape[1]
    posts = [int(pages[row, (heads[row] - 1 - k) % width]) for k in range(width)]
    return [post for post in posts if post > 0]


def keys_on(shard: redis.Redis, prefix: str) -> set[int]:
    """Idents of the keys with this prefix."""
    return {int(key.removeprefix(prefix)) for key in shard.scan_iter(f"{prefix}*", count=10_000)}


def test_timelines_lie_on_the_same_shards(small_seed: SeedTables, data: Data, shards: list[redis.Redis]) -> None:
    prefix = timeline_key(7).removesuffix("7")
    for number, shard in enumerate(shards):
        expected = np.flatnonzero(small_seed.materialized & (data["timeline_shard"] == number))
        assert keys_on(shard, prefix) == set(expected.tolist())
    assert data["timeline_exists"].tolist() == small_seed.materialized.tolist()


def test_post_hashes_lie_on_the_same_shards(
    small_scenario: Scenario, small_seed: SeedTables, data: Data, shards: list[redis.Redis]
) -> None:
    posts = np.flatnonzero(data["post_cached"])
    assert posts.tolist() == small_seed.post_ids[small_seed.cached_from :].tolist()
    redis_spec = small_scenario.platform.redis
    owners = shards_of(KEY_POST, posts, *ring_points(redis_spec.shards, redis_spec.virtual_nodes))
    prefix = post_key(7).removesuffix("7")
    for number, shard in enumerate(shards):
        assert keys_on(shard, prefix) == set(posts[owners == number].tolist())


def test_the_same_authors_are_pulled(
    small_scenario: Scenario, small_seed: SeedTables, data: Data, shards: list[redis.Redis], stack: Stack
) -> None:
    policies = small_scenario.policies
    with psycopg.connect(stack.urls.postgres) as connection:
        rows = connection.execute("SELECT followee_id, count(*) FROM follows GROUP BY 1").fetchall()
    followers: dict[int, int] = dict(rows)
    code = FANOUT_CODES[policies.fanout]
    decided = [
        is_pulled(code, followers.get(author, 0), policies.celebrity_threshold_followers)
        for author in range(small_seed.users)
    ]
    assert decided == data["pulled"].tolist()
    assert any(decided)
    prefix = hot_posts_key(7).removesuffix("7")
    posted = set(small_seed.post_authors.tolist())
    for number, shard in enumerate(shards):
        expected = {a for a in np.flatnonzero(decided).tolist() if data["hot_shard"][a] == number and a in posted}
        assert {author for author in keys_on(shard, prefix) if author in posted} == expected


def test_timelines_have_the_same_length_and_first_page(
    small_scenario: Scenario, small_seed: SeedTables, data: Data, shards: list[redis.Redis]
) -> None:
    page = small_scenario.policies.page_size
    for user in np.flatnonzero(small_seed.materialized).tolist():
        shard = shards[data["timeline_shard"][user]]
        entries = [int(entry) for entry in shard.lrange(timeline_key(user), 0, -1) if entry != TIMELINE_END]
        assert len(entries) == data["timeline_length"][user], f"timeline of user {user}"
        assert entries[:page] == ring(data["pages"], data["page_head"], user), f"first page of user {user}"


def test_hot_lists_and_who_reads_them_are_the_same(
    small_scenario: Scenario, small_seed: SeedTables, data: Data, shards: list[redis.Redis]
) -> None:
    page = small_scenario.policies.page_size
    for author in np.flatnonzero(data["pulled"]).tolist():
        entries = shards[data["hot_shard"][author]].lrange(hot_posts_key(author), 0, page - 1)
        newest = [int(entry) for entry in entries if entry != TIMELINE_END]
        assert newest == ring(data["hot_pages"], data["hot_head"], int(data["hot_row"][author]))
    offsets, authors = data["hot_offsets"], data["hot_authors"]
    for user in np.flatnonzero(small_seed.materialized).tolist():
        members = shards[data["timeline_shard"][user]].smembers(hot_followees_key(user))
        assert {int(member) for member in members} == set(authors[offsets[user] : offsets[user + 1]].tolist())


def test_the_kernel_places_posts_as_the_policy_does(small_scenario: Scenario, data: Data) -> None:
    posts = np.arange(1, 3000)
    expected = shards_of(KEY_POST, posts, data["ring_points"], data["ring_owners"])
    found = [e.post_shard(data["ring_points"], data["ring_owners"], post) for post in posts]
    assert found == expected.tolist()


def test_a_schedule_meets_the_same_decisions_in_the_model(small_scenario: Scenario, small_seed: SeedTables) -> None:
    """Hits, misses, posts and deliveries of a simulated schedule are those that the seeded state implies."""
    scenario = small_scenario.with_(duration_s=5.0, warmup_s=1.0)
    schedule = schedule_of(scenario, graph_of(scenario), small_seed)
    assert isinstance(schedule, Schedule)
    requests = schedule.materialize()
    plane = DataPlane(
        feed_plant(scenario, shipped_calibration()), scenario.seed, blocks=schedule.blocks(),
        data=platform_data(scenario, small_seed, schedule.highest_post_id), settings=settings(scenario),
        shards=scenario.platform.redis.shards,
    )  # fmt: skip
    plane.advance(60_000_000_000)
    codes = np.array([ENDPOINTS[code] for code in requests.endpoint])
    readers = requests.user[codes == Endpoint.HOME_TIMELINE]
    assert plane.scalar(c.X_HITS) + plane.scalar(c.X_MISSES) == len(readers)
    absent = set(np.flatnonzero(~small_seed.materialized).tolist())
    assert plane.scalar(c.X_MISSES) >= len(absent & set(readers.tolist()))
    authors = requests.user[codes == Endpoint.CREATE_POST]
    assert plane.scalar(c.X_POSTS) == len(authors)
    pushed = [author for author in authors.tolist() if not small_seed.hot[author]]
    offsets = small_seed.follower_offsets
    followers = [small_seed.followers[offsets[author] : offsets[author + 1]] for author in pushed]
    always_there = sum(int(small_seed.materialized[each].sum()) for each in followers)
    assert always_there <= plane.scalar(c.X_EXPECTED) <= sum(map(len, followers))
