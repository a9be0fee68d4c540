"""What moves through a platform: jobs, and their visits to stations."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import simpy

from tests.reference.clock import LAST_BRANCH, Clock, Tie


@dataclass
class Job:
    """A request, a branch of it, an attempt, a spawned job or a background job."""

    entity: int
    user: int = 0
    target: int = 0
    lane: int = 0
    traced: bool = False
    endpoint: int = 0
    arrived_ns: int = 0
    attempt: int = 0
    """How often its loops have come round."""
    branch: int = 0
    items: int = 0
    shard: int = 0
    server: int = -1
    flag: bool = False
    outcome: int = 0
    stamp_ns: int = 0
    wrote_ns: int = 0
    lsn: int = 0
    cursor: int = 0
    page: list[int] = field(default_factory=list)
    """Posts that a home timeline shows."""

    def tie(self, place: int) -> Tie:
        """Its order among simultaneous events when it is at a place."""
        return (self.entity, place, self.branch & LAST_BRANCH)

    def child(self, branch: int) -> Job:
        """A job that begins as this one is, `branch` further."""
        return dataclasses.replace(self, branch=self.branch + branch, page=list(self.page))


@dataclass(frozen=True)
class Message:
    """What a queue hands over."""

    entity: int
    user: int
    target: int
    stamp_ns: int


@dataclass
class Step:
    """What the visits of one name cost, and what they came to."""

    name: str
    base_ns: float
    per_item_ns: float
    table: list[float] | None
    key: int
    visits: int = 0
    items: int = 0
    residence_ns: int = 0


@dataclass(eq=False)
class Visit:
    """A job at a station, from when it came to when it leaves."""

    clock: Clock
    job: Job
    step: Step
    place: int
    came_ns: int = 0
    stalled_ns: int = 0
    """The host's stalls up to when its service began, or was last put off."""

    def __post_init__(self) -> None:
        self.done = simpy.Event(self.clock)
        self.came_ns = self.clock.now_ns

    @property
    def tie(self) -> Tie:
        return self.job.tie(self.place)
