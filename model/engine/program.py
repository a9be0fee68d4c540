"""Request paths as data: short lists of steps in the domain's words, which `model.engine.compiler` turns into rows.

    home = [
        serve("api.home_timeline.receive", on="api"),
        look_up(E_TIMELINE_LOOKUP),
        serve("redis.timeline_read", on="redis"),
        when(then=[...]),
        ...
    ]

A path never names an operation code; adding an endpoint, or a whole platform, does not touch the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from model.spec import InputError


LONGEST_S = 86_400.0
"""The longest that a fixed wait, a cost or a simulated plant may take, so that sums of nanoseconds do not overflow."""


@dataclass(frozen=True)
class Serve:
    step: str
    on: str


@dataclass(frozen=True)
class Delay:
    wait: str
    fixed_ns: int = 0


@dataclass(frozen=True)
class Turn:
    """What each member of a group commit with a leader needs before it goes on: a visit of `step` on group `on`.

    With `then_wait` the leader, after its turn, waits once more and needs another one.
    """

    step: str
    on: str
    then_wait: str = ""


@dataclass(frozen=True)
class Flush:
    step: str
    on: str
    turn: Turn | None = None


@dataclass(frozen=True)
class Acquire:
    """Take a token of a pool, waiting for one. With `most_waiting`, who finds that many waiting is turned away: the
    flag is set."""

    pool: str
    most_waiting: int | None = None


@dataclass(frozen=True)
class Release:
    pool: str


@dataclass(frozen=True)
class Effect:
    which: int
    a: int = 0
    b: int = 0


@dataclass(frozen=True)
class When:
    then: Path
    otherwise: Path


@dataclass(frozen=True)
class Scatter:
    spread: int
    branch: Path


@dataclass(frozen=True)
class Spawn:
    path: Path
    count: int


@dataclass(frozen=True)
class While:
    """Repeat `body` while the effect sets the flag."""

    condition: Effect
    body: Path


@dataclass(frozen=True)
class Forever:
    body: Path


@dataclass(frozen=True)
class Put:
    queue: str


@dataclass(frozen=True)
class Get:
    queue: str


@dataclass(frozen=True)
class UntilReplayDelay:
    """Sleep until the injected replay delay of the job's standby has passed since its commit."""


@dataclass(frozen=True)
class Fail:
    """End here with an outcome other than ok: "missing", "timeout" or "rejected"."""

    outcome: str = "rejected"


@dataclass(frozen=True)
class Lookup:
    """The flag is set where the cache does not hold the job's key."""

    cache: str


@dataclass(frozen=True)
class Store:
    cache: str


@dataclass(frozen=True)
class Forget:
    cache: str


@dataclass(frozen=True)
class Admit:
    """Take a token of a rate limiter; the flag is set where there is none."""

    limiter: str


@dataclass(frozen=True)
class Switch:
    """The flag is set where a switch is on."""

    name: str


@dataclass(frozen=True)
class Coalesce:
    """Who comes first for a key goes through `body`; who comes for it meanwhile waits, and shares the answer."""

    coalescer: str
    body: Path


@dataclass(frozen=True)
class Attempt:
    """Try `body`, at most `timeout_s` each time (0: without limit) and `retries` more times where it fails or takes too
    long, waiting `backoff_s` before the first retry and twice as long before each further one.

    A try that took too long goes on, and uses what it uses; nobody waits for it. The flag is set where all have failed.
    """

    body: Path
    timeout_s: float = 0.0
    retries: int = 0
    backoff_s: float = 0.0


Part: TypeAlias = (
    "Serve | Delay | Flush | Acquire | Release | Effect | When | Scatter | Spawn | While | Forever | Put | Get"
    " | UntilReplayDelay | Fail | Lookup | Store | Forget | Admit | Switch | Coalesce | Attempt"
)
Path: TypeAlias = "Sequence[Part]"


def serve(step: str, *, on: str) -> Serve:
    """Visit the station of group `on` that serves this job; costs what the calibration says of `step`."""
    return Serve(step, on)


def delay(wait: str = "", *, fixed_s: float = 0.0) -> Delay:
    """Wait without using anything: drawn from the calibrated wait `wait`, plus a fixed time."""
    if not 0 <= fixed_s <= LONGEST_S:
        raise InputError(f"delay {wait or 'of a fixed time'}: fixed_s is {fixed_s}; it must be from 0 to {LONGEST_S:g}")
    return Delay(wait, round(fixed_s * 1e9))


def flush(step: str, *, on: str, turn: Turn | None = None) -> Flush:
    """Wait for a group commit.

    Where the group commit has a leader, each job then needs a `turn`; and nobody it flushed for is released before the
    leader has had its own: it holds the lock until the scheduler lets it run again. Then the first of those who came
    meanwhile leads the next flush, after a turn of its own.
    """
    return Flush(step, on, turn)


def when(then: Path, otherwise: Path = ()) -> When:
    """Go on with `then` if the flag is set, else with `otherwise`."""
    return When(tuple(then), tuple(otherwise))


def scatter(spread: int, branch: Path) -> Scatter:
    """One branch per shard that has items; wait for the slowest."""
    return Scatter(spread, tuple(branch))


def spawn(path: Path, count: int = 1) -> Spawn:
    """Start `count` jobs that nobody waits for; the ordinal becomes the job's server."""
    return Spawn(tuple(path), count)
