"""The modelled paths visit the steps that tests/real_backend/test_api_paths.py holds the real backend's spans to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from model.engine.program import Flush, Path, Scatter, Serve, When
from model.platform.endpoints import endpoint_paths
from model.spec import Endpoint
from model.spec.steps import STEPS

STANDBYS = 2
PATHS = endpoint_paths(STANDBYS)
TIMELINE = ["api.home_timeline.receive", "redis.timeline_read"]
REBUILD = ["api.home_timeline.rebuild", "db.timeline_rebuild", "api.home_timeline.store", "redis.timeline_store"]
HOT = ["api.home_timeline.hot", "redis.hot_posts_read"]
PAGE = ["api.home_timeline.merge", "redis.posts_multiget"]
FILL = ["api.home_timeline.fill", "db.posts_read", "redis.posts_store"]
RESPOND = ["api.home_timeline.respond"]
POST = ["api.read_post.receive", "redis.post_read"]
POST_FILL = ["api.read_post.fill", "db.post_read"]
POST_STORE = ["api.read_post.store", "redis.post_store"]


def visited_steps(path: Path, flags: Iterator[bool]) -> list[str]:
    """The steps of a path whose decisions come out as `flags`, in order; a scatter counts once."""
    steps: list[str] = []
    for part in path:
        match part:
            case Serve(step, _):
                steps.append(step)
            case When(then, otherwise):
                steps += visited_steps(then if next(flags) else otherwise, flags)
            case Scatter(_, branch):
                steps += visited_steps(branch, flags)
    return steps


@pytest.mark.parametrize(
    ("endpoint", "flags", "expected"),
    [
        # home_timeline: is it missing, are there pulled followees, does a post's hash lack
        (Endpoint.HOME_TIMELINE, [False, False, False], [*TIMELINE, *PAGE, *RESPOND]),
        (Endpoint.HOME_TIMELINE, [False, True, False], [*TIMELINE, *HOT, *PAGE, *RESPOND]),
        (Endpoint.HOME_TIMELINE, [True, True, False], [*TIMELINE, *REBUILD, *HOT, *PAGE, *RESPOND]),
        (Endpoint.HOME_TIMELINE, [False, False, True], [*TIMELINE, *PAGE, *FILL, *RESPOND]),
        (Endpoint.HOME_TIMELINE, [False, True, True], [*TIMELINE, *HOT, *PAGE, *FILL, *RESPOND]),
        (Endpoint.PROFILE, [], ["api.profile.receive", "db.profile_read", "api.profile.respond"]),
        (
            Endpoint.CREATE_POST,
            [],
            ["api.create_post.receive", "db.post_insert", "api.create_post.store", "redis.post_store",
             "api.create_post.respond"],
        ),
        # react: is the post missing
        (
            Endpoint.REACT,
            [False],
            ["api.react.receive", "db.reaction_insert", "api.react.count", "redis.counter_increment",
             "api.react.respond"],
        ),
        (Endpoint.REACT, [True], ["api.react.receive", "db.reaction_insert", "api.react.respond"]),
        # read_post: is it not cached, and if so is it missing
        (Endpoint.READ_POST, [False], [*POST, "api.read_post.respond"]),
        (Endpoint.READ_POST, [True, False], [*POST, *POST_FILL, *POST_STORE, "api.read_post.respond"]),
        (Endpoint.READ_POST, [True, True], [*POST, *POST_FILL, "api.read_post.respond"]),
    ],
)  # fmt: skip
def test_an_endpoint_visits_the_real_one_s_steps(endpoint: Endpoint, flags: list[bool], expected: list[str]) -> None:
    decisions = iter(flags)
    assert visited_steps(PATHS[endpoint], decisions) == expected
    assert next(decisions, None) is None, "a decision that the path does not take"


def test_every_step_of_an_endpoint_is_in_the_vocabulary_and_writes_wait_for_their_flush() -> None:
    def parts(path: Path) -> Iterator[object]:
        for part in path:
            yield part
            match part:
                case When(then, otherwise):
                    yield from parts((*then, *otherwise))
                case Scatter(_, branch):
                    yield from parts(branch)

    for endpoint, path in PATHS.items():
        steps = {part.step for part in parts(path) if isinstance(part, Serve)}
        assert steps <= set(STEPS)
        assert f"api.{endpoint.value}.receive" in steps
        assert f"api.{endpoint.value}.respond" in steps
        flushes = [part for part in parts(path) if isinstance(part, Flush)]
        assert len(flushes) == (1 if endpoint in (Endpoint.CREATE_POST, Endpoint.REACT) else 0)
