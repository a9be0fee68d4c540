"""The whole backend started by the stack, and what happens when its own code does not start."""

from __future__ import annotations

import json
import shutil
import socket
import urllib.request
from pathlib import Path

import psycopg
import pytest
import redis

import real_backend
from model.spec import MachineError, Scenario
from model.spec.seed_tables import SeedTables
from real_backend.config import POST_CHANNEL
from real_backend.stack import Stack, ports
from tests.real_backend.polling import eventually


def _get(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        document: dict[str, object] = json.load(answer)
        return document


def _home(stack: Stack, user: int) -> list[int]:
    """Ids on the first page of a home timeline."""
    posts = _get(f"{stack.urls.api[0]}/home/{user}")["posts"]
    assert isinstance(posts, list)
    return [post["id"] for post in posts]


def _post(url: str, document: dict[str, object]) -> None:
    body = json.dumps(document).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"}, method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status < 300


def _drained(stack: Stack) -> bool:
    """Whether outbox and stream hold nothing that is not done."""
    with psycopg.connect(stack.urls.postgres) as connection, redis.Redis.from_url(stack.urls.broker) as broker:
        waiting = connection.execute("SELECT count(*) FROM outbox").fetchone() != (0,)
        groups = broker.xinfo_groups(POST_CHANNEL)
    return not waiting and not any(group["pending"] or group["lag"] for group in groups)


def test_every_part_runs_under_its_name(stack: Stack) -> None:
    names = {process.name for process in stack.processes}
    assert names == {"primary", "standby0", "redis0", "redis1", "broker", "api0", "worker0", "relay"}
    assert stack.sample().keys() == names


def test_the_api_serves_the_seed_and_a_new_post_is_delivered_also_after_a_reset(
    stack: Stack, small_seed: SeedTables
) -> None:
    counts = small_seed.follower_offsets[1:] - small_seed.follower_offsets[:-1]
    author = int((counts * ~small_seed.hot).argmax())
    followers = small_seed.followers[small_seed.follower_offsets[author] : small_seed.follower_offsets[author + 1]]
    reader = next(int(user) for user in followers if small_seed.materialized[user])
    new_post = small_seed.posts + 1
    for _ in range(2):
        stack.reset(small_seed)
        assert new_post not in _home(stack, reader)
        _post(f"{stack.urls.api[0]}/posts", {"id": new_post, "author": author, "body": "news"})
        eventually(
            lambda: new_post in _home(stack, reader),
            "the post is on a follower's home timeline",
        )
        eventually(lambda: _drained(stack), "nothing is in flight")
    stack.reset(small_seed)


def test_a_requested_api_port_that_is_taken_is_refused(small_scenario: Scenario) -> None:
    with socket.socket() as taken:
        taken.bind((ports.LOOPBACK, 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        with pytest.raises(MachineError, match=f"port {port} for api0 cannot be used"):
            Stack(small_scenario, ports={"api0": port}).start()


def test_code_that_does_not_start_shows_its_traceback(small_scenario: Scenario, tmp_path: Path) -> None:
    checkout = tmp_path / "real_backend"
    checkout.mkdir()
    shutil.copy(Path(real_backend.__file__).parent / "schema.sql", checkout)
    (checkout / "__init__.py").touch()
    for module in ("api", "relay", "workers"):
        (checkout / f"{module}.py").write_text("raise RuntimeError('forgot the milk')", encoding="utf-8")
    scenario = small_scenario.with_(platform__postgres__standbys=0, platform__redis__shards=1)
    stack = Stack(scenario, code=tmp_path)
    with pytest.raises(MachineError, match=r"(?s)api0 ended with exit code 1.*RuntimeError: forgot the milk"):
        stack.start()
    assert stack.processes == []
    assert not stack.runtime_dir.exists()


def test_the_broker_survives_a_reset(stack: Stack, small_seed: SeedTables) -> None:
    with redis.Redis.from_url(stack.urls.broker) as broker:
        groups = {key: broker.xinfo_groups(key) for key in broker.scan_iter(_type="stream")}
        stack.reset(small_seed)
        assert groups
        for key, before in groups.items():
            assert [g["name"] for g in broker.xinfo_groups(key)] == [g["name"] for g in before]
