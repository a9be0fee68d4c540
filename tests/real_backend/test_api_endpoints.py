"""The five endpoints against the seeded state, computed here from the seed tables alone; and everything they refuse."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
import redis

from model.spec.seed_tables import SeedTables
from real_backend.stack import Stack
from tests.real_backend.client import TRACE, Client
from tests.real_backend.polling import eventually

_fresh = itertools.count(1)


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    opened = Client(stack.urls.api[0])
    opened.get("/spans")
    yield opened
    opened.close()


@pytest.fixture
def new_post(stack: Stack, small_seed: SeedTables) -> int:
    """An id that no post has."""
    with psycopg.connect(stack.urls.postgres) as connection:
        row = connection.execute("SELECT max(id) FROM posts").fetchone()
    assert row is not None
    return int(row[0]) + next(_fresh)


def _followees(seed: SeedTables, user: int) -> list[int]:
    return [
        author
        for author in range(seed.users)
        if user in seed.followers[seed.follower_offsets[author] : seed.follower_offsets[author + 1]]
    ]


def _expected_home(seed: SeedTables, user: int, page_size: int) -> list[int]:
    """The newest posts of whom the user follows: of pushed authors within the cap, of pulled ones without."""
    followees = set(_followees(seed, user))
    pulled = {author for author in followees if seed.hot[author]}
    pushed = _posts_of(seed, followees - pulled)[: seed.timeline_cap]
    return sorted([*pushed, *_posts_of(seed, pulled)], reverse=True)[:page_size]


def _posts_of(seed: SeedTables, authors: set[int]) -> list[int]:
    posts = zip(seed.post_ids.tolist(), seed.post_authors.tolist(), strict=True)
    return sorted((post for post, author in posts if author in authors), reverse=True)


def test_every_users_home_timeline_is_the_newest_of_whom_they_follow(
    stack: Stack, small_seed: SeedTables, client: Client
) -> None:
    stack.reset(small_seed)
    stored, absent = np.flatnonzero(small_seed.materialized), np.flatnonzero(~small_seed.materialized)
    assert min(len(stored), len(absent)) > 0
    for attempt in ("stored or rebuilt", "stored"):
        for user in (*stored[:12].tolist(), *absent[:12].tolist()):
            answer = client.get(f"/home/{user}")
            assert answer.status == 200
            ids = [post["id"] for post in answer.document["posts"]]
            assert ids == _expected_home(small_seed, user, stack.config.page_size), (attempt, user)


def test_a_home_timelines_posts_carry_their_metadata(small_seed: SeedTables, client: Client) -> None:
    user = int(np.flatnonzero(small_seed.materialized)[0])
    posts = client.get(f"/home/{user}").document["posts"]
    assert posts
    for post in posts:
        assert post["author"] == small_seed.post_authors[post["id"] - 1]
        assert f"{post['id']:012d}" in post["body"]
        assert post["created_ns"] > 0
        assert post["reactions"] >= 0


def test_a_flushed_cache_changes_no_timeline(stack: Stack, small_seed: SeedTables, client: Client) -> None:
    stack.reset(small_seed)
    users = np.flatnonzero(small_seed.materialized)[:10].tolist()
    before = {user: client.get(f"/home/{user}").document for user in users}
    for shard in range(len(stack.urls.redis)):
        stack.faults.flush_shard(shard)
    assert {user: client.get(f"/home/{user}").document for user in users} == before
    assert {user: client.get(f"/home/{user}").document for user in users} == before


def test_an_account_that_follows_nobody_has_an_empty_stored_timeline(
    stack: Stack, small_seed: SeedTables, client: Client
) -> None:
    lonely = [user for user in range(small_seed.users) if not _followees(small_seed, user)]
    assert lonely, "the fixed seed has an account that follows nobody"
    for _ in range(2):
        assert client.get(f"/home/{lonely[0]}", TRACE).document["posts"] == []
    assert client.steps()[-3:] == ["redis.timeline_read", "api.home_timeline.merge", "api.home_timeline.respond"]


def test_a_profile_has_the_accounts_newest_posts(stack: Stack, small_seed: SeedTables, client: Client) -> None:
    stack.reset(small_seed)
    authors, counts = np.unique(small_seed.post_authors, return_counts=True)
    for author in (int(authors[counts.argmax()]), int(authors[counts.argmin()])):
        profile = client.get(f"/profile/{author}?viewer=3").document
        assert profile["user"] == author
        assert profile["followers"] == small_seed.follower_offsets[author + 1] - small_seed.follower_offsets[author]
        posts = [post["id"] for post in profile["posts"]]
        assert posts == _posts_of(small_seed, {author})[: stack.config.page_size]


def test_an_account_without_posts_has_a_profile(small_seed: SeedTables, client: Client) -> None:
    silent = sorted(set(range(small_seed.users)) - set(small_seed.post_authors.tolist()))
    assert silent, "the fixed seed has an account that never posted"
    assert client.get(f"/profile/{silent[-1]}").document["posts"] == []


def test_a_created_post_can_be_read_and_stands_in_the_outbox_once(stack: Stack, client: Client, new_post: int) -> None:
    for _ in range(2):
        created = client.post("/posts", {"id": new_post, "author": 5, "body": "Grüße 👋"})
        assert created.status == 200
        assert created.document["id"] == new_post
        assert created.lsn > 0
    read = client.get(f"/posts/{new_post}").document
    assert read == {
        "id": new_post, "author": 5, "body": "Grüße 👋", "created_ns": created.document["created_ns"], "reactions": 0
    }  # fmt: skip
    with psycopg.connect(stack.urls.postgres) as connection:
        eventually(lambda: connection.execute("SELECT count(*) FROM outbox").fetchone() == (0,), "an empty outbox")


def test_a_posts_id_belongs_to_its_first_author(client: Client, new_post: int) -> None:
    assert client.post("/posts", {"id": new_post, "author": 5, "body": "mine"}).status == 200
    taken = client.post("/posts", {"id": new_post, "author": 6, "body": "mine"})
    assert taken.status == 409
    assert taken.document == {"error": f"id: {new_post} is not allowed: that post belongs to another author"}


def test_reactions_count_once_per_user(stack: Stack, client: Client, new_post: int) -> None:
    client.post("/posts", {"id": new_post, "author": 5, "body": "react to me"})
    answers = [client.post(f"/posts/{new_post}/reactions", {"user": user}).document for user in (1, 2, 1, 3)]
    assert [answer["reactions"] for answer in answers] == [1, 2, 2, 3]
    assert client.get(f"/posts/{new_post}").document["reactions"] == 3


def test_a_counter_that_was_lost_is_taken_from_the_database(stack: Stack, client: Client, new_post: int) -> None:
    client.post("/posts", {"id": new_post, "author": 5, "body": "forget me"})
    lsn = client.post(f"/posts/{new_post}/reactions", {"user": 1}).lsn
    for url in stack.urls.redis:
        with redis.Redis.from_url(url) as shard:
            shard.delete(f"post:{new_post}")
    assert client.post(f"/posts/{new_post}/reactions", {"user": 2}).document == {"id": new_post, "reactions": None}
    session = {"x-feedtwin-lsn": str(lsn + 1)}
    assert client.get(f"/posts/{new_post}", session).document["reactions"] == 2
    assert client.post(f"/posts/{new_post}/reactions", {"user": 3}).document["reactions"] == 3


def test_a_post_that_does_not_exist_is_missing(client: Client, new_post: int) -> None:
    for answer in (
        client.get(f"/posts/{new_post + 10**6}"),
        client.post(f"/posts/{new_post + 10**6}/reactions", {"user": 1}),
    ):
        assert answer.status == 404
        assert answer.document == {"missing": True}
        assert answer.lsn == 0


USER_RANGE = "an integer from 0 to 2147483647 is expected"
POST_RANGE = "an integer from 1 to 9007199254740991 is expected"
TEXT = "a non-empty text without NUL is expected"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/home/anna", f"home: 'anna' is not allowed: {USER_RANGE}"),
        ("/home/-1", f"home: '-1' is not allowed: {USER_RANGE}"),
        ("/home/1.0", f"home: '1.0' is not allowed: {USER_RANGE}"),
        ("/home/2147483648", f"home: '2147483648' is not allowed: {USER_RANGE}"),
        ("/home/", f"home: '' is not allowed: {USER_RANGE}"),
        ("/home/100000", "user: 100000 is not allowed: there is no such user"),
        ("/profile/100000", "author: 100000 is not allowed: there is no such user"),
        ("/profile/1?viewer=x", f"viewer: 'x' is not allowed: {USER_RANGE}"),
        ("/posts/0", f"posts: '0' is not allowed: {POST_RANGE}"),
        ("/posts/9007199254740992", f"posts: '9007199254740992' is not allowed: {POST_RANGE}"),
        ("/posts/%D9%A3", f"posts: '٣' is not allowed: {POST_RANGE}"),
    ],
)
def test_bad_paths_are_refused_with_one_clear_message(client: Client, path: str, message: str) -> None:
    answer = client.get(path)
    assert (answer.status, answer.document) == (400, {"error": message})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"id": "7", "author": 1, "body": "x"}, f"id: '7' is not allowed: {POST_RANGE}"),
        ({"id": True, "author": 1, "body": "x"}, f"id: True is not allowed: {POST_RANGE}"),
        ({"id": 10**9, "author": 1.5, "body": "x"}, f"author: 1.5 is not allowed: {USER_RANGE}"),
        ({"id": 10**9, "author": 1}, f"body: None is not allowed: {TEXT}"),
        ({"id": 10**9, "author": 1, "body": ""}, f"body: '' is not allowed: {TEXT}"),
        ({"id": 10**9, "author": 1, "body": "\0"}, f"body: '\\x00' is not allowed: {TEXT}"),
        ({"id": 10**9, "author": 10**6, "body": "x"}, "author: 1000000 is not allowed: there is no such user"),
        ([], "body: a JSON object is expected, not list"),
    ],
)
def test_bad_documents_are_refused_with_one_clear_message(client: Client, document: object, message: str) -> None:
    answer = client.post("/posts", document)
    assert (answer.status, answer.document) == (400, {"error": message})


def test_an_unknown_user_cannot_react(client: Client) -> None:
    answer = client.post("/posts/1/reactions", {"user": 10**6})
    assert (answer.status, answer.document) == (400, {"error": "user: 1000000 is not allowed: there is no such user"})


def test_what_is_not_json_or_too_large_is_refused(client: Client) -> None:
    assert client.send("POST", "/posts", b"{").document["error"].startswith("body: not valid JSON")
    large = client.post("/posts", {"id": 10**9, "author": 1, "body": "x" * 70_000})
    assert (large.status, large.document) == (413, {"error": "body: more than 65536 bytes are not allowed"})


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/nowhere"), ("POST", "/home/1"), ("GET", "/"), ("PUT", "/posts/1")]
)
def test_other_paths_do_not_exist(client: Client, method: str, path: str) -> None:
    assert client.send(method, path, b"").status in (404, 405)


def test_a_bad_session_header_is_refused(client: Client) -> None:
    answer = client.get("/home/1", {"x-feedtwin-lsn": "0/16B3748"})
    assert answer.status == 400
    assert answer.document["error"].startswith("x-feedtwin-lsn: '0/16B3748' is not allowed")


def test_metrics_and_telemetry_tell_the_same(client: Client, small_seed: SeedTables) -> None:
    user = int(np.flatnonzero(small_seed.materialized)[0])
    before = client.get("/telemetry").document
    for _ in range(3):
        client.get(f"/home/{user}")
    client.get("/home/x")
    after = client.get("/telemetry").document
    lines = dict(line.rsplit(" ", 1) for line in client.text("/metrics").splitlines() if not line.startswith("#"))
    for status, more in (("200", 3), ("400", 1)):
        count = after["requests"]["home_timeline"][status]
        assert count == before["requests"]["home_timeline"].get(status, 0) + more
        assert float(lines[f'feedtwin_requests_total{{endpoint="home_timeline",status="{status}"}}']) == count
    assert after["timeline_hits"] + after["timeline_misses"] == before["timeline_hits"] + before["timeline_misses"] + 3
    assert float(lines['feedtwin_timeline_reads_total{result="hit"}']) == after["timeline_hits"]
    step = after["steps"]["redis.timeline_read"]
    assert step["visits"] == before["steps"]["redis.timeline_read"]["visits"] + 3
    assert 0 < step["squares_s2"] <= step["total_s"] ** 2
    assert float(lines['feedtwin_pool_connections{server="primary",state="idle"}']) > 0
    assert float(lines['feedtwin_replayed_lsn{server="standby0"}']) > 0
    assert float(lines['feedtwin_request_seconds_bucket{endpoint="home_timeline",le="+Inf"}']) == sum(
        after["requests"]["home_timeline"].values()
    )
