"""The five endpoints as paths: what a request visits, in order.

The real backend visits the same steps in the same order; a contract test compares the spans of a traced request with
`visited_steps` of these lists.
"""

from __future__ import annotations

from model.engine import effects as e
from model.engine.program import (
    Acquire,
    Effect,
    Path,
    Put,
    Release,
    Spawn,
    delay,
    scatter,
    serve,
    when,
)  # fmt: skip
from model.platform.replication import COMMIT_FLUSH, replicate
from model.spec import Endpoint

ANSWER: Path = (delay("net.client"),)


def database(step: str) -> Path:
    """A read on the server that was routed to, through the pool of this API process."""
    return (Acquire("pool"), serve(step, on="db"), Release("pool"))


def transaction(step: str, after_commit: Path, standbys: int) -> Path:
    """A write on the primary: its statements, the flush of its commit, then what the commit makes true."""
    spawned: tuple[Spawn, ...] = replicate(standbys)
    return (
        Effect(e.E_PRIMARY), Acquire("pool"), serve(step, on="db"), Effect(e.E_WROTE), COMMIT_FLUSH,
        Effect(e.E_COMMIT), *spawned, *after_commit, Release("pool"),
    )  # fmt: skip


def home_timeline() -> Path:
    """The newest entries of the timeline, merged with the posts of pulled authors, with their metadata."""
    rebuild: Path = (
        serve("api.home_timeline.rebuild", on="api"),
        Effect(e.E_ROUTE, 1), Effect(e.E_REBUILD_SIZE),
        *database("db.timeline_rebuild"),
        serve("api.home_timeline.store", on="api"),
        serve("redis.timeline_store", on="redis"),
        Effect(e.E_TIMELINE_FILL),
    )  # fmt: skip
    hot: Path = (
        serve("api.home_timeline.hot", on="api"),
        scatter(e.SPREAD_HOT, [serve("redis.hot_posts_read", on="redis")]),
    )
    fill: Path = (
        serve("api.home_timeline.fill", on="api"),
        Effect(e.E_ROUTE, 1), Effect(e.E_PAGE_MISSING),
        *database("db.posts_read"),
        scatter(e.SPREAD_MISSING, [serve("redis.posts_store", on="redis")]),
        Effect(e.E_PAGE_FILL),
    )  # fmt: skip
    return (
        serve("api.home_timeline.receive", on="api"),
        Effect(e.E_TIMELINE_LOOKUP),
        serve("redis.timeline_read", on="redis"),
        when(rebuild),
        Effect(e.E_HAS_HOT),
        when(hot),
        Effect(e.E_PAGE),
        serve("api.home_timeline.merge", on="api"),
        scatter(e.SPREAD_PAGE, [serve("redis.posts_multiget", on="redis")]),
        Effect(e.E_PAGE_MISSING),
        when(fill),
        Effect(e.E_PAGE_ITEMS),
        serve("api.home_timeline.respond", on="api"),
        *ANSWER,
    )


def profile() -> Path:
    """An account and its newest posts, from a standby where the policy allows."""
    return (
        serve("api.profile.receive", on="api"),
        Effect(e.E_ROUTE, 1),
        *database("db.profile_read"),
        serve("api.profile.respond", on="api"),
        *ANSWER,
    )


def create_post(standbys: int) -> Path:
    """The post and its outbox row in one transaction; then its metadata hash."""
    return (
        serve("api.create_post.receive", on="api"),
        # A post's age counts from its row, as in the database: from before the flush of its commit.
        *transaction("db.post_insert", (Effect(e.E_SINCE_WROTE), Effect(e.E_POST_CREATED), Put("outbox")), standbys),
        serve("api.create_post.store", on="api"),
        Effect(e.E_POST_LOOKUP),
        serve("redis.post_store", on="redis"),
        Effect(e.E_POST_FILL),
        serve("api.create_post.respond", on="api"),
        *ANSWER,
    )


def react(standbys: int) -> Path:
    """A reaction: a row, then the counter in the post's hash; a post that does not exist (yet) is answered as such."""
    count: Path = (
        serve("api.react.count", on="api"),
        Effect(e.E_POST_LOOKUP),
        serve("redis.counter_increment", on="redis"),
    )
    return (
        serve("api.react.receive", on="api"),
        *transaction("db.reaction_insert", (), standbys),
        Effect(e.E_POST_ABSENT),
        when((), count),
        serve("api.react.respond", on="api"),
        *ANSWER,
    )


def read_post() -> Path:
    """One post from its hash, or from the database and then stored."""
    from_database: Path = (
        serve("api.read_post.fill", on="api"),
        Effect(e.E_ROUTE, 1),
        *database("db.post_read"),
        Effect(e.E_POST_ABSENT),
        when((), (
            serve("api.read_post.store", on="api"),
            serve("redis.post_store", on="redis"),
            Effect(e.E_POST_FILL),
        )),
    )  # fmt: skip
    return (
        serve("api.read_post.receive", on="api"),
        Effect(e.E_POST_LOOKUP),
        serve("redis.post_read", on="redis"),
        when(from_database),
        serve("api.read_post.respond", on="api"),
        *ANSWER,
    )


def endpoint_paths(standbys: int) -> dict[Endpoint, Path]:
    """Every endpoint's path, in the order of `ENDPOINTS`."""
    return {
        Endpoint.HOME_TIMELINE: home_timeline(),
        Endpoint.PROFILE: profile(),
        Endpoint.CREATE_POST: create_post(standbys),
        Endpoint.REACT: react(standbys),
        Endpoint.READ_POST: read_post(),
    }
