"""How the requests of a Plant use its stations: in which order, and what cannot be said beforehand.

A station is *refused* with a reason where not every request of an endpoint visits it on its way: then nothing is known
about the arrivals there without running the platform.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from model.engine import layout as c
from model.engine.compiler import Group
from model.engine.plant import Plant
from model.engine.program import (
    Acquire,
    Admit,
    Attempt,
    Coalesce,
    Effect,
    Fail,
    Flush,
    Forever,
    Forget,
    Get,
    Lookup,
    Path,
    Put,
    Scatter,
    Serve,
    Spawn,
    Store,
    Switch,
    UntilReplayDelay,
    When,
    While,
)  # fmt: skip

_BY_STATE = (c.SEL_SERVER, c.SEL_LANE_SERVER)
_INSTANT = (Admit, Effect, Forget, Lookup, Put, Store, Switch)
_BESIDE = {
    Scatter: "in one branch of several",
    Spawn: "by work that nobody waits for",
    While: "a number of times that varies",
    Forever: "again and again",
    Coalesce: "only by who comes first for a key",
    Attempt: "by attempts that may be repeated",
}


@dataclass(frozen=True)
class Visit:
    endpoint: int
    step: str
    before: tuple[int, ...]
    """Stations that the request has visited on its way."""
    broken: str
    """Why the arrivals of these visits are not Poisson, whatever the stations before are; "" if they are."""


@dataclass
class Use:
    """What uses the stations of a plant."""

    visits: dict[int, list[Visit]] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    """Stations and pools of which something is known that no formula takes."""

    def refuse(self, group: Group, because: str) -> None:
        for row in range(group.first, group.first + group.size):
            self.refused.setdefault(row, because)


def use_of(plant: Plant, asked: Sequence[bool]) -> Use:
    """What uses the stations of a plant; `asked` says of each endpoint whether there are requests for it."""
    use = Use()
    for endpoint, path in enumerate(plant.endpoints):
        if asked[endpoint]:
            _walk(plant, use, endpoint, path)
    for job in plant.backgrounds:
        for group in groups_of(plant, job.path):
            chosen = Group(0, c.SEL_FIRST, len(plant.stations)) if group.selector in _BY_STATE else group
            use.refuse(chosen, "a background job uses it, or may")
    return use


def _walk(plant: Plant, use: Use, endpoint: int, path: Path) -> None:  # noqa: C901, PLR0912  a case per kind of part
    """Note what the requests of an endpoint visit, in order."""
    before: list[int] = []
    steps = set[str]()
    broken = ""
    for part in path:
        match part:
            case Serve(step, on):
                group = plant.groups[on]
                if group.selector in _BY_STATE:
                    because = f"the platform's state chooses where {step!r} is served"
                    use.refuse(Group(0, c.SEL_FIRST, len(plant.stations)), because)
                    broken = broken or because
                elif group.size > 1 and group.selector != c.SEL_FIRST:
                    use.refuse(group, f"requests are spread over the {group.size} stations of {on!r}")
                    broken = broken or f"they come from one of the {group.size} stations of {on!r}"
                else:
                    if step in steps and plant.costs[plant.step_rows[step]][2] >= 0:
                        # A draw is keyed by request and step.
                        broken = broken or f"a request takes {step!r} twice, and for the same time"
                    use.visits.setdefault(group.first, []).append(Visit(endpoint, step, tuple(before), broken))
                    before.append(group.first)
                    steps.add(step)
            case Acquire(pool):
                broken = broken or f"pool {pool!r} limits how many come to it"
                use.visits.setdefault(plant.groups[pool].first, []).append(Visit(endpoint, "", tuple(before), broken))
            case When(then, otherwise):
                for group in groups_of(plant, (*then, *otherwise)):
                    use.refuse(group, "whether a request comes to it depends on the platform's state")
                if not all(isinstance(inner, _INSTANT) for inner in (*then, *otherwise)):
                    broken = broken or "what comes before it depends on the platform's state"
            case Flush(on=on):
                use.refuse(plant.groups[on], "a group commit serves all who wait at once")
                broken = broken or f"they come from the group commit {on!r}"
            case Get(queue):
                broken = broken or f"they wait for messages in {queue!r} before"
            case UntilReplayDelay():
                broken = broken or "they wait for a replica before"
            case Fail():
                return
            case _ if type(part) in _BESIDE:
                how = _BESIDE[type(part)]
                for group in groups_of(plant, (part,)):
                    use.refuse(group, f"it is visited {how}")
                if not isinstance(part, Spawn):
                    broken = broken or f"something before it is done {how}"


def groups_of(plant: Plant, path: Path) -> list[Group]:
    """All groups that a path may visit, whatever its branches do."""
    found: list[Group] = []
    for part in path:
        match part:
            case Serve(_, on):
                found.append(plant.groups[on])
            case Flush(_, on, turn):
                found.append(plant.groups[on])
                if turn is not None:
                    found.append(plant.groups[turn.on])
            case Acquire(pool):
                found.append(plant.groups[pool])
            case When(then, otherwise):
                found += groups_of(plant, (*then, *otherwise))
            case Scatter(_, body) | Spawn(body, _) | While(_, body) | Forever(body) | Coalesce(_, body):
                found += groups_of(plant, body)
            case Attempt(body):
                found += groups_of(plant, body)
    return found


def serves_of(path: Path) -> list[Serve]:
    """All visits that a path may make, whatever its branches do."""
    found: list[Serve] = []
    for part in path:
        match part:
            case Serve():
                found.append(part)
            case When(then, otherwise):
                found += serves_of((*then, *otherwise))
            case Scatter(_, body) | Spawn(body, _) | While(_, body) | Forever(body) | Coalesce(_, body):
                found += serves_of(body)
            case Attempt(body):
                found += serves_of(body)
    return found
