"""The real backend visits the steps of the modelled paths: the same ones, in the same order, with as many items.

Each variant of each endpoint is driven through the real API with a trace and through the model on the same seeded
state. The relay and the workers are read by their telemetry, which counts visits and items.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import redis

from model.engine import effects as e
from model.engine.plant import Plant
from model.engine.program import Path
from model.engine.state import State
from model.platform import endpoints, fanout
from model.platform.paths_view import visited_steps
from model.spec import Endpoint, InputError, Scenario
from model.spec.seed_tables import SeedTables
from model.spec.steps import STEPS
from real_backend.stack import Stack
from real_backend.telemetry import telemetry_path
from tests.contract.modelled import Work, modelled_work
from tests.real_backend.client import TRACE, Client
from tests.real_backend.polling import eventually

HIT = {e.E_TIMELINE_LOOKUP: 0, e.E_HAS_HOT: 0, e.E_PAGE_MISSING: 0}


@pytest.fixture
def client(stack: Stack, small_seed: SeedTables) -> Iterator[Client]:
    stack.reset(small_seed)
    opened = Client(stack.urls.api[0])
    opened.get("/spans")
    yield opened
    opened.close()


def reader(seed: SeedTables, *, stored: bool, hot: bool) -> int:
    """A user with or without a timeline in Redis, who follows pulled authors or none, and some pushed ones."""
    authors = np.repeat(np.arange(seed.users), np.diff(seed.follower_offsets))
    posted = np.zeros(seed.users, np.bool_)
    posted[seed.post_authors] = True
    follows_hot, follows_pushed = np.zeros(seed.users, np.bool_), np.zeros(seed.users, np.bool_)
    follows_hot[seed.followers[seed.hot[authors]]] = True
    follows_pushed[seed.followers[(posted & ~seed.hot)[authors]]] = True
    fitting = np.flatnonzero((seed.materialized == stored) & (follows_hot == hot) & follows_pushed)
    assert len(fitting), f"no user with stored={stored}, hot={hot} in this seed"
    return int(fitting[0])


def work_in(spans: Sequence[Mapping[str, Any]]) -> dict[str, Work]:
    """Visits and items per step of a traced request."""
    visits: Counter[str] = Counter()
    items: Counter[str] = Counter()
    for span in spans:
        if span["parent_id"] is not None:
            visits[span["name"]] += 1
            items[span["name"]] += span["attributes"]["items"] if STEPS[span["name"]].items else 0
    return {name: Work(count, items[name]) for name, count in visits.items()}


def order_in(spans: Sequence[Mapping[str, Any]]) -> list[str]:
    """Steps in the order in which they began, a scatter's visits as one."""
    names = [span["name"] for span in spans if span["parent_id"] is not None]
    return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]


class Twins:
    """The same request to the backend and to the model."""

    def __init__(self, scenario: Scenario, seed: SeedTables, client: Client) -> None:
        self._scenario = scenario
        self._seed = seed
        self._client = client
        self._paths = endpoints.endpoint_paths(scenario.platform.postgres.standbys)

    def agree(
        self,
        endpoint: Endpoint,
        user: int,
        target: int,
        outcomes: Mapping[int, int] | None = None,
        lost_posts: Sequence[int] = (),
    ) -> None:
        """Ask both; compare the order of the steps, and visits and items of each."""

        def lose(state: State) -> None:
            state.post_cached[list(lost_posts)] = False

        self._ask(endpoint, user, target)
        spans = self._client.spans()
        expected = visited_steps(self._paths[endpoint], outcomes)
        assert order_in(spans) == expected
        modelled = modelled_work(self._scenario, self._seed, endpoint, user, target, lose)
        assert work_in(spans) == {step: modelled[step] for step in expected}

    def _ask(self, endpoint: Endpoint, user: int, target: int) -> None:
        match endpoint:
            case Endpoint.HOME_TIMELINE:
                self._client.get(f"/home/{user}", TRACE)
            case Endpoint.PROFILE:
                self._client.get(f"/profile/{target}?viewer={user}", TRACE)
            case Endpoint.CREATE_POST:
                self._client.post("/posts", {"id": target, "author": user, "body": "x"}, TRACE)
            case Endpoint.REACT:
                self._client.post(f"/posts/{target}/reactions", {"user": user}, TRACE)
            case Endpoint.READ_POST:
                self._client.get(f"/posts/{target}?viewer={user}", TRACE)


@pytest.fixture
def twins(small_scenario: Scenario, small_seed: SeedTables, client: Client) -> Twins:
    return Twins(small_scenario, small_seed, client)


@pytest.mark.parametrize("hot", [False, True])
@pytest.mark.parametrize("stored", [True, False])
def test_home_timeline(small_seed: SeedTables, twins: Twins, stored: bool, hot: bool) -> None:
    user = reader(small_seed, stored=stored, hot=hot)
    twins.agree(Endpoint.HOME_TIMELINE, user, user, {**HIT, e.E_TIMELINE_LOOKUP: not stored, e.E_HAS_HOT: hot})


def test_home_timeline_with_posts_whose_metadata_is_gone(
    stack: Stack, small_seed: SeedTables, client: Client, twins: Twins
) -> None:
    user = reader(small_seed, stored=True, hot=True)
    page = [post["id"] for post in client.get(f"/home/{user}").document["posts"]]
    lost = page[1:8:2]
    for url in stack.urls.redis:
        with redis.Redis.from_url(url) as shard:
            shard.delete(*(f"post:{post}" for post in lost))
    twins.agree(Endpoint.HOME_TIMELINE, user, user, {**HIT, e.E_HAS_HOT: 1, e.E_PAGE_MISSING: 1}, lost)


