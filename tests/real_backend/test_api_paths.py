"""Each endpoint visits the steps of its modelled path in their order, in every variant; seen through its spans."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import redis

from model.spec import Scenario
from model.spec.seed_tables import SeedTables
from model.spec.steps import STEPS
from real_backend.keys import hot_posts_key
from real_backend.stack import Stack
from tests.real_backend.client import TRACE, Client

RECEIVE = ["api.home_timeline.receive", "redis.timeline_read"]
REBUILD = ["api.home_timeline.rebuild", "db.timeline_rebuild", "api.home_timeline.store", "redis.timeline_store"]
HOT = ["api.home_timeline.hot", "redis.hot_posts_read"]
MERGE = ["api.home_timeline.merge", "redis.posts_multiget"]
FILL = ["api.home_timeline.fill", "db.posts_read"]
STORE = ["redis.posts_store"]
RESPOND = ["api.home_timeline.respond"]


@pytest.fixture
def client(stack: Stack, small_seed: SeedTables) -> Iterator[Client]:
    stack.reset(small_seed)
    opened = Client(stack.urls.api[0])
    opened.get("/spans")
    yield opened
    opened.close()


def _user(seed: SeedTables, *, stored: bool, hot: bool) -> int:
    """A user with or without a stored timeline, who follows a pulled author or none (and some pushed one)."""
    follows_hot, follows_pushed = np.zeros(seed.users, bool), np.zeros(seed.users, bool)
    for author in set(seed.post_authors.tolist()):
        followers = seed.followers[seed.follower_offsets[author] : seed.follower_offsets[author + 1]]
        (follows_hot if seed.hot[author] else follows_pushed)[followers] = True
    fitting = np.flatnonzero((seed.materialized == stored) & (follows_hot == hot) & follows_pushed)
    assert len(fitting), f"no user with stored={stored}, hot={hot} in this seed"
    return int(fitting[0])


@pytest.mark.parametrize("hot", [False, True])
def test_a_stored_timeline(small_seed: SeedTables, client: Client, hot: bool) -> None:
    client.get(f"/home/{_user(small_seed, stored=True, hot=hot)}", TRACE)
    assert client.steps() == [*RECEIVE, *(HOT if hot else []), *MERGE, *RESPOND]


def test_a_timeline_that_must_be_rebuilt_once(small_seed: SeedTables, client: Client) -> None:
    user = _user(small_seed, stored=False, hot=True)
    client.get(f"/home/{user}", TRACE)
    assert client.steps() == [*RECEIVE, *REBUILD, *HOT, *MERGE, *RESPOND]
    client.get(f"/home/{user}", TRACE)
    assert client.steps() == [*RECEIVE, *HOT, *MERGE, *RESPOND]


def test_posts_whose_metadata_must_be_filled_in_once(stack: Stack, small_seed: SeedTables, client: Client) -> None:
    user = _user(small_seed, stored=True, hot=False)
    posts = client.get(f"/home/{user}").document["posts"]
    for url in stack.urls.redis:
        with redis.Redis.from_url(url) as shard:
            shard.delete(*(f"post:{post['id']}" for post in posts[:5]))
    assert client.get(f"/home/{user}", TRACE).document["posts"] == posts
    spans = client.spans()
    assert _steps(spans) == [*RECEIVE, *MERGE, *FILL, *STORE, *RESPOND]
    stored = [span["attributes"]["items"] for span in spans if span["name"] == "redis.posts_store"]
    assert sum(stored) == 5
    client.get(f"/home/{user}", TRACE)
    assert client.steps() == [*RECEIVE, *MERGE, *RESPOND]


def test_a_pulled_authors_list_that_was_lost_is_read_with_the_metadata(
    stack: Stack, small_seed: SeedTables, client: Client
) -> None:
    user = _user(small_seed, stored=True, hot=True)
    posts = client.get(f"/home/{user}").document["posts"]
    for url in stack.urls.redis:
        with redis.Redis.from_url(url) as shard:
            shard.delete(*(hot_posts_key(author) for author in np.flatnonzero(small_seed.hot).tolist()))
    assert client.get(f"/home/{user}", TRACE).document["posts"] == posts
    filled = client.steps()
    assert filled[: len([*RECEIVE, *HOT, *MERGE, *FILL])] == [*RECEIVE, *HOT, *MERGE, *FILL]
    assert filled[-2:] == [*STORE, *RESPOND]
    assert client.get(f"/home/{user}", TRACE).document["posts"] == posts
    assert client.steps() == [*RECEIVE, *HOT, *MERGE, *RESPOND]


def test_a_profile(client: Client) -> None:
    client.get("/profile/3", TRACE)
    assert client.steps() == ["api.profile.receive", "db.profile_read", "api.profile.respond"]


def test_a_new_post_and_reactions_to_it(small_seed: SeedTables, client: Client) -> None:
    post = small_seed.posts + 1
    client.post("/posts", {"id": post, "author": 3, "body": "x"}, TRACE)
    assert client.steps() == [
        "api.create_post.receive", "db.post_insert", "api.create_post.store", "redis.post_store",
        "api.create_post.respond",
    ]  # fmt: skip
    for _ in range(2):
        client.post(f"/posts/{post}/reactions", {"user": 4}, TRACE)
        assert client.steps() == [
            "api.react.receive", "db.reaction_insert", "api.react.count", "redis.counter_increment", "api.react.respond"
        ]  # fmt: skip
    client.post(f"/posts/{post + 1}/reactions", {"user": 4}, TRACE)
    assert client.steps() == ["api.react.receive", "db.reaction_insert", "api.react.respond"]


def test_a_cached_an_uncached_and_a_missing_post(stack: Stack, small_seed: SeedTables, client: Client) -> None:
    post = small_seed.posts
    hit = ["api.read_post.receive", "redis.post_read", "api.read_post.respond"]
    miss = [*hit[:2], "api.read_post.fill", "db.post_read"]
    client.get(f"/posts/{post}", TRACE)
    assert client.steps() == hit
    for url in stack.urls.redis:
        with redis.Redis.from_url(url) as shard:
            shard.delete(f"post:{post}")
    client.get(f"/posts/{post}", TRACE)
    assert client.steps() == [*miss, "api.read_post.store", "redis.post_store", *hit[2:]]
    client.get(f"/posts/{post}", TRACE)
    assert client.steps() == hit
    client.get(f"/posts/{post + 1}", TRACE)
    assert client.steps() == [*miss, *hit[2:]]


def test_spans_have_their_endpoint_as_parent_and_say_where_and_how_much(
    small_scenario: Scenario, small_seed: SeedTables, client: Client
) -> None:
    client.get(f"/home/{_user(small_seed, stored=True, hot=False)}", TRACE)
    spans = client.spans()
    (root,) = [span for span in spans if span["parent_id"] is None]
    assert root["name"] == "home_timeline"
    assert root["attributes"] == {"http.response.status_code": 200, "outcome": "ok"}
    for span in spans:
        if span is root:
            continue
        assert span["parent_id"] == root["span_id"]
        assert span["trace_id"] == root["trace_id"]
        assert root["start_ns"] <= span["start_ns"] <= span["end_ns"] <= root["end_ns"]
        assert span["attributes"]["server"].rstrip("0123456789") in STEPS[span["name"]].processes
    by_name = {span["name"]: span["attributes"]["items"] for span in spans if span is not root}
    page = small_scenario.policies.page_size
    assert by_name["redis.timeline_read"] == by_name["api.home_timeline.respond"] == page
    gets = [span["attributes"] for span in spans if span["name"] == "redis.posts_multiget"]
    assert sum(get["items"] for get in gets) == page
    assert len({get["server"] for get in gets}) == len(gets)


def test_requests_without_the_header_leave_no_spans(client: Client) -> None:
    client.get("/home/1")
    client.get("/home/1", {"x-feedtwin-trace": "0"})
    assert client.spans() == []


def _steps(spans: list[dict[str, str]]) -> list[str]:
    names = [span["name"] for span in spans if span["parent_id"] is not None]
    return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
