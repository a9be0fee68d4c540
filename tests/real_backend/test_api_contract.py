"""One contract for both sides: whatever way a request goes through the real backend, the model's path can go too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import product

from model.engine.program import Path, Scatter, Serve, When
from model.platform.endpoints import endpoint_paths
from model.spec.seed_tables import SeedTables
from real_backend.stack import Stack
from tests.real_backend.client import TRACE, Client

REQUESTS = 60


def _ways(path: Path) -> Iterator[tuple[str, ...]]:
    """Every sequence of steps that a modelled path can take, both branches of each condition."""
    choices: list[list[tuple[str, ...]]] = []
    for part in path:
        match part:
            case Serve(step, _):
                choices.append([(step,)])
            case When(then, otherwise):
                choices.append([*_ways(then), *_ways(otherwise)])
            case Scatter(_, branch):
                # A scatter over no shard at all visits nothing.
                choices.append([*_ways(branch), ()])
            case _:
                pass
    for chosen in product(*choices):
        yield tuple(step for steps in chosen for step in steps)


def test_every_traced_request_goes_a_modelled_way(stack: Stack, small_seed: SeedTables) -> None:
    stack.reset(small_seed)
    client = Client(stack.urls.api[0])
    client.spans()
    new = small_seed.posts
    for i in range(REQUESTS):
        new += 1
        if i == REQUESTS // 2:
            stack.faults.flush_shard(0)
        client.get(f"/home/{i * 7 % small_seed.users}", TRACE)
        client.get(f"/profile/{i * 7 % small_seed.users}", TRACE)
        client.post("/posts", {"id": new, "author": i, "body": "x"}, TRACE)
        client.post(f"/posts/{new}/reactions", {"user": i}, TRACE)
        client.get(f"/posts/{small_seed.posts - i}", TRACE)
        client.get(f"/posts/{new + 10**6}", TRACE)
    taken: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    spans = client.spans()
    client.close()
    roots = {span["span_id"]: span["name"] for span in spans if span["parent_id"] is None}
    for span in spans:
        if span["parent_id"] is not None:
            steps = taken[roots[span["parent_id"]]][span["parent_id"]]
            if not steps or steps[-1] != span["name"]:
                steps.append(span["name"])
    modelled = endpoint_paths(stack.scenario.platform.postgres.standbys)
    assert set(taken) == {endpoint.value for endpoint in modelled}
    for endpoint, path in modelled.items():
        ways = set(_ways(path))
        seen = {tuple(steps) for steps in taken[endpoint.value].values()}
        assert seen <= ways, (endpoint, sorted(seen - ways))
    variants = {endpoint: len({tuple(steps) for steps in requests.values()}) for endpoint, requests in taken.items()}
    assert variants["home_timeline"] >= 4
    assert variants["read_post"] == 3