def test_profile(twins: Twins) -> None:
    twins.agree(Endpoint.PROFILE, 4, 3)


def test_create_post(small_seed: SeedTables, twins: Twins) -> None:
    twins.agree(Endpoint.CREATE_POST, 3, small_seed.posts + 1)


def test_react(small_seed: SeedTables, twins: Twins) -> None:
    twins.agree(Endpoint.REACT, 4, small_seed.posts, {e.E_POST_ABSENT: 0})


def test_react_to_a_post_that_does_not_exist(small_seed: SeedTables, twins: Twins) -> None:
    twins.agree(Endpoint.REACT, 4, small_seed.posts + 9, {e.E_POST_ABSENT: 1})


def test_read_post_that_is_cached(small_seed: SeedTables, twins: Twins) -> None:
    twins.agree(Endpoint.READ_POST, 4, small_seed.posts, {e.E_POST_LOOKUP: 0})


def test_read_post_that_is_not_cached(stack: Stack, small_seed: SeedTables, twins: Twins) -> None:
    post = small_seed.posts
    for url in stack.urls.redis:
        with redis.Redis.from_url(url) as shard:
            shard.delete(f"post:{post}")
    twins.agree(Endpoint.READ_POST, 4, post, {e.E_POST_LOOKUP: 1, e.E_POST_ABSENT: 0}, [post])


def test_read_post_that_does_not_exist(small_seed: SeedTables, twins: Twins) -> None:
    twins.agree(Endpoint.READ_POST, 4, small_seed.posts + 9, {e.E_POST_LOOKUP: 1, e.E_POST_ABSENT: 1})


def telemetry(stack: Stack, name: str) -> dict[str, Work]:
    """What a relay or worker has counted so far."""
    path = telemetry_path(stack.runtime_dir, name)
    (process,) = [process for process in stack.processes if process.name == name]
    before = path.stat().st_mtime_ns if path.exists() else 0
    for pid in process.pids[:1]:
        os.kill(pid, signal.SIGUSR1)
    eventually(lambda: path.exists() and path.stat().st_mtime_ns != before, f"{name} writes its telemetry")
    steps = json.loads(path.read_bytes())["steps"]
    return {step: Work(n["visits"], n["items"] if STEPS[step].items else 0) for step, n in steps.items()}


@pytest.mark.parametrize("pulled", [False, True], ids=["pushed", "pulled"])
def test_relay_and_worker(
    stack: Stack, small_scenario: Scenario, small_seed: SeedTables, client: Client, pulled: bool
) -> None:
    """A new post on its way: everything after its commit, whose visits and items the processes count themselves."""
    counts = np.diff(small_seed.follower_offsets)
    author = int(np.argmax(np.where(small_seed.hot == pulled, counts, -1)))
    before = {name: telemetry(stack, name) for name in ("relay", "worker0")}
    client.post("/posts", {"id": small_seed.posts + 1, "author": author, "body": "x"})

    def since(name: str) -> dict[str, Work]:
        after = telemetry(stack, name)
        zero = Work(0, 0)
        return {
            step: Work(
                work.visits - before[name].get(step, zero).visits, work.items - before[name].get(step, zero).items
            )
            for step, work in after.items()
            if work != before[name].get(step)
        }

    eventually(lambda: "broker.ack" in since("worker0"), "the worker is done with the post")
    batches = -(-int(counts[author]) // small_scenario.platform.workers.batch_size)
    outcomes = {e.E_FOLLOWERS: not pulled, e.E_NEXT_BATCH: batches, e.E_TAKE: 1, e.E_FULL: 0}
    modelled = modelled_work(small_scenario, small_seed, Endpoint.CREATE_POST, author, small_seed.posts + 1)

    worker_path = fanout.worker(small_scenario)
    worker = since("worker0")
    assert set(worker) == set(visited_steps(worker_path, outcomes))
    assert worker == {step: modelled[step] for step in worker}

    relay = since("relay")
    assert set(relay) == set(visited_steps(relay_path(small_scenario), outcomes))
    polls = ("relay.poll", "db.outbox_read")  # as often as there was time for
    assert {step: work for step, work in relay.items() if step not in polls} == {
        step: modelled[step] for step in relay if step not in polls
    }
    assert relay["db.outbox_read"].items == modelled["db.outbox_read"].items == 1


def relay_path(scenario: Scenario) -> Path:
    plant = Plant()
    for queue in ("outbox", "fanout"):
        plant.queue(queue)
    return fanout.relay(scenario, plant)


def test_a_path_of_batches_repeats_them_in_order(small_scenario: Scenario) -> None:
    steps = visited_steps(fanout.worker(small_scenario), {e.E_FOLLOWERS: 1, e.E_NEXT_BATCH: 3})
    assert steps == [
        "broker.consume", "db.followers_read", "worker.receive", *["worker.batch", "redis.timeline_push"] * 3,
        "worker.done", "broker.ack",
    ]  # fmt: skip


def test_an_outcome_that_is_not_given_is_asked_for(small_scenario: Scenario) -> None:
    with pytest.raises(InputError, match=f"branches on effect {e.E_HAS_HOT}"):
        visited_steps(endpoints.home_timeline(), {e.E_TIMELINE_LOOKUP: 0})
