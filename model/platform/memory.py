"""How much memory a simulation will need, said before it is taken."""

from __future__ import annotations

from model.machine.facts import memory_available_bytes
from model.spec import InputError, Scenario

BASE_BYTES = 450_000_000
"""Interpreter, libraries, compiled code and the tables of the data plane."""
BYTES_PER_IMPLICIT_USER = 2
BYTES_PER_USER = 500
"""Explicit: activity and shards, per account..."""
BYTES_PER_ENTRY = 16
"""...per entry of its timeline and its page, while they are made..."""
BYTES_PER_EDGE = 24
"""...per follower..."""
BYTES_PER_POST = 60
"""...and per post. All measured, with 200 000 accounts."""
BYTES_PER_REQUEST_OF_A_SECOND = 150
"""A block of the schedule, as it is drawn and as the data plane takes it."""


def needed_bytes(scenario: Scenario) -> int:
    """An estimate of the peak resident memory of a simulation, in bytes, within about a third of it."""
    population, workload = scenario.population, scenario.workload
    users = population.users
    requests = 0.0
    if workload.mode == "open":
        factor = max([1.0, *(point.factor for point in workload.rate_profile)])
        requests = workload.rate_per_s * factor
    total = BASE_BYTES + requests * BYTES_PER_REQUEST_OF_A_SECOND
    if population.kind == "implicit":
        return round(total + users * BYTES_PER_IMPLICIT_USER)
    entries = min(scenario.policies.timeline_cap, population.posts_per_user * population.mean_followers)
    each = (
        BYTES_PER_USER
        + (entries + scenario.policies.page_size) * BYTES_PER_ENTRY
        + population.mean_followers * BYTES_PER_EDGE
        + population.posts_per_user * BYTES_PER_POST
    )
    return round(total + users * each)


def require_memory(scenario: Scenario, available_bytes: int | None = None, *, at_once: int = 1) -> None:
    """Raise InputError where so many simulations `at_once` need more than `available_bytes` (default: what this machine
    has left)."""
    available = memory_available_bytes() if available_bytes is None else available_bytes
    needed = at_once * needed_bytes(scenario)
    if available is not None and needed > available:
        raise InputError(
            f"population: simulating {scenario.population.users} users"
            f"{f' in {at_once} threads' if at_once > 1 else ''} needs about {_gib(needed)} of memory, and "
            f"{_gib(available)} are available; lower population.users"
            + (
                ""
                if scenario.population.kind == "implicit"
                else ", population.mean_followers or population.posts_per_user"
            )
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
